// The tensors of a checkpoint, or one exemplar's payload: read, and loaded into a learner, which is
// as it was when they are refused, and works when they are not.
#include <string>

#include "strategies/core/state_archive.h"
#include "tests/fuzz/small_learner.h"
#include "tests/fuzz/target.h"

namespace engram::fuzz {
namespace {

// Every tensor of an archive that opens can be read.
void ReadAll(absl::string_view bytes) {
  const auto reader = strategies::StateReader::Open(bytes);
  if (!reader.ok()) {
    ENGRAM_CHECK(reader.status().code() == absl::StatusCode::kDataLoss);
    return;
  }
  for (const auto& tensor : reader->Tensors()) {
    ENGRAM_CHECK(reader->GetTensor(tensor.name).ok());
    (void)reader->GetInts(tensor.name);
    (void)reader->GetUnsigned(tensor.name);
  }
}

bool Refused(const absl::Status& status) {
  return status.code() == absl::StatusCode::kDataLoss ||
         status.code() == absl::StatusCode::kFailedPrecondition;
}

struct Subject {
  std::unique_ptr<strategies::Learner> learner = TrainedLearner();
  SavedState good = Save(*learner);

  void Load(const SavedState& state) {
    const absl::Status restored = learner->Restore(state.saved, state.payloads);
    if (!restored.ok()) {
      ENGRAM_CHECK(Refused(restored));
      ENGRAM_CHECK(Save(*learner).saved.tensors == good.saved.tensors);
      return;
    }
    (void)TrainTwo(learner.get(), 100);
    (void)learner->TakeSnapshot(1);
    (void)learner->MarkBoundary({0, 1, 102});
    // A learner that has failed within may only be restored.
    learner = TrainedLearner();
  }
};

}  // namespace
}  // namespace engram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static auto* subject = [] {
    engram::strategies::SetComputeThreads(1);
    engram::strategies::EnterComputeThread();
    return new engram::fuzz::Subject;
  }();
  absl::string_view input = engram::fuzz::ToText(bytes, size);
  engram::fuzz::SavedState state = subject->good;
  const size_t choice = engram::fuzz::TakeChoice(&input, 8);
  if (choice < 7) {
    engram::fuzz::ReadAll(input);
    state.saved.tensors = std::string(input);
  } else {
    const size_t which = engram::fuzz::TakeChoice(&input, state.payloads.size());
    state.payloads[which].bytes = std::string(input);
  }
  subject->Load(state);
  return 0;
}
