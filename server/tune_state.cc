#include "server/tune_state.h"

#include <algorithm>
#include <string>

#include "server/tune_plan.h"

namespace engram::server {
namespace {

using v1::TuneReport;

// a > b as shares of hits, without rounding. No example yet is the worst.
bool Better(const TuneReport::Score& a, const TuneReport::Score& b) {
  if (a.examples() == 0 || b.examples() == 0) return a.examples() > 0;
  return static_cast<__int128>(a.hits()) * b.examples() >
         static_cast<__int128>(b.hits()) * a.examples();
}

void SetWinner(int32_t winner, TuneReport* report) {
  report->set_winner(winner);
  report->set_winner_name(winner == 0 ? report->own().name()
                                      : report->candidates(winner - 1).name());
}

}  // namespace

void OpenTune(internal::StreamState* state) {
  const v1::Tune& plan = state->spec().tune();
  internal::StreamState::Tune* tune = state->mutable_tune();
  tune->Clear();
  tune->set_boundaries(state->boundaries());
  tune->set_train_examples(state->train_examples());
  tune->mutable_skipped_in_row()->Resize(plan.candidates_size(), 0);
  TuneReport* report = tune->mutable_report();
  report->set_id(plan.id());
  report->set_state(TuneReport::RUNNING);
  report->set_policy(plan.policy());
  report->set_tasks(plan.tasks());
  report->set_examples(plan.examples());
  report->mutable_own()->set_name(kOwnSettings);
  for (const auto& candidate : plan.candidates()) {
    report->add_candidates()->set_name(candidate.name());
  }
  state->set_tunes(std::max<uint64_t>(state->tunes(), plan.id()));
}

void CloseTune(int32_t candidate, internal::StreamState* state) {
  internal::StreamState::Tune* tune = state->mutable_tune();
  TuneReport* report = tune->mutable_report();
  if (candidate > 0) {
    report->set_state(TuneReport::PROMOTED);
    // What the log says: decided again without erased examples, it may have gone otherwise.
    SetWinner(candidate, report);
    state->set_memory_space(MemorySpaceOf(report->id(), candidate));
  } else {
    const bool kept = report->state() == TuneReport::DECIDED && report->winner() == 0;
    report->set_state(kept ? TuneReport::KEPT : TuneReport::STOPPED);
  }
  tune->clear_skipped_in_row();
  tune->clear_saved_bytes();
}

void AddScore(const strategies::StepReport& step, TuneReport::Score* score) {
  score->set_examples(score->examples() + step.rows);
  if (step.skipped) {
    score->set_skipped_batches(score->skipped_batches() + 1);
  } else {
    score->set_hits(score->hits() + step.correct);
  }
  score->set_accuracy(static_cast<double>(score->hits()) / static_cast<double>(score->examples()));
}

void DropCandidate(int position, absl::string_view why, internal::StreamState::Tune* tune) {
  TuneReport* report = tune->mutable_report();
  report->mutable_candidates(position)->set_dropped(std::string(why));
  if (report->state() != TuneReport::DECIDED || report->winner() != position + 1) return;
  SetWinner(0, report);
}

void CountTuneProgress(internal::StreamState* state) {
  if (state->tune().report().state() != TuneReport::RUNNING) return;
  internal::StreamState::Tune* tune = state->mutable_tune();
  tune->mutable_report()->set_tasks_ended(state->boundaries() - tune->boundaries());
  tune->mutable_report()->set_examples_seen(state->train_examples() - tune->train_examples());
}

bool TuneIsDue(const internal::StreamState& state) {
  const TuneReport& report = state.tune().report();
  if (report.state() != TuneReport::RUNNING) return false;
  return (report.tasks() > 0 && report.tasks_ended() >= report.tasks()) ||
         (report.examples() > 0 && report.examples_seen() >= report.examples());
}

int32_t BestOfTune(const TuneReport& report) {
  int32_t best = 0;
  const TuneReport::Score* score = &report.own();
  for (int i = 0; i < report.candidates_size(); ++i) {
    const TuneReport::Score& candidate = report.candidates(i);
    if (!candidate.dropped().empty() || !Better(candidate, *score)) continue;
    best = i + 1;
    score = &candidate;
  }
  return best;
}

void DecideTune(internal::StreamState* state) {
  TuneReport* report = state->mutable_tune()->mutable_report();
  SetWinner(BestOfTune(*report), report);
  report->set_state(TuneReport::DECIDED);
}

bool TuneEndsItself(const internal::StreamState& state) {
  const TuneReport& report = state.tune().report();
  return report.state() == TuneReport::DECIDED &&
         (report.policy() == v1::Tune::PROMOTE || report.winner() == 0);
}

uint32_t MemorySpaceOf(uint64_t tune, int32_t candidate) {
  return static_cast<uint32_t>((tune - 1) * kCandidatesMax + candidate);
}

}  // namespace engram::server
