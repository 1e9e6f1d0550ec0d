#include "tests/unit/strategies_memory/fisher_rig.h"

#include <algorithm>

namespace engram::strategies {
namespace {

// log p over the units that the row sees.
at::Tensor LogProbabilities(const std::vector<at::Tensor>& parameters, const at::Tensor& features,
                            const UnitMap& units, int32_t task) {
  at::Tensor hidden = features;
  for (size_t i = 0; i + 1 < parameters.size(); i += 2) {
    hidden = at::matmul(parameters[i], hidden) + parameters[i + 1].squeeze(1);
    if (i + 2 < parameters.size()) hidden = at::relu(hidden);
  }
  if (!units.per_task()) return at::log_softmax(hidden, 0);
  const absl::Span<const int64_t> visible = units.UnitsOf(task);
  const at::Tensor index = torch::tensor(std::vector<int64_t>(visible.begin(), visible.end()));
  const at::Tensor own = at::log_softmax(hidden.index_select(0, index), 0);
  return at::full({hidden.size(0)}, -1e300, at::kDouble).index_copy(0, index, own);
}

}  // namespace

std::vector<at::Tensor> BruteForceFisher(FisherRig& rig, const RandomExamples& examples,
                                         BruteLabels labels) {
  std::vector<at::Tensor> parameters;
  for (const at::Tensor& part : rig.Parts(rig.arena().flat())) {
    parameters.push_back(part.clone().set_requires_grad(true));
  }
  std::vector<at::Tensor> fisher;
  for (const at::Tensor& parameter : parameters) fisher.push_back(at::zeros_like(parameter));
  const int64_t rows = examples.features.size(0);
  for (int64_t row = 0; row < rows; ++row) {
    const at::Tensor log_p = LogProbabilities(parameters, examples.features[row].to(at::kDouble),
                                              rig.units(), examples.tasks[row]);
    for (int64_t unit = 0; unit < log_p.size(0); ++unit) {
      const double p = std::exp(log_p[unit].item<double>());
      if (labels == BruteLabels::kTarget && unit != examples.targets[row]) continue;
      if (p == 0) continue;
      const auto gradients =
          torch::autograd::grad({log_p[unit]}, parameters, {}, /*retain_graph=*/true);
      const double weight = labels == BruteLabels::kTarget ? 1.0 : p;
      for (size_t i = 0; i < fisher.size(); ++i) {
        fisher[i] += weight / static_cast<double>(rows) * gradients[i].square();
      }
    }
  }
  for (at::Tensor& part : fisher) part = part.detach();
  return fisher;
}

Deviation Compare(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  double largest = 0;
  for (const at::Tensor& part : b) largest = std::max(largest, part.abs().max().item<double>());
  Deviation deviation;
  for (size_t i = 0; i < b.size(); ++i) {
    const at::Tensor difference = (a[i] - b[i]).abs();
    deviation.of_largest =
        std::max(deviation.of_largest, difference.max().item<double>() / largest);
    const at::Tensor ratio =
        at::where(b[i].abs() > 1e-3 * largest, difference / b[i].abs(), at::zeros_like(b[i]));
    deviation.elementwise = std::max(deviation.elementwise, ratio.max().item<double>());
  }
  return deviation;
}

}  // namespace engram::strategies
