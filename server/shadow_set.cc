#include "server/shadow_set.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/spec_options.h"
#include "server/tune_state.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using Learners = std::vector<std::unique_ptr<strategies::Learner>>;

}  // namespace

absl::Status ShadowSet::OpenFresh(const StreamState& state, const LearnerFactory& make) {
  Learners learners;
  for (const auto& candidate : state.spec().tune().candidates()) {
    ENGRAM_ASSIGN_OR_RETURN(learners.emplace_back(), make(ToModelOptions(candidate.spec())));
  }
  learners_ = std::move(learners);
  return absl::OkStatus();
}

absl::Status ShadowSet::OpenCopies(const StreamState& state, const strategies::Learner& model,
                                   const LearnerFactory& make) {
  ENGRAM_ASSIGN_OR_RETURN(const RestorableLearner copy, Capture(model));
  Learners learners;
  for (const auto& candidate : state.spec().tune().candidates()) {
    ENGRAM_ASSIGN_OR_RETURN(auto learner, make(ToModelOptions(state.spec())));
    ENGRAM_RETURN_IF_ERROR(learner->Restore(copy.saved, copy.payloads));
    ENGRAM_RETURN_IF_ERROR(learner->Reconfigure(ToModelOptions(candidate.spec())));
    learners.push_back(std::move(learner));
  }
  learners_ = std::move(learners);
  return absl::OkStatus();
}

absl::Status ShadowSet::Restore(const StreamState& state,
                                const std::vector<RestorableLearner>& saved,
                                const LearnerFactory& make) {
  const auto& candidates = state.spec().tune().candidates();
  const size_t expected = state.TuneIsOpen() ? candidates.size() : 0;
  if (saved.size() != expected) {
    return absl::DataLossError(absl::StrCat("expected ", expected,
                                            " stored candidates of a tune, found ", saved.size()));
  }
  Learners learners(saved.size());
  for (size_t i = 0; i < saved.size(); ++i) {
    if (saved[i].saved.tensors.empty()) continue;
    ENGRAM_ASSIGN_OR_RETURN(
        learners[i], make(ToModelOptions(candidates.Get(static_cast<int>(i)).spec())));
    ENGRAM_RETURN_IF_ERROR(learners[i]->Restore(saved[i].saved, saved[i].payloads));
  }
  learners_ = std::move(learners);
  return absl::OkStatus();
}

void ShadowSet::Train(const strategies::BatchView& batch, StreamState* state) {
  internal::StreamState::Tune* tune = state->mutable_proto()->mutable_tune();
  for (size_t i = 0; i < learners_.size(); ++i) {
    if (learners_[i] != nullptr) TrainOne(i, batch, tune);
  }
}

void ShadowSet::TrainOne(size_t position, const strategies::BatchView& batch,
                         internal::StreamState::Tune* tune) {
  absl::StatusOr<strategies::StepReport> step = learners_[position]->Train(batch);
  if (absl::IsInvalidArgument(step.status()) || absl::IsResourceExhausted(step.status())) {
    // The learner is unchanged, as after its guard.
    strategies::StepReport skipped;
    skipped.skipped = true;
    skipped.skip_reason = std::string(step.status().message());
    step = skipped;
  }
  if (!step.ok()) return Fail(position, absl::StrCat("failed: ", step.status().message()), tune);
  const int index = static_cast<int>(position);
  if (tune->report().state() != v1::TuneReport::RUNNING ||
      !tune->report().candidates(index).dropped().empty()) {
    return;
  }
  step->rows = batch.rows;
  AddScore(*step, tune->mutable_report()->mutable_candidates(index));
  const int in_row = step->skipped ? tune->skipped_in_row(index) + 1 : 0;
  tune->set_skipped_in_row(index, in_row);
  if (in_row < kSkippedInRowMax) return;
  DropCandidate(index,
                absl::StrCat("diverged: ", in_row, " batches in a row were skipped, the last: ",
                             step->skip_reason),
                tune);
}

void ShadowSet::MarkBoundary(const strategies::TaskBoundary& boundary, StreamState* state) {
  for (size_t i = 0; i < learners_.size(); ++i) {
    if (learners_[i] == nullptr) continue;
    const auto marked = learners_[i]->MarkBoundary(boundary);
    if (marked.ok()) continue;
    Fail(i, absl::StrCat("failed at a boundary: ", marked.status().message()),
         state->mutable_proto()->mutable_tune());
  }
}

void ShadowSet::Fail(size_t position, absl::string_view why, internal::StreamState::Tune* tune) {
  DropCandidate(static_cast<int>(position), why, tune);
  learners_[position].reset();
}

void ShadowSet::EndThoseOut(const StreamState& state) {
  const v1::TuneReport& report = state.proto().tune().report();
  const bool decided = report.state() == v1::TuneReport::DECIDED;
  for (size_t i = 0; i < learners_.size(); ++i) {
    const int index = static_cast<int>(i);
    const bool lost = decided && report.winner() != index + 1;
    if (lost || !report.candidates(index).dropped().empty()) learners_[i].reset();
  }
}

std::unique_ptr<strategies::Learner> ShadowSet::Take(int32_t candidate) {
  const auto position = static_cast<size_t>(candidate - 1);
  return position < learners_.size() ? std::move(learners_[position]) : nullptr;
}

int64_t ShadowSet::alive() const {
  return std::count_if(learners_.begin(), learners_.end(),
                       [](const auto& learner) { return learner != nullptr; });
}

void ShadowSet::AppendTo(const StreamState& state, std::vector<SpacedLearner>* learners) const {
  for (size_t i = 0; i < learners_.size(); ++i) {
    const uint32_t space =
        MemorySpaceOf(state.proto().tune().report().id(), static_cast<int32_t>(i + 1));
    learners->push_back({learners_[i].get(), space});
  }
}

absl::Status ShadowSet::CaptureInto(RestorableLearner* captured) const {
  for (const auto& learner : learners_) {
    RestorableLearner& shadow = captured->shadows.emplace_back();
    if (learner == nullptr) continue;
    ENGRAM_ASSIGN_OR_RETURN(shadow, Capture(*learner));
  }
  return absl::OkStatus();
}

}  // namespace engram::server
