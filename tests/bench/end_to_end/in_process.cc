#include "tests/bench/end_to_end/in_process.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "storage/base/status_macros.h"
#include "strategies/api/compute.h"

namespace engram::bench {
namespace {

constexpr size_t kExamples = 5120;

class Stopwatch {
 public:
  double Seconds() const { return absl::ToDoubleSeconds(absl::Now() - began_); }

 private:
  const absl::Time began_ = absl::Now();
};

template <typename T>
absl::Span<const T> Piece(const std::vector<T>& values, size_t at, size_t count) {
  return absl::MakeConstSpan(values).subspan(at, count);
}

}  // namespace

absl::StatusOr<std::unique_ptr<InProcessModel>> InProcessModel::Make(int64_t batch) {
  strategies::SetComputeThreads(1);
  strategies::EnterComputeThread();
  strategies::ModelOptions options;
  options.feature_count = kFeatureCount;
  options.hidden = {256, 256};
  options.optimizer.learning_rate = 0.05;
  options.batch_size = batch;
  options.seed = 1;
  auto model = std::make_unique<InProcessModel>();
  model->batch_ = batch;
  model->flat_ = MakeFlat(kExamples);
  ENGRAM_ASSIGN_OR_RETURN(model->learner_, strategies::MakeLearner(options));
  return model;
}

absl::StatusOr<double> InProcessModel::Train(size_t count) {
  const auto rows = static_cast<size_t>(batch_);
  const Stopwatch watch;
  for (size_t done = 0; done + rows <= count; done += rows) {
    const size_t at = done % (kExamples - rows + 1);
    strategies::BatchView batch;
    batch.rows = batch_;
    batch.feature_count = kFeatureCount;
    batch.features = Piece(flat_.features, at * kFeatureCount, rows * kFeatureCount);
    batch.classes = Piece(flat_.classes, at, rows);
    batch.tasks = Piece(flat_.tasks, at, rows);
    batch.sequences = Piece(flat_.sequences, at, rows);
    sequence_ += rows;
    ENGRAM_RETURN_IF_ERROR(learner_->Train(batch).status());
  }
  return watch.Seconds();
}

absl::StatusOr<Latencies> InProcessModel::Predict(int calls) {
  ENGRAM_ASSIGN_OR_RETURN(const auto snapshot, learner_->TakeSnapshot(++sequence_));
  Latencies latencies;
  std::vector<float> scores;
  for (int i = 0; i < calls; ++i) {
    const Stopwatch watch;
    ENGRAM_RETURN_IF_ERROR(
        snapshot->Predict(Piece(flat_.features, 0, kFeatureCount), 1, {}, &scores));
    latencies.Add(watch.Seconds());
  }
  return latencies;
}

absl::StatusOr<Latencies> InProcessModel::Publish(int times) {
  Latencies latencies;
  for (int i = 0; i < times; ++i) {
    const Stopwatch watch;
    ENGRAM_ASSIGN_OR_RETURN(kept_, learner_->TakeSnapshot(++sequence_));
    latencies.Add(watch.Seconds());
  }
  return latencies;
}

Latencies InProcessModel::CopyParameters(int times) const {
  const std::vector<float> from(static_cast<size_t>(parameters()), 1.0F);
  std::vector<float> to(from.size());
  Latencies latencies;
  for (int i = 0; i < times; ++i) {
    const Stopwatch watch;
    std::copy(from.begin(), from.end(), to.begin());
    asm volatile("" : : "r"(to.data()) : "memory");  // the copy must happen
    latencies.Add(watch.Seconds());
  }
  return latencies;
}

absl::StatusOr<Latencies> InProcessModel::Save(int times) {
  Latencies latencies;
  for (int i = 0; i < times; ++i) {
    const Stopwatch watch;
    ENGRAM_ASSIGN_OR_RETURN(saved_,
                            learner_->Save([](const strategies::MemberKey&) { return true; }));
    latencies.Add(watch.Seconds());
  }
  return latencies;
}

absl::StatusOr<Latencies> InProcessModel::Restore(int times) {
  Latencies latencies;
  for (int i = 0; i < times; ++i) {
    const Stopwatch watch;
    ENGRAM_RETURN_IF_ERROR(learner_->Restore(saved_, {}));
    latencies.Add(watch.Seconds());
  }
  return latencies;
}

}  // namespace engram::bench
