#include "strategies/core/quadratic_penalty.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/parameter_help.h"

namespace engram::strategies {
namespace {

constexpr double kDefaultAnchorShare = 0.1;

}  // namespace

QuadraticPenalty::QuadraticPenalty(ParameterArena* arena, const std::string& name,
                                   double anchor_share)
    : arena_(arena), pull_(arena, name), average_(arena, name, anchor_share) {}

void QuadraticPenalty::AddSeparate(const at::Tensor& importance) {
  const float* fisher = importance.data_ptr<float>();
  const float* weights = NextAnchor().data_ptr<float>();
  float* total = pull_.importance().data_ptr<float>();
  float* anchor = pull_.anchor().data_ptr<float>();
  for (int64_t i = 0; i < arena_->size(); ++i) {
    if (fisher[i] <= 0) continue;
    const double sum = static_cast<double>(total[i]) + fisher[i];
    anchor[i] +=
        static_cast<float>(fisher[i] / sum * (static_cast<double>(weights[i]) - anchor[i]));
    total[i] = static_cast<float>(std::min(sum, kImportanceMax));
  }
  average_.Restart();
  ++terms_;
  pull_.Invalidate();
}

void QuadraticPenalty::AddOnline(const at::Tensor& importance, double gamma) {
  pull_.importance().mul_(gamma).add_(importance).clamp_max_(kImportanceMax);
  pull_.anchor().copy_(NextAnchor());
  average_.Restart();
  ++terms_;
  pull_.Invalidate();
}

void QuadraticPenalty::Join(double lambda, StepContext* context) {
  if (terms_ == 0 || lambda == 0) return;
  pull_.set_lambda(lambda);
  context->AddPull(&pull_);
}

void QuadraticPenalty::AfterStep(const absl::StatusOr<Observation>& seen) {
  if (seen.ok() && !seen->skipped) average_.Step();
}

void QuadraticPenalty::SaveState(StateWriter* writer) const {
  writer->PutInteger("terms", terms_);
  average_.SaveState(writer);
}

absl::Status QuadraticPenalty::LoadState(const StateReader& reader) {
  ENGRAM_ASSIGN_OR_RETURN(const int64_t terms, reader.GetInteger("terms"));
  if (terms < 0) return absl::DataLossError(absl::StrCat("terms: expected >= 0, found ", terms));
  terms_ = terms;
  pull_.Invalidate();
  return average_.LoadState(reader);
}

ParameterHelp AnchorShareParameter() {
  return NumberParameter("anchor_share", kDefaultAnchorShare)
      .AtMost(1)
      .Help("of a task's steps, the latest whose mean weights are its theta*; 0: its last weights");
}

void RecordImportance(ImportanceSnapshot snapshot, const ParameterArena& arena,
                      const at::Tensor& importance, const at::Tensor& anchor,
                      BoundaryReport* report) {
  std::vector<at::Tensor> importance_parts, anchor_parts;
  std::string layout;
  for (const ParameterArena::Slot& slot : arena.slots()) {
    importance_parts.push_back(importance.narrow(0, slot.offset, slot.count()));
    anchor_parts.push_back(anchor.narrow(0, slot.offset, slot.count()));
    absl::StrAppend(&layout, layout.empty() ? "" : ";", slot.name, ":", slot.rows, "x",
                    slot.columns);
  }
  StateWriter writer;
  writer.PutText("layout", layout);
  writer.PutTensor("importance", at::cat(importance_parts));
  writer.PutTensor("anchor", at::cat(anchor_parts));
  snapshot.tensors = writer.Finish();
  report->importance.push_back(std::move(snapshot));
}

at::Tensor ConsolidateFisher(const QuadraticPenalty& penalty, absl::string_view strategy,
                             FisherEstimator estimator, int32_t task,
                             const ConsolidationSet& examples, StepContext& context,
                             BoundaryReport* report) {
  const at::Tensor importance = at::empty({context.arena().size()}, at::kFloat);
  const int64_t averaged = EstimateFisher(estimator, examples, context, importance);
  if (averaged == 0) return at::Tensor();
  ImportanceSnapshot snapshot;
  snapshot.strategy = std::string(strategy);
  snapshot.task = task;
  snapshot.estimator = FisherEstimatorName(estimator);
  snapshot.label_mode = FisherLabelMode(estimator);
  snapshot.examples = averaged;
  RecordImportance(std::move(snapshot), context.arena(), importance, penalty.NextAnchor(), report);
  return importance;
}

}  // namespace engram::strategies
