#include "server/quarantine.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using strategies::BatchView;
using v1::QuarantinedExample;

// A feature that hardly varies would make every other value an outlier: no deviation counts as
// less than this share of the root mean square over all features.
constexpr double kDeviationFloor = 0.1;

using Counts = google::protobuf::RepeatedField<int64_t>;

int64_t At(const Counts& counts, int32_t index) {
  return index < counts.size() ? counts.Get(index) : 0;
}

void Count(int32_t index, Counts* counts) {
  if (index >= counts->size()) counts->Resize(index + 1, 0);
  counts->Set(index, counts->Get(index) + 1);
}

// Welford's update (Technometrics 4, 1962).
void AddToMoments(absl::Span<const float> row, internal::Quarantine* state) {
  const int features = static_cast<int>(row.size());
  if (state->mean_size() != features || state->square_sum_size() != features) {
    state->mutable_mean()->Resize(features, 0);
    state->mutable_square_sum()->Resize(features, 0);
  }
  state->set_seen(state->seen() + 1);
  const auto seen = static_cast<double>(state->seen());
  double* mean = state->mutable_mean()->mutable_data();
  double* square_sum = state->mutable_square_sum()->mutable_data();
  for (int i = 0; i < features; ++i) {
    const double before = row[i] - mean[i];
    mean[i] += before / seen;
    square_sum[i] += before * (row[i] - mean[i]);
  }
}

// One divided by each feature's variance, floored; empty where nothing varies at all.
std::vector<double> InverseVariances(const internal::Quarantine& state) {
  double sum = 0;
  for (const double square_sum : state.square_sum()) sum += square_sum;
  if (!(sum > 0)) return {};
  const auto seen = static_cast<double>(state.seen());
  const double floor =
      kDeviationFloor * kDeviationFloor * sum / (seen * static_cast<double>(state.mean_size()));
  std::vector<double> inverse;
  inverse.reserve(state.square_sum_size());
  for (const double square_sum : state.square_sum()) {
    inverse.push_back(1 / std::max(square_sum / seen, floor));
  }
  return inverse;
}

}  // namespace

Quarantine::Quarantine(const v1::ModelSpec& spec)
    : options_(spec.quarantine()),
      heads_per_task_(spec.head().kind() == v1::Head::PER_TASK) {}

bool Quarantine::MayJudge(int32_t class_index, int32_t task,
                          const internal::Quarantine& state) const {
  const int64_t needed = options_.after_examples();
  if (At(state.class_examples(), class_index) < needed) return false;
  if (At(state.task_examples(), task) < needed) return false;
  // A head knows only the classes of its task: others score 0 there, whoever sends them.
  return !heads_per_task_ || (task < state.head_examples_size() &&
                              At(state.head_examples(task).examples(), class_index) >= needed);
}

absl::StatusOr<std::vector<double>> Quarantine::LabelScores(const BatchView& batch,
                                                            const std::vector<int64_t>& rows,
                                                            Snapshots snapshot) const {
  ENGRAM_ASSIGN_OR_RETURN(const auto served, snapshot());
  std::vector<float> features;
  std::vector<int32_t> tasks;
  for (const int64_t row : rows) {
    const auto values = batch.features.subspan(row * batch.feature_count, batch.feature_count);
    features.insert(features.end(), values.begin(), values.end());
    tasks.push_back(batch.tasks[row]);
  }
  std::vector<float> scores;
  const auto count = static_cast<int64_t>(rows.size());
  const int64_t classes = served->class_count();
  if (!served->Predict(features, count, tasks, &scores).ok() ||
      static_cast<int64_t>(scores.size()) != count * classes) {
    return std::vector<double>(rows.size(), 1);
  }
  std::vector<double> label_scores;
  for (int64_t i = 0; i < count; ++i) {
    const int32_t label = batch.classes[rows[i]];
    label_scores.push_back(label < classes ? scores[i * classes + label] : 1);
  }
  return label_scores;
}

