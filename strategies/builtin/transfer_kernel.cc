// Transfer kernel: holds what the head sees of the stream close in distribution to what it sees of
// the past, so that a head learned on the past still fits (domain adaptation; the source is the
// episodic memory, the target the stream). Stands behind a replay strategy in the list, whose rows
// are the source:
//   mmd    L + mu MMD^2(phi(source), phi(target)), the linear-time estimate over pairs (Gretton et
//          al. 2012, section 6; Long et al. 2015, eq. 5) with a sum of Gaussian kernels of
//          variances m/4, m/2, m, 2 m, 4 m around the mean squared distance m of the pairs
//   coral  L + mu / (4 d^2) || C_source - C_target ||_F^2, C the covariances of phi (Sun & Saenko
//          2016, eq. 1)
// Without replayed rows in the batch, or with fewer than two of either kind, it adds nothing.
//
// Memory: coral two [d, d] arrays during a step. Time: mmd one pass over the embeddings; coral
// three products of [rows, d].
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>

#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

constexpr double kScales[] = {0.25, 0.5, 1, 2, 4};

// One value of the kernel and its slope: d k(a, b) / d a = slope * (a - b).
struct KernelValue {
  double value = 0;
  double slope = 0;
};

KernelValue Kernel(double squared_distance, double mean) {
  KernelValue kernel;
  for (const double scale : kScales) {
    const double variance = scale * mean;
    const double value = std::exp(-squared_distance / (2 * variance));
    kernel.value += value;
    kernel.slope -= value / variance;
  }
  return kernel;
}

// Adds `sign` k(a, b) and its gradients at rows a and b.
class PairSum {
 public:
  PairSum(const at::Tensor& embeddings, const at::Tensor& gradient, double weight)
      : values_(embeddings.data_ptr<float>()),
        slopes_(gradient.data_ptr<float>()),
        width_(embeddings.size(1)),
        weight_(weight) {}

  double SquaredDistance(int64_t a, int64_t b) const {
    double sum = 0;
    for (int64_t i = 0; i < width_; ++i) {
      const double difference = values_[a * width_ + i] - values_[b * width_ + i];
      sum += difference * difference;
    }
    return sum;
  }

  double Add(int64_t a, int64_t b, double sign, double mean) {
    const KernelValue kernel = Kernel(SquaredDistance(a, b), mean);
    const float slope = static_cast<float>(weight_ * sign * kernel.slope);
    for (int64_t i = 0; i < width_; ++i) {
      const float step = slope * (values_[a * width_ + i] - values_[b * width_ + i]);
      slopes_[a * width_ + i] += step;
      slopes_[b * width_ + i] -= step;
    }
    return weight_ * sign * kernel.value;
  }

 private:
  const float* values_;
  float* slopes_;
  int64_t width_;
  double weight_;
};

// Rows [0, targets) are the stream's, the others the source's. Pairs are neighbours in the batch.
double AddMmd(double mu, int64_t targets, const at::Tensor& embeddings,
              const at::Tensor& gradient) {
  const int64_t pairs = std::min(targets, embeddings.size(0) - targets) / 2;
  PairSum sum(embeddings, gradient, mu / static_cast<double>(pairs));
  double mean = 0;
  for (int64_t pair = 0; pair < pairs; ++pair) {
    const int64_t t = 2 * pair, s = targets + 2 * pair;
    mean += sum.SquaredDistance(s, s + 1) + sum.SquaredDistance(t, t + 1) +
            sum.SquaredDistance(s, t + 1) + sum.SquaredDistance(s + 1, t);
  }
  mean /= 4 * static_cast<double>(pairs);
  if (!(mean > 0) || !std::isfinite(mean)) return 0;
  double loss = 0;
  for (int64_t pair = 0; pair < pairs; ++pair) {
    const int64_t t = 2 * pair, s = targets + 2 * pair;
    loss += sum.Add(s, s + 1, 1, mean) + sum.Add(t, t + 1, 1, mean) +
            sum.Add(s, t + 1, -1, mean) + sum.Add(s + 1, t, -1, mean);
  }
  return loss;
}

double AddCoral(double mu, int64_t targets, const at::Tensor& embeddings,
                const at::Tensor& gradient) {
  const int64_t sources = embeddings.size(0) - targets;
  const double width = static_cast<double>(embeddings.size(1));
  const auto centred = [](const at::Tensor& rows) { return rows - rows.mean(0, /*keepdim=*/true); };
  const at::Tensor target = centred(embeddings.narrow(0, 0, targets));
  const at::Tensor source = centred(embeddings.narrow(0, targets, sources));
  const at::Tensor difference =
      source.t().mm(source).div(static_cast<double>(sources - 1)) -
      target.t().mm(target).div(static_cast<double>(targets - 1));
  const double scale = mu / (width * width);
  gradient.narrow(0, targets, sources)
      .add_(source.mm(difference), scale / static_cast<double>(sources - 1));
  gradient.narrow(0, 0, targets)
      .add_(target.mm(difference), -scale / static_cast<double>(targets - 1));
  return scale / 4 * difference.square().sum().item<double>();
}

class TransferKernel final : public Strategy {
 public:
  explicit TransferKernel(const StrategyParameters& parameters)
      : coral_(parameters.Choice("kernel") == "coral") {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "transfer_kernel"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    const int64_t targets = batch.stream_rows();
    if (targets >= 2 && batch.rows() - targets >= 2 && mu_ > 0) {
      context.AddEmbeddingTerm([this, targets](const TrainingBatch&, const at::Tensor& embeddings,
                                               const at::Tensor& gradient) {
        return coral_ ? AddCoral(mu_, targets, embeddings, gradient)
                      : AddMmd(mu_, targets, embeddings, gradient);
      });
    }
    return next(batch, context);
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    mu_ = parameters.Number("mu");
  }

 private:
  bool coral_;
  double mu_ = 0;
};

}  // namespace

namespace builtin {

StrategyEntry TransferKernel() {
  StrategyEntry entry;
  entry.help.name = "transfer_kernel";
  entry.help.family = "transfer";
  entry.help.paper = "Long et al. 2015, ICML (MMD); Sun & Saenko 2016, ECCV workshops (CORAL)";
  entry.help.idea =
      "Keeps what the head sees of new inputs distributed as what it saw of the old ones, so that\n"
      "the head's knowledge carries over. Behind a replay strategy, whose exemplars are the old.";
  entry.help.memory = "0";
  entry.help.time = "one pass over the embeddings (mmd); three products of them (coral)";
  entry.help.when = "Tasks differ in how inputs look, not in what they mean (domain-incremental).";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = {
      ChoiceParameter("kernel", {"mmd", "coral"}).Help("how distributions are compared"),
      NumberParameter("mu", 0.1).AtMost(1e6).Live().Help("strength of the term")};
  entry.make = [](const StrategyParameters& parameters,
                  const StrategyEnvironment&) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::TransferKernel>(parameters);
  };
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
