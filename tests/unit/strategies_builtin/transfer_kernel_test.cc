// Transfer kernel and multi-task: the gradient of their loss against autograd's.
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/core/registry.h"
#include "tests/unit/strategies_core/reference_network.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

namespace F = torch::nn::functional;

constexpr int64_t kTargets = 5;  // the odd one stays without a pair

class TransferTest : public testing::Test {
 protected:
  TransferTest() : rig_(SmallModel(5)), stream_(5, 3) {
    target_ = stream_.Next({0, 1, 2, 1, 0});
    rig_.Load(target_.View());
    source_ = stream_.Next({2, 0, 1, 2});
    for (size_t row = 0; row < source_.classes.size(); ++row) {
      EXPECT_TRUE(rig_.batch
                      ->AppendRow(&source_.features[row * 5], source_.classes[row],
                                  /*task=*/row == 0 ? 1 : 2, /*sequence=*/100 + row)
                      .ok());
    }
  }

  // Our flat gradient of the step that the strategy makes of the batch.
  at::Tensor Gradient(const std::string& name,
                      absl::btree_map<std::string, ParameterValue> parameters) {
    const StrategyEntry& entry = **FindStrategy(name);
    StrategyEnvironment environment;
    environment.arena = &rig_.arena;
    environment.network = rig_.network.get();
    const auto strategy =
        *entry.make(*StrategyParameters::Resolve(entry.help, {name, parameters}), environment);
    const at::Tensor gradient = at::zeros({rig_.arena.size()});
    const auto seen = strategy->Observe(
        *rig_.batch, *rig_.context,
        [&](TrainingBatch& batch, StepContext& context) -> absl::StatusOr<Observation> {
          context.LossAndBackward(batch, context.Forward(batch));
          rig_.optimizer->WriteGradient(rig_.network->traces(), gradient);
          return Observation();
        });
    EXPECT_TRUE(seen.ok());
    rig_.context->ClearHooks();
    return gradient;
  }

  torch::Tensor Targets() const {
    const auto targets = rig_.batch->targets();
    return torch::tensor(std::vector<int64_t>(targets.begin(), targets.end()));
  }

  static torch::Tensor Embeddings(const std::vector<torch::Tensor>& leaves,
                                  const torch::Tensor& features) {
    torch::Tensor hidden = features;
    for (size_t i = 0; i + 2 < leaves.size(); i += 2) {
      hidden = torch::relu(F::linear(hidden, leaves[i], leaves[i + 1]));
    }
    return hidden;
  }

  // Cross-entropy of all rows plus `term` of the embeddings, through autograd.
  template <typename Term>
  void ExpectGradientOf(Term term, const at::Tensor& ours) {
    const auto leaves = CloneParameters(rig_.arena);
    const torch::Tensor embeddings = Embeddings(leaves, rig_.batch->features().clone());
    const torch::Tensor logits = F::linear(embeddings, leaves[leaves.size() - 2], leaves.back());
    (F::cross_entropy(logits, Targets()) + term(embeddings)).backward();
    for (size_t id = 0; id < leaves.size(); ++id) {
      const at::Tensor got = rig_.arena.View(ours, static_cast<ParameterId>(id));
      const at::Tensor wanted = leaves[id].grad();
      EXPECT_LT((got.reshape(wanted.sizes()) - wanted).abs().max().item<double>(), 1e-5) << id;
    }
  }

  Rig rig_;
  SmallStream stream_;
  SmallBatch target_;
  SmallBatch source_;
};

TEST_F(TransferTest, MmdIsTheLinearTimeEstimate) {
  const double mu = 3;
  ExpectGradientOf(
      [mu](const torch::Tensor& phi) {
        const auto distance = [&](int64_t a, int64_t b) {
          return (phi[a] - phi[b]).square().sum();
        };
        torch::Tensor mean = torch::zeros({});
        for (const int64_t pair : {0, 2}) {
          const int64_t t = pair, s = kTargets + pair;
          mean = mean + distance(s, s + 1) + distance(t, t + 1) + distance(s, t + 1) +
                 distance(s + 1, t);
        }
        mean = (mean / 8).detach();
        const auto kernel = [&](int64_t a, int64_t b) {
          torch::Tensor sum = torch::zeros({});
          for (const double scale : {0.25, 0.5, 1.0, 2.0, 4.0}) {
            sum = sum + torch::exp(-distance(a, b) / (2 * scale * mean));
          }
          return sum;
        };
        torch::Tensor sum = torch::zeros({});
        for (const int64_t pair : {0, 2}) {
          const int64_t t = pair, s = kTargets + pair;
          sum = sum + kernel(s, s + 1) + kernel(t, t + 1) - kernel(s, t + 1) - kernel(s + 1, t);
        }
        return mu * sum / 2;
      },
      Gradient("transfer_kernel", {{"mu", mu}}));
}

TEST_F(TransferTest, CoralComparesCovariances) {
  const double mu = 50;
  ExpectGradientOf(
      [mu](const torch::Tensor& phi) {
        const auto covariance = [](const torch::Tensor& rows) {
          const torch::Tensor centred = rows - rows.mean(0, true);
          return centred.t().mm(centred) / (rows.size(0) - 1);
        };
        const torch::Tensor difference =
            covariance(phi.narrow(0, kTargets, phi.size(0) - kTargets)) -
            covariance(phi.narrow(0, 0, kTargets));
        const double width = static_cast<double>(phi.size(1));
        return mu / (4 * width * width) * difference.square().sum();
      },
      Gradient("transfer_kernel", {{"mu", mu}, {"kernel", std::string("coral")}}));
}

TEST_F(TransferTest, WithoutReplayedRowsTheKernelAddsNothing) {
  rig_.Load(target_.View());
  EXPECT_TRUE(Gradient("transfer_kernel", {{"mu", 3.0}}).equal(Gradient("finetune", {})));
}

TEST_F(TransferTest, EveryTaskOfAStepCountsAlike) {
  const at::Tensor ours = Gradient("multi_task", {});
  const auto leaves = CloneParameters(rig_.arena);
  const torch::Tensor losses =
      F::cross_entropy(ReferenceForward(leaves, rig_.batch->features().clone()), Targets(),
                       F::CrossEntropyFuncOptions().reduction(torch::kNone));
  // Five rows of task 0, one of task 1, three of task 2.
  ((losses.narrow(0, 0, 5).mean() + losses[5] + losses.narrow(0, 6, 3).mean()) / 3).backward();
  for (size_t id = 0; id < leaves.size(); ++id) {
    const at::Tensor got = rig_.arena.View(ours, static_cast<ParameterId>(id));
    const at::Tensor wanted = leaves[id].grad();
    EXPECT_LT((got.reshape(wanted.sizes()) - wanted).abs().max().item<double>(), 1e-5) << id;
  }
}

}  // namespace
}  // namespace engram::strategies
