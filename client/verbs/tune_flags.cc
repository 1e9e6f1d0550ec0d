#include "client/verbs/tune_flags.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/verbs/model_flags.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

// "lr=0.1 strategy=ewc:lambda=3": the flags of `model create` without their dashes.
absl::Status AddCandidate(const std::string& text, engram::v1::Tune* tune) {
  std::vector<std::string> args;
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    args.push_back(absl::StrCat("--", word));
  }
  engram::v1::Tune::Candidate* candidate = tune->add_candidates();
  ModelFlags changes;
  FlagSet flags("candidate", "");
  flags.String("name", candidate->mutable_name(), "of the candidate");
  changes.DeclareCreation(&flags);
  changes.DeclareLive(&flags);
  absl::Status status = flags.Parse(args);
  if (status.ok()) status = changes.ApplyTo(candidate->mutable_spec());
  if (status.ok()) return status;
  return absl::InvalidArgumentError(
      absl::StrCat("--candidate \"", text, "\": ", status.message()));
}

// "optimizer.learning_rate=0.01,0.1".
absl::Status AddAxis(const std::string& text, engram::v1::Tune* tune) {
  const std::vector<std::string> sides = absl::StrSplit(text, absl::MaxSplits('=', 1));
  engram::v1::Tune::Axis* axis = tune->add_grid();
  axis->set_parameter(sides[0]);
  for (const absl::string_view value : absl::StrSplit(sides.back(), ',')) {
    double number = 0;
    if (sides.size() != 2 || !absl::SimpleAtod(value, &number)) {
      return absl::InvalidArgumentError(
          absl::StrCat("--grid: expected PARAMETER=number,number,..., got \"", text, "\""));
    }
    axis->add_values(number);
  }
  return absl::OkStatus();
}

}  // namespace

void TuneFlags::Declare(const std::string& prefix, FlagSet* flags) {
  flags
      ->Strings("candidate", &candidates_,
                "settings tried in the model's shadow, as flags without dashes: "
                "\"lr=0.1 strategy=ewc:lambda=3\"; several flags")
      .Strings("grid", &grid_,
               "PARAMETER=value,value,...: every combination is a candidate, e.g. "
               "learning_rate=0.01,0.1 or ewc.lambda=1,10; several flags")
      .Int64(prefix + "tasks", &tasks_, "decide at the end of so many tasks")
      .Int64(prefix + "examples", &examples_, "decide after so many examples")
      .Bool(prefix + "promote", &promote_, "the best becomes the model by itself");
}

bool TuneFlags::given() const {
  return !candidates_.empty() || !grid_.empty() || tasks_ != 0 || examples_ != 0 || promote_;
}

absl::Status TuneFlags::ApplyTo(engram::v1::Tune* tune) const {
  for (const std::string& text : candidates_) {
    ENGRAM_RETURN_IF_ERROR(AddCandidate(text, tune));
  }
  for (const std::string& text : grid_) ENGRAM_RETURN_IF_ERROR(AddAxis(text, tune));
  tune->set_tasks(tasks_);
  tune->set_examples(examples_);
  tune->set_policy(promote_ ? engram::v1::Tune::PROMOTE : engram::v1::Tune::PROPOSE);
  return absl::OkStatus();
}

}  // namespace engram::client
