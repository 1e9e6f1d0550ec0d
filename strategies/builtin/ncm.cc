// Nearest class mean over exemplars (the classifier of iCaRL, Rebuffi et al. 2017, CVPR, algorithm
// 1; Mensink et al. 2013) on a network trained by replay: cross-entropy over stream and exemplars
// together, exemplars by herding at each boundary, predictions by the nearest prototype
//   y = argmin_c || phi(x) - mu_c ||,  phi and mu of length 1
// which does not depend on the head, the layer that forgets first. Test-then-train scores are the
// head's: prototypes at every step would cost a pass over the whole memory.
//
// Memory: K exemplars of 4 d + 72 bytes, the candidates of the current task. Time: the step over
// the longer batch; K rows forward at a snapshot's first prediction; herding at a boundary.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "storage/base/status_macros.h"
#include "strategies/core/herded_replay.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

class Ncm final : public Strategy {
 public:
  explicit Ncm(HerdedReplay replay) : replay_(std::move(replay)) {}

  absl::string_view Name() const override { return "ncm"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }
  int64_t ExtraRows(int64_t batch_size) const override { return replay_.ExtraRows(batch_size); }
  int64_t ConsolidationExamples() const override { return replay_.candidates(); }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    ENGRAM_RETURN_IF_ERROR(replay_.Append(batch, context));
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (!seen.skipped) replay_.Remember(batch);
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary&, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport*) override {
    replay_.Herd(examples, context);
    return absl::OkStatus();
  }

  std::unique_ptr<const ForwardPass> Serve(const ForwardPass& inner) const override {
    return replay_.Serve(inner);
  }
  void Reconfigure(const StrategyParameters& parameters) override {
    replay_.Reconfigure(parameters);
  }
  void SaveState(StateWriter* writer) const override { replay_.SaveState(writer); }
  absl::Status LoadState(const StateReader& reader) override { return replay_.LoadState(reader); }
  std::vector<MemberKey> Members() const override { return replay_.memory().Members(); }
  std::string Payload(int64_t index) const override { return replay_.memory().Payload(index); }
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads) override {
    return replay_.RestoreMembers(payloads);
  }
  void AddGauges(LearnerGauges* gauges) const override { replay_.AddGauges(gauges); }

 private:
  HerdedReplay replay_;
};

}  // namespace

namespace builtin {

StrategyEntry Ncm() {
  StrategyEntry entry;
  entry.help.name = "ncm";
  entry.help.family = "prototype";
  entry.help.paper = "Rebuffi et al. 2017, CVPR; Mensink et al. 2013, TPAMI 35(11)";
  entry.help.idea =
      "Train by replay, predict by the nearest prototype: the mean embedding of each class's\n"
      "exemplars, chosen by herding, computed with the weights that are served.";
  entry.help.memory = "K (4 d + 72) bytes; candidates of the current task";
  entry.help.time =
      "a step over batch_size + replay_batch_size rows; K rows forward a snapshot that is asked";
  entry.help.when = "As experience_replay, when new classes keep coming and bias the head.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = HerdedReplay::Parameters();
  entry.keeps_exemplars = true;
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    ENGRAM_ASSIGN_OR_RETURN(HerdedReplay replay, HerdedReplay::Make(parameters, environment));
    return std::make_unique<strategies::Ncm>(std::move(replay));
  };
  entry.test_parameters = {{"memory_size", int64_t{32}}, {"candidates", int64_t{48}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
