// A safetensors file from a client: taken into a fresh learner, or refused with the learner as it
// was.
#include <string>

#include "tests/fuzz/small_learner.h"
#include "tests/fuzz/target.h"

namespace engram::fuzz {
namespace {

strategies::ModelOptions Options(bool strict) {
  strategies::ModelOptions options = SmallOptions();
  options.strategies.clear();
  if (strict) {
    options.head.kind = strategies::HeadKind::kFixed;
    options.head.head_classes = 2;
  }
  return options;
}

// One that has been refused everything so far is as good as new.
struct Subject {
  explicit Subject(bool strict) : options(Options(strict)), learner(NewLearner(options)) {}
  const strategies::ModelOptions options;
  std::unique_ptr<strategies::Learner> learner;
  std::string fresh = Save(*learner).saved.tensors;
};

void StartFrom(const strategies::PretrainedWeights& weights, Subject* subject) {
  const absl::Status started = subject->learner->StartFrom(weights);
  if (!started.ok()) {
    ENGRAM_CHECK(started.code() == absl::StatusCode::kInvalidArgument);
    ENGRAM_CHECK(Save(*subject->learner).saved.tensors == subject->fresh);
    return;
  }
  ENGRAM_CHECK(TrainTwo(subject->learner.get(), 1).ok());
  ENGRAM_CHECK(subject->learner->TakeSnapshot(1).ok());
  subject->learner = NewLearner(subject->options);
}

}  // namespace
}  // namespace engram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using engram::strategies::PretrainedWeights;
  static auto* subjects = [] {
    engram::strategies::SetComputeThreads(1);
    engram::strategies::EnterComputeThread();
    return new engram::fuzz::Subject[2]{engram::fuzz::Subject(false), engram::fuzz::Subject(true)};
  }();
  absl::string_view input = engram::fuzz::ToText(bytes, size);
  const size_t strict = engram::fuzz::TakeChoice(&input, 2);
  PretrainedWeights weights;
  weights.safetensors = input;
  if (strict == 1) {
    weights.scope = PretrainedWeights::Scope::kStrict;
    weights.labels = {"0", "1"};
  }
  engram::fuzz::StartFrom(weights, &subjects[strict]);
  return 0;
}
