// A tune, as the trainer sees it: the candidates learn in the model's shadow; at the record that
// ends the last task the decision falls, as a function of the log; what comes of it is a record of
// its own, so that admission, recovery and the trainer change over at the same place.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/logging.h"
#include "server/spec_options.h"
#include "server/trainer.h"
#include "server/tune_state.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr absl::Duration kEndRetry = absl::Milliseconds(100);

}  // namespace

// Brings the learner to a spec: in place where that can be done live; otherwise it is another
// learner, without a state until it is restored.
absl::Status Trainer::Reshape(const v1::ModelSpec& spec) {
  strategies::ModelOptions options = ToModelOptions(spec);
  if (strategies::ValidateLiveChange(learner_options_, options).ok()) {
    ENGRAM_RETURN_IF_ERROR(learner_->Reconfigure(options));
  } else {
    ENGRAM_ASSIGN_OR_RETURN(learner_, context_.make_learner(options));
    learner_is_fresh_ = false;
  }
  learner_options_ = std::move(options);
  return absl::OkStatus();
}

absl::Status Trainer::RestoreLearners(const StreamState& state, const RestorableLearner& learner) {
  ENGRAM_RETURN_IF_ERROR(Reshape(state.spec()));
  learner_is_fresh_ = false;
  ENGRAM_RETURN_IF_ERROR(learner_->Restore(learner.saved, learner.payloads));
  return shadows_.Restore(state, learner.shadows, context_.make_learner);
}

std::vector<SpacedLearner> Trainer::LearnersToSave() const {
  std::vector<SpacedLearner> learners = {{learner_.get(), state_.proto().memory_space()}};
  shadows_.AppendTo(state_, &learners);
  return learners;
}

void Trainer::TrainShadows(const strategies::BatchView& batch,
                           const strategies::StepReport& own) {
  if (!state_.TuneIsOpen()) return;
  v1::TuneReport* report = state_.mutable_proto()->mutable_tune()->mutable_report();
  if (report->state() == v1::TuneReport::RUNNING) AddScore(own, report->mutable_own());
  const absl::Duration started = context_.clock->Monotonic();
  shadows_.Train(batch, &state_);
  if (phase_ == Phase::kServing) shadows_.EndThoseOut(state_);
  context_.statistics->AddTuneSeconds(
      absl::ToDoubleSeconds(context_.clock->Monotonic() - started));
}

void Trainer::DecideTuneIfDue() {
  CountTuneProgress(state_.mutable_proto());
  if (!TuneIsDue(state_.proto())) return;
  DecideTune(state_.mutable_proto());
  const v1::TuneReport& report = state_.proto().tune().report();
  if (phase_ == Phase::kServing) shadows_.EndThoseOut(state_);
  for (const auto& candidate : report.candidates()) {
    if (candidate.dropped().empty()) continue;
    Log(LogLevel::kWarning, "tune_candidate_dropped",
        {{"model", context_.name}, {"candidate", candidate.name()}, {"why", candidate.dropped()}});
  }
  Log(LogLevel::kInfo, "tune_decided",
      {{"model", context_.name}, {"after_sequence", applied_}, {"winner", report.winner_name()}});
}

// The record that ends a decided tune; asked for again until it is durable, and refused by
// admission when the log holds it already.
void Trainer::EndDecidedTune(Turn* turn) {
  if (phase_ != Phase::kServing || !TuneEndsItself(state_.proto()) || *tune_end_submitted_) return;
  const v1::TuneReport& report = state_.proto().tune().report();
  *tune_end_submitted_ = true;
  const absl::Status submitted = parts_.admission->SubmitTuneEnd(
      report.id(), report.winner(),
      [in_flight = tune_end_submitted_, wake = context_.wake](uint64_t,
                                                              const absl::Status& status) {
        if (!status.ok()) *in_flight = false;
        wake();
      });
  // Already in the log: it will come.
  if (submitted.ok() || absl::IsFailedPrecondition(submitted)) return;
  *tune_end_submitted_ = false;
  turn->wake_in = std::min(turn->wake_in, kEndRetry);
}

void Trainer::RequestPromotion(OnPromotion done) {
  absl::Status refused;
  {
    base::MutexLock lock(&commands_mutex_);
    refused = abandoned_;
    if (refused.ok()) promotion_requests_.push_back(std::move(done));
  }
  if (!refused.ok()) return done(refused);
  context_.wake();
}

void Trainer::SubmitPromotion(OnPromotion done) {
  const v1::TuneReport& report = state_.proto().tune().report();
  if (phase_ != Phase::kServing || report.state() != v1::TuneReport::DECIDED ||
      report.winner() == 0) {
    return done(WrongState("TUNE", absl::StrCat(report.id()), "no candidate is proposed"));
  }
  const v1::ModelSpec& spec =
      state_.spec().tune().candidates(report.winner() - 1).spec();
  auto answer = std::make_shared<OnPromotion>(std::move(done));
  const absl::Status submitted = parts_.admission->SubmitTuneEnd(
      report.id(), report.winner(),
      [answer, spec, wake = context_.wake](uint64_t sequence, const absl::Status& status) {
        wake();
        if (!status.ok()) return (*answer)(status);
        v1::UpdateModelResponse response;
        response.set_sequence(sequence);
        *response.mutable_model()->mutable_spec() = spec;
        (*answer)(response);
      });
  if (!submitted.ok()) (*answer)(submitted);
}

absl::Status Trainer::PassConfiguration(const storage::LogRecord& record) {
  internal::ConfigurationRecord configuration;
  if (!configuration.ParseFromString(record.payload)) {
    return absl::DataLossError(
        absl::StrCat("log record ", record.sequence, ": not a valid configuration"));
  }
  const bool promotes = configuration.candidate() != 0;
  if (promotes) {
    auto learner = shadows_.Take(configuration.candidate());
    if (learner == nullptr) {
      return absl::InternalError(absl::StrCat("record ", record.sequence, " promotes candidate ",
                                              configuration.candidate(),
                                              " of the tune, which has failed since; roll back"));
    }
    learner_ = std::move(learner);
    learner_options_ = ToModelOptions(configuration.spec());
  } else {
    ENGRAM_RETURN_IF_ERROR(Reshape(configuration.spec()));
  }
  const bool was_open = state_.TuneIsOpen();
  state_.ApplyConfiguration(configuration);
  *tune_end_submitted_ = *tune_end_submitted_ && state_.TuneIsOpen();
  if (!state_.TuneIsOpen()) shadows_.Clear();
  if (!was_open && state_.TuneIsOpen()) {
    ENGRAM_RETURN_IF_ERROR(shadows_.OpenCopies(state_, *learner_, context_.make_learner));
  }
  ENGRAM_RETURN_IF_ERROR(SetApplied(record.sequence));
  return promotes && phase_ == Phase::kServing ? Publish() : absl::OkStatus();
}

}  // namespace engram::server