void Quarantine::JudgeDeviations(const BatchView& batch, const std::vector<int64_t>& rows,
                                 const internal::Quarantine& state,
                                 std::vector<Verdict>* verdicts) const {
  if (state.mean_size() != batch.feature_count ||
      state.square_sum_size() != batch.feature_count) {
    return;
  }
  const std::vector<double> inverse = InverseVariances(state);
  if (inverse.empty()) return;
  const double* mean = state.mean().data();
  for (const int64_t row : rows) {
    if ((*verdicts)[row].reason != QuarantinedExample::REASON_UNSPECIFIED) continue;
    const float* values = batch.features.data() + row * batch.feature_count;
    double sum = 0;
    for (int64_t i = 0; i < batch.feature_count; ++i) {
      const double distance = values[i] - mean[i];
      sum += distance * distance * inverse[i];
    }
    const double deviation = std::sqrt(sum / static_cast<double>(batch.feature_count));
    if (deviation <= options_.max_deviation()) continue;
    (*verdicts)[row] = {QuarantinedExample::OUTLIER, deviation};
  }
}

bool Quarantine::IsDrift(bool suspect, internal::Quarantine* state) const {
  std::string* window = state->mutable_window();
  const auto place = static_cast<size_t>(state->judged() % kWindow);
  if (place >= window->size()) window->resize(place + 1);
  (*window)[place] = suspect ? '\1' : '\0';
  state->set_judged(state->judged() + 1);
  if (!suspect) return false;
  const auto suspects = std::count(window->begin(), window->end(), '\1');
  return static_cast<double>(suspects) >
         options_.max_share() * static_cast<double>(window->size());
}

absl::StatusOr<std::vector<Quarantine::Verdict>> Quarantine::Judge(
    const BatchView& batch, absl::Span<const uint64_t> released, Snapshots snapshot,
    internal::Quarantine* state) const {
  std::vector<Verdict> verdicts(batch.rows);
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < batch.rows; ++row) {
    if (released[row] == 0 && MayJudge(batch.classes[row], batch.tasks[row], *state)) {
      rows.push_back(row);
    }
  }
  if (rows.empty()) return verdicts;
  if (options_.min_label_score() > 0) {
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<double> scores, LabelScores(batch, rows, snapshot));
    for (size_t i = 0; i < rows.size(); ++i) {
      if (scores[i] >= options_.min_label_score()) continue;
      verdicts[rows[i]] = {QuarantinedExample::LABEL_DISAGREES, scores[i]};
    }
  }
  if (options_.max_deviation() > 0) JudgeDeviations(batch, rows, *state, &verdicts);
  for (const int64_t row : rows) {
    const bool suspect = verdicts[row].reason != QuarantinedExample::REASON_UNSPECIFIED;
    if (IsDrift(suspect, state)) verdicts[row] = Verdict();
  }
  return verdicts;
}

void Quarantine::Learn(const BatchView& batch, internal::Quarantine* state) const {
  for (int64_t row = 0; row < batch.rows; ++row) {
    const int32_t task = batch.tasks[row];
    Count(batch.classes[row], state->mutable_class_examples());
    Count(task, state->mutable_task_examples());
    if (heads_per_task_) {
      while (state->head_examples_size() <= task) state->add_head_examples();
      Count(batch.classes[row], state->mutable_head_examples(task)->mutable_examples());
    }
    if (options_.max_deviation() == 0) continue;
    AddToMoments(batch.features.subspan(row * batch.feature_count, batch.feature_count), state);
  }
}

void AddHeld(uint64_t sequence, int32_t task, const Quarantine::Verdict& verdict,
             internal::Quarantine* state) {
  internal::Quarantine::Held* held = state->add_held();
  held->set_sequence(sequence);
  held->set_reason(verdict.reason);
  held->set_score(verdict.score);
  held->set_task(task);
  auto* list = state->mutable_held();
  for (int i = list->size() - 1; i > 0 && list->Get(i - 1).sequence() > sequence; --i) {
    list->SwapElements(i - 1, i);
  }
  if (list->size() <= Quarantine::kHeldMax) return;
  list->DeleteSubrange(0, 1);
  state->set_displaced(state->displaced() + 1);
}

int DropHeld(absl::Span<const uint64_t> sequences, internal::StreamState* state) {
  if (!state->has_quarantine()) return 0;
  auto* list = state->mutable_quarantine()->mutable_held();
  const auto kept = std::remove_if(list->begin(), list->end(), [&](const auto& held) {
    return std::binary_search(sequences.begin(), sequences.end(), held.sequence());
  });
  const auto dropped = static_cast<int>(list->end() - kept);
  list->DeleteSubrange(list->size() - dropped, dropped);
  return dropped;
}

}  // namespace engram::server
