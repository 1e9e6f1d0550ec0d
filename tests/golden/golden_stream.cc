#include "tests/golden/golden_stream.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"

namespace engram::golden {
namespace {

using testing::Call;

constexpr uint64_t kBoundaryMessage = 4;
constexpr int kFeatures = 4;

template <typename Reply>
absl::Status ToStatus(const testing::Outcome<Reply>& outcome) {
  if (outcome.ok()) return absl::OkStatus();
  return absl::InternalError(outcome.status.error_message());
}

v1::Example ExampleOf(uint64_t number) {
  const std::string subjects[] = {"ann", "bob", "carol", ""};
  const uint64_t label = number % 3;
  v1::Example example;
  for (int i = 0; i < kFeatures; ++i) {
    example.mutable_features()->add_values(static_cast<uint64_t>(i) == label ? 1.0F : 0.1F);
  }
  example.mutable_label()->set_text(absl::StrCat("class-", label));
  example.set_id(absl::StrCat("example-", number));
  example.set_subject_id(subjects[number % 4]);
  if (number % 8 == 3) example.set_split(v1::HELD_OUT);
  return example;
}

v1::CreateModelRequest Creation() {
  v1::CreateModelRequest request;
  request.set_name(kModel);
  v1::ModelSpec* spec = request.mutable_spec();
  spec->set_feature_count(kFeatures);
  spec->mutable_mlp()->add_hidden(4);
  spec->set_batch_size(4);
  spec->set_max_batch_wait_ms(0);
  spec->set_seed(5);
  spec->set_held_out_fraction(0);
  spec->add_strategies()->mutable_experience_replay()->set_memory_size(8);
  return request;
}

absl::Status AwaitApplied(const testing::Stubs& stubs, uint64_t sequence) {
  v1::WaitAppliedRequest wait;
  wait.set_model(kModel);
  wait.set_sequence(sequence);
  wait.set_evaluated(true);
  return ToStatus(Call(*stubs.learning, &v1::Learning::Stub::WaitApplied, wait));
}

absl::Status Send(const testing::Stubs& stubs, uint64_t sequence) {
  if (sequence != kBoundaryMessage) {
    return ToStatus(
        Call(*stubs.learning, &v1::Learning::Stub::LearnBatch, Message(sequence)));
  }
  v1::MarkBoundaryRequest boundary;
  boundary.set_model(kModel);
  boundary.set_producer(kProducer);
  boundary.set_producer_sequence(sequence);
  boundary.mutable_boundary()->set_next_task("second");
  return ToStatus(Call(*stubs.learning, &v1::Learning::Stub::MarkBoundary, boundary));
}

}  // namespace

v1::LearnBatchRequest Message(uint64_t producer_sequence) {
  v1::LearnBatchRequest request;
  request.set_model(kModel);
  request.set_producer(kProducer);
  request.set_producer_sequence(producer_sequence);
  const int examples[] = {0, 8, 4, 4, 0, 6, 2};
  uint64_t number = 1;
  for (uint64_t before = 1; before < producer_sequence; ++before) {
    number += static_cast<uint64_t>(examples[before]);
  }
  for (int i = 0; i < examples[producer_sequence]; ++i) {
    *request.add_examples() = ExampleOf(number++);
  }
  return request;
}

absl::Status Tell(const testing::Stubs& stubs) {
  ENGRAM_RETURN_IF_ERROR(
      ToStatus(Call(*stubs.models, &v1::Models::Stub::CreateModel, Creation())));
  for (uint64_t sequence = 1; sequence <= kMessages; ++sequence) {
    ENGRAM_RETURN_IF_ERROR(Send(stubs, sequence));
    if (sequence != kBoundaryMessage) continue;
    ENGRAM_RETURN_IF_ERROR(AwaitApplied(stubs, 0));
    v1::CreateCheckpointRequest checkpoint;
    checkpoint.set_model(kModel);
    checkpoint.set_label(kLabel);
    ENGRAM_RETURN_IF_ERROR(ToStatus(
        Call(*stubs.checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint, checkpoint)));
  }
  return AwaitApplied(stubs, kApplied);
}

}  // namespace engram::golden
