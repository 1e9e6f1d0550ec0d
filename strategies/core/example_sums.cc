#include "strategies/core/example_sums.h"

namespace engram::strategies {

VisibleUnits::VisibleUnits(const UnitMap& units) : units_(units) {
  if (units.per_task()) return;
  for (int64_t unit = 0; unit < units.size(); ++unit) all_.push_back(unit);
}

ExampleSums::ExampleSums(Magnitude magnitude, const ParameterArena& arena,
                         const std::vector<LayerTrace>& traces)
    : magnitude_(magnitude),
      arena_(arena),
      flat_(at::zeros({arena.size()}, at::kDouble)),
      deltas_(traces.size()) {}

void ExampleSums::StartChunk() {
  for (at::Tensor& deltas : deltas_) deltas.reset();
}

void ExampleSums::AddPass(const std::vector<LayerTrace>& traces) {
  for (size_t layer = 0; layer < traces.size(); ++layer) {
    const at::Tensor deltas = MagnitudeOf(traces[layer].output_gradient);
    at::Tensor& sum = deltas_[layer];
    if (sum.defined()) {
      sum.add_(deltas);
    } else {
      sum = deltas;
    }
  }
}

void ExampleSums::FinishChunk(const std::vector<LayerTrace>& traces, bool all_used) {
  for (size_t layer = 0; layer < traces.size(); ++layer) {
    if (!deltas_[layer].defined()) continue;
    at::Tensor input = MagnitudeOf(traces[layer].input);
    if (!all_used) input.nan_to_num_(0.0, 0.0, 0.0);
    arena_.View(flat_, traces[layer].weight).addmm_(deltas_[layer].t(), input);
    if (traces[layer].bias == kNoParameter) continue;
    arena_.View(flat_, traces[layer].bias).add_(deltas_[layer].sum(0).unsqueeze(1));
  }
}

void ExampleSums::WriteMean(int64_t examples, const at::Tensor& importance) {
  if (examples > 0) flat_.div_(static_cast<double>(examples));
  importance.copy_(flat_.clamp_max_(kImportanceMax));
}

at::Tensor ExampleSums::MagnitudeOf(const at::Tensor& values) const {
  const at::Tensor wide = values.to(at::kDouble);
  return magnitude_ == Magnitude::kSquare ? wide.square_() : wide.abs_();
}

}  // namespace engram::strategies
