// iCaRL (Rebuffi et al. 2017, CVPR): ncm with the loss of its algorithm 3, a sum of binary
// cross-entropies over the outputs g = sigmoid(logits):
//   l = - sum_{y new} [ 1{y = y_i} log g_y + 1{y != y_i} log(1 - g_y) ]
//       - sum_{y old} [ q_y log g_y + (1 - q_y) log(1 - g_y) ],   q the old network's sigmoids
// over stream and exemplars together. The old network is the one at the latest boundary. "New" are
// the outputs that the stream has named since then: a class that returns learns from its labels
// again, where published code assumes that none does and fails.
//
// Memory: that of ncm and P floats. Time: that of ncm and one more forward pass.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/binary_cross_entropy.h"
#include "strategies/core/frozen_copy.h"
#include "strategies/core/herded_replay.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

class Icarl final : public Strategy {
 public:
  Icarl(HerdedReplay replay, const StrategyEnvironment& environment)
      : replay_(std::move(replay)), old_(environment.arena, "icarl"), units_(environment.units) {}

  absl::string_view Name() const override { return "icarl"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }
  int64_t ExtraRows(int64_t batch_size) const override { return replay_.ExtraRows(batch_size); }
  int64_t ConsolidationExamples() const override { return replay_.candidates(); }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    ENGRAM_RETURN_IF_ERROR(replay_.Append(batch, context));
    const std::vector<bool> distilled = DistilledUnits(batch);
    context.ReplaceClassLoss([&](const at::Tensor& logits, const LossRows& rows,
                                 const UnitMap& units, const at::Tensor& gradient) {
      const float* old_logits =
          old_.taken() ? old_.Forward(context.network(), batch.inputs()).data_ptr<float>()
                       : nullptr;
      return BinaryCrossEntropy(logits, rows, units, {old_logits, &distilled}, gradient);
    });
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (seen.skipped) return seen;
    replay_.Remember(batch);
    for (int64_t row = 0; row < batch.stream_rows(); ++row) NoteNamed(batch.targets()[row]);
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary&, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport*) override {
    replay_.Herd(examples, context);
    if (context.network().units() > 0) old_.Take(context.network());
    named_.clear();
    return absl::OkStatus();
  }

  std::unique_ptr<const ForwardPass> Serve(const ForwardPass& inner) const override {
    return replay_.Serve(inner);
  }
  void Reconfigure(const StrategyParameters& parameters) override {
    replay_.Reconfigure(parameters);
  }
  void SaveState(StateWriter* writer) const override {
    replay_.SaveState(writer);
    old_.SaveState(writer);
    writer->PutInts("named", named_);
  }
  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_RETURN_IF_ERROR(replay_.LoadState(reader));
    ENGRAM_RETURN_IF_ERROR(old_.LoadState(reader));
    ENGRAM_ASSIGN_OR_RETURN(named_, reader.GetInts("named"));
    for (const int64_t unit : named_) {
      if (unit >= 0 && unit < units_->size()) continue;
      return absl::DataLossError(
          absl::StrCat("named: expected 0 to ", units_->size() - 1, ", found ", unit));
    }
    return absl::OkStatus();
  }
  std::vector<MemberKey> Members() const override { return replay_.memory().Members(); }
  std::string Payload(int64_t index) const override { return replay_.memory().Payload(index); }
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads) override {
    return replay_.RestoreMembers(payloads);
  }
  void AddGauges(LearnerGauges* gauges) const override { replay_.AddGauges(gauges); }

 private:
  void NoteNamed(int64_t unit) {
    if (std::find(named_.begin(), named_.end(), unit) == named_.end()) named_.push_back(unit);
  }

  // Outputs of the old network that the stream has not named since, this batch included.
  std::vector<bool> DistilledUnits(const TrainingBatch& batch) const {
    std::vector<bool> distilled(static_cast<size_t>(units_->size()));
    std::fill_n(distilled.begin(), std::min(old_.units(), units_->size()), true);
    for (const int64_t unit : named_) distilled[static_cast<size_t>(unit)] = false;
    for (const int64_t unit : batch.targets().first(static_cast<size_t>(batch.stream_rows()))) {
      distilled[static_cast<size_t>(unit)] = false;
    }
    return distilled;
  }

  HerdedReplay replay_;
  FrozenCopy old_;
  const UnitMap* units_;
  std::vector<int64_t> named_;  // units of the stream's rows since the latest boundary
};

}  // namespace

namespace builtin {

StrategyEntry Icarl() {
  StrategyEntry entry;
  entry.help.name = "icarl";
  entry.help.family = "prototype";
  entry.help.paper = "Rebuffi et al. 2017, iCaRL, CVPR";
  entry.help.idea =
      "Sigmoid outputs: those of new classes learn from labels, those of old ones from what the\n"
      "network answered at the latest boundary. Predicts by the nearest mean of herded exemplars.";
  entry.help.memory = "K (4 d + 72) bytes and P floats; candidates of the current task";
  entry.help.time =
      "a step over batch_size + replay_batch_size rows and one more forward; K rows forward a "
      "snapshot that is asked";
  entry.help.when = "New classes come task by task and exemplars may be kept.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = HerdedReplay::Parameters();
  entry.keeps_exemplars = true;
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    ENGRAM_ASSIGN_OR_RETURN(HerdedReplay replay, HerdedReplay::Make(parameters, environment));
    return std::make_unique<strategies::Icarl>(std::move(replay), environment);
  };
  entry.test_parameters = {{"memory_size", int64_t{60}},
                           {"candidates", int64_t{48}},
                           {"replay_batch_size", int64_t{16}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
