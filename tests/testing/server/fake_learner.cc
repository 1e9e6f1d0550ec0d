#include "tests/testing/server/fake_learner.h"

#include <cmath>
#include <cstring>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/sequence_hash.h"

namespace engram::testing {
namespace {

using strategies::BatchView;
using strategies::MemberKey;
using strategies::MemberPayload;
using strategies::SavedLearner;

constexpr size_t kMembersMax = 8;

uint64_t Bits(double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

int64_t NearestMean(const std::vector<double>& sums, const std::vector<double>& counts,
                    float feature) {
  int64_t best = -1;
  double best_distance = 0;
  for (size_t c = 0; c < counts.size(); ++c) {
    if (counts[c] == 0) continue;
    const double distance = std::abs(sums[c] / counts[c] - feature);
    if (best >= 0 && distance >= best_distance) continue;
    best = static_cast<int64_t>(c);
    best_distance = distance;
  }
  return best;
}

class FakeSnapshot : public strategies::Snapshot {
 public:
  FakeSnapshot(uint64_t version, std::vector<double> sums, std::vector<double> counts)
      : version_(version), sums_(std::move(sums)), counts_(std::move(counts)) {}
  uint64_t version() const override { return version_; }
  int64_t class_count() const override { return static_cast<int64_t>(counts_.size()); }
  absl::Status Predict(absl::Span<const float> features, int64_t rows,
                       absl::Span<const int32_t> tasks,
                       std::vector<float>* scores) const override {
    const size_t classes = counts_.size();
    scores->assign(rows * classes, 0.0f);
    const size_t width = rows == 0 ? 0 : features.size() / rows;
    for (int64_t row = 0; row < rows && classes > 0; ++row) {
      const int64_t best = NearestMean(sums_, counts_, features[row * width]);
      for (size_t c = 0; c < classes; ++c) (*scores)[row * classes + c] = 0.1f;
      if (best >= 0) (*scores)[row * classes + best] = 0.9f;
    }
    return absl::OkStatus();
  }

 private:
  const uint64_t version_;
  const std::vector<double> sums_;
  const std::vector<double> counts_;
};

std::string Numbers(const std::vector<double>& values) {
  std::vector<uint64_t> bits;
  for (double value : values) bits.push_back(Bits(value));
  return absl::StrJoin(bits, ",");
}

std::vector<double> ParseNumbers(absl::string_view text) {
  std::vector<double> values;
  for (absl::string_view part : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    uint64_t bits = 0;
    double value = 0;
    if (absl::SimpleAtoi(part, &bits)) std::memcpy(&value, &bits, sizeof(value));
    values.push_back(value);
  }
  return values;
}

}  // namespace

FakeLearner::FakeLearner(const strategies::ModelOptions& options,
                         std::shared_ptr<FakeLearnerScript> script)
    : script_(std::move(script)),
      first_width_(options.hidden.empty() ? 0 : options.hidden.front()) {
  state_.digest = options.seed;
  state_.learning_rate = options.optimizer.learning_rate;
}

void FakeLearner::Mix(uint64_t value) { state_.digest = server::MixBits(state_.digest ^ value); }

int64_t FakeLearner::Predict(float first_feature) const {
  return NearestMean(state_.sums, state_.counts, first_feature);
}

absl::Status FakeLearner::StartFrom(const strategies::PretrainedWeights& weights) {
  if (weights.safetensors == "hostile") return absl::InvalidArgumentError("weights: hostile");
  if (weights.safetensors == "wide" && first_width_ != 32) {
    return absl::InvalidArgumentError(absl::StrCat("weights: 32 units, not ", first_width_));
  }
  for (const char byte : weights.safetensors) Mix(static_cast<unsigned char>(byte));
  Mix(static_cast<uint64_t>(weights.scope));
  for (const std::string& label : weights.labels) Mix(label.size());
  return absl::OkStatus();
}

bool FakeLearner::IsRight(float first_feature, size_t label, uint64_t sequence) const {
  const double best = script_->best_rate;
  if (best == 0) return Predict(first_feature) == static_cast<int64_t>(label);
  return static_cast<double>(sequence % 8) >= std::abs(std::log2(state_.learning_rate / best));
}

absl::StatusOr<strategies::StepReport> FakeLearner::Train(const BatchView& batch) {
  if (batch.rows == 0) return absl::InvalidArgumentError("a batch has rows");
  const uint64_t first = batch.sequences.front();
  if (first == script_->internal_error_at) return absl::InternalError("scripted fault");
  if (first == script_->refuse_at) return absl::ResourceExhaustedError("scripted refusal");
  strategies::StepReport report;
  report.rows = batch.rows;
  if (state_.learning_rate == script_->failing_rate) return absl::InternalError("scripted rate");
  if (first == script_->skip_at || state_.learning_rate == script_->skipping_rate) {
    report.skipped = true;
    report.skip_reason = "scripted skip";
    return report;
  }
  Mix(batch.rows);
  Mix(Bits(state_.learning_rate));
  for (int64_t i = 0; i < batch.rows; ++i) {
    const float feature = batch.features[i * batch.feature_count];
    const size_t label = batch.classes[i];
    report.correct += IsRight(feature, label, batch.sequences[i]);
    Mix(batch.sequences[i]);
    Mix(label);
    Mix(batch.tasks[i]);
    Mix(Bits(feature));
    Mix(Bits(batch.weights.empty() ? 1.0 : batch.weights[i]));
    if (!batch.senders.empty()) Mix(batch.senders[i]);
    trained_.push_back(batch.sequences[i]);
    if (batch.sequences[i] % 4 != 0) continue;
    if (state_.members.size() == kMembersMax) state_.members.erase(state_.members.begin());
    state_.members.push_back(
        {MemberKey{0, batch.sequences[i], 0}, absl::StrCat("x", Bits(feature))});
  }
  for (int64_t i = 0; i < batch.rows; ++i) {  // after the measurement: test, then train
    const size_t label = batch.classes[i];
    if (label >= state_.counts.size()) {
      state_.counts.resize(label + 1);
      state_.sums.resize(label + 1);
    }
    state_.sums[label] += batch.features[i * batch.feature_count];
    state_.counts[label] += 1;
  }
  batch_sizes_.push_back(batch.rows);
  return report;
}

absl::StatusOr<strategies::BoundaryReport> FakeLearner::MarkBoundary(
    const strategies::TaskBoundary& boundary) {
  Mix(boundary.ended_task + 1000);
  Mix(boundary.next_task + 2000);
  Mix(boundary.sequence);
  strategies::BoundaryReport report;
  strategies::ImportanceSnapshot importance;
  importance.strategy = "fake";
  importance.task = boundary.ended_task;
  importance.tensors = absl::StrCat(state_.digest);
  report.importance.push_back(importance);
  return report;
}

absl::Status FakeLearner::Reconfigure(const strategies::ModelOptions& next) {
  state_.learning_rate = next.optimizer.learning_rate;
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const strategies::Snapshot>> FakeLearner::TakeSnapshot(
    uint64_t version) {
  return std::shared_ptr<const strategies::Snapshot>(
      std::make_shared<FakeSnapshot>(version, state_.sums, state_.counts));
}

absl::StatusOr<SavedLearner> FakeLearner::Save(
    const std::function<bool(const MemberKey&)>& is_stored) const {
  SavedLearner saved;
  saved.tensors = absl::StrCat(state_.digest, ";", Numbers(state_.sums), ";",
                               Numbers(state_.counts));
  for (const MemberPayload& member : state_.members) {
    saved.members.push_back(member.key);
    if (!is_stored(member.key)) saved.new_payloads.push_back(member);
  }
  return saved;
}

absl::Status FakeLearner::Restore(const SavedLearner& saved,
                                  const std::vector<MemberPayload>& payloads) {
  const std::vector<std::string> parts = absl::StrSplit(saved.tensors, ';');
  State next;
  next.learning_rate = state_.learning_rate;
  if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &next.digest) ||
      payloads.size() != saved.members.size()) {
    return absl::DataLossError("saved fake learner does not parse");
  }
  next.sums = ParseNumbers(parts[1]);
  next.counts = ParseNumbers(parts[2]);
  for (const MemberPayload& payload : payloads) {
    if (!payload.bytes.empty()) next.members.push_back(payload);
  }
  state_ = std::move(next);
  trained_.clear();
  batch_sizes_.clear();
  ++script_->restores;
  return absl::OkStatus();
}

strategies::LearnerGauges FakeLearner::Gauges() const {
  strategies::LearnerGauges gauges;
  gauges.parameters = static_cast<int64_t>(state_.sums.size());
  gauges.episodic_bytes = static_cast<int64_t>(state_.members.size());
  return gauges;
}

}  // namespace engram::testing
