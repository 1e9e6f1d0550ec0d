#include "tests/contract/tiny_stream.h"

#include <utility>

#include "gtest/gtest.h"
#include "storage/base/status_macros.h"

namespace engram::strategies {

BatchView TinyBatch::View() const {
  BatchView view;
  view.rows = rows();
  view.feature_count = kTinyFeatures;
  view.features = features;
  view.classes = classes;
  view.tasks = tasks;
  view.sequences = sequences;
  view.senders = senders;
  return view;
}

void TinyStream::AddRow(int32_t task, int32_t cls, TinyBatch* batch) {
  std::normal_distribution<float> noise(0.0f, 0.3f);
  for (int64_t i = 0; i < kTinyFeatures; ++i) {
    batch->features.push_back((i == cls ? 1.0f : 0.0f) + noise(random_));
  }
  batch->classes.push_back(cls);
  batch->tasks.push_back(task);
  const uint64_t sequence = NextSequence();
  batch->sequences.push_back(sequence);
  batch->senders.push_back(sequence % 10 == 0 ? sequence / 10 % 3 : kTinyFlooder);
}

TinyBatch TinyStream::Next(int32_t task, int64_t rows) {
  TinyBatch batch;
  for (int64_t row = 0; row < rows; ++row) {
    AddRow(task, 2 * task + static_cast<int32_t>(random_() % 2), &batch);
  }
  return batch;
}

TinyBatch TinyStream::NextOfClass(int32_t task, int32_t cls, int64_t rows) {
  TinyBatch batch;
  for (int64_t row = 0; row < rows; ++row) AddRow(task, cls, &batch);
  return batch;
}

absl::Status LearnTask(Learner* learner, TinyStream* stream, int32_t task, int steps) {
  for (int step = 0; step < steps; ++step) {
    const TinyBatch batch = stream->Next(task, 8);
    ENGRAM_RETURN_IF_ERROR(learner->Train(batch.View()).status());
  }
  TaskBoundary boundary;
  boundary.ended_task = task;
  boundary.next_task = task + 1;
  boundary.sequence = stream->NextSequence();
  return learner->MarkBoundary(boundary).status();
}

WholeState SaveWhole(const Learner& learner) {
  WholeState state;
  auto saved = learner.Save([](const MemberKey&) { return false; });
  EXPECT_TRUE(saved.ok()) << saved.status();
  if (!saved.ok()) return state;
  state.saved = std::move(saved).value();
  state.payloads = std::move(state.saved.new_payloads);
  state.saved.new_payloads.clear();
  return state;
}

bool SameState(const WholeState& a, const WholeState& b) {
  if (a.saved.tensors != b.saved.tensors || a.saved.members != b.saved.members ||
      a.payloads.size() != b.payloads.size()) {
    return false;
  }
  for (size_t i = 0; i < a.payloads.size(); ++i) {
    if (!(a.payloads[i].key == b.payloads[i].key) || a.payloads[i].bytes != b.payloads[i].bytes) {
      return false;
    }
  }
  return true;
}

std::vector<float> Probe(const Snapshot& snapshot, int32_t task) {
  TinyStream stream(99);
  const TinyBatch batch = stream.Next(task, 64);
  std::vector<float> scores;
  const absl::Status status = snapshot.Predict(batch.features, batch.rows(), batch.tasks, &scores);
  EXPECT_TRUE(status.ok()) << status;
  return scores;
}

}  // namespace engram::strategies
