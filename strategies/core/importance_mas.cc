#include "strategies/core/importance_mas.h"

#include <algorithm>
#include <cmath>

#include "storage/base/check.h"

namespace engram::strategies {
namespace {

// One output like this would outweigh every other example of the task.
constexpr float kOutputMax = 1e6f;

// d ||f||^2 / d f = 2 f over each row's visible units; `seeds` is 0 elsewhere and in rows that are
// left out. Returns how many are not.
int64_t SeedRows(const at::Tensor& logits, absl::Span<const int32_t> tasks,
                 const VisibleUnits& visible, const at::Tensor& seeds) {
  const int64_t width = logits.size(1);
  const float* outputs = logits.data_ptr<float>();
  float* seed = seeds.data_ptr<float>();
  int64_t used = 0;
  for (const int32_t task : tasks) {
    const absl::Span<const int64_t> units = visible.Of(task);
    const bool sound = std::all_of(outputs, outputs + width,
                                   [](float z) { return std::abs(z) <= kOutputMax; });
    if (sound && !units.empty()) {
      for (const int64_t unit : units) seed[unit] = 2 * outputs[unit];
      ++used;
    }
    outputs += width;
    seed += width;
  }
  return used;
}

}  // namespace

int64_t EstimateMas(const ConsolidationSet& examples, StepContext& context,
                    const at::Tensor& importance, int64_t chunk_rows) {
  ENGRAM_CHECK(chunk_rows > 0);
  Network& network = context.network();
  const VisibleUnits visible(context.units());
  ExampleSums sums(ExampleSums::Magnitude::kAbsolute, context.arena(), network.traces());
  int64_t averaged = 0;
  for (int64_t begin = 0; begin < examples.rows(); begin += chunk_rows) {
    const int64_t rows = std::min(chunk_rows, examples.rows() - begin);
    const at::Tensor& logits = network.Forward(examples.features.narrow(0, begin, rows));
    const at::Tensor seeds = at::zeros_like(logits);
    const int64_t used = SeedRows(logits, examples.tasks.subspan(begin, rows), visible, seeds);
    averaged += used;
    network.Backward(seeds);
    sums.StartChunk();
    sums.AddPass(network.traces());
    sums.FinishChunk(network.traces(), used == rows);
  }
  sums.WriteMean(averaged, importance);
  return averaged;
}

}  // namespace engram::strategies
