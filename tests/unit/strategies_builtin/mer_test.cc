// MER and Reptile against loops written by hand over autograd.
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/api/learner.h"
#include "strategies/memory/exemplar_memory.h"
#include "tests/unit/strategies_builtin/projection_rig.h"

namespace engram::strategies {
namespace {

using Leaves = std::vector<torch::Tensor>;

void DescendOn(Leaves* leaves, const torch::Tensor& features, const std::vector<int64_t>& targets,
               double rate) {
  torch::nn::functional::cross_entropy(ReferenceForward(*leaves, features), torch::tensor(targets))
      .backward();
  const torch::NoGradGuard guard;
  for (torch::Tensor& leaf : *leaves) {
    leaf.sub_(leaf.grad(), rate);
    leaf.mutable_grad().reset();
  }
}

Leaves Copy(const Leaves& leaves) {
  Leaves copies;
  for (const torch::Tensor& leaf : leaves) copies.push_back(leaf.detach().clone());
  return copies;
}

// theta <- before + kept (theta - before).
void KeepShare(Leaves* leaves, const Leaves& before, double kept) {
  const torch::NoGradGuard guard;
  for (size_t i = 0; i < before.size(); ++i) {
    (*leaves)[i].copy_(before[i] + kept * ((*leaves)[i] - before[i]));
  }
}

torch::Tensor Row(const ExemplarView& example) {
  return torch::tensor(std::vector<float>(example.features.begin(), example.features.end()))
      .unsqueeze(0);
}

// Algorithm 1 of Riemer et al., as the paper writes it down.
class MerByHand {
 public:
  MerByHand(const ModelOptions& model, const ParameterArena& arena, const Generator& generator)
      : leaves_(CloneParameters(arena)), generator_(generator) {
    ExemplarMemoryOptions options;
    options.capacity = 5;
    options.feature_count = model.feature_count;
    options.seed = model.seed;
    memory_ = *ExemplarMemory::Create(options);
  }

  void Learn(const LabelledRows& rows, int batches, int batch_rows, double beta, double gamma) {
    for (size_t row = 0; row < rows.classes.size(); ++row) {
      const ExemplarView current = {
          absl::MakeConstSpan(rows.features).subspan(row * rows.feature_count, rows.feature_count),
          rows.classes[row], rows.tasks[row], rows.sequences[row]};
      const Leaves before_all = Copy(leaves_);
      for (int batch = 0; batch < batches; ++batch) {
        std::vector<int64_t> slots;
        memory_->Draw(
            batch_rows - 1, [this] { return generator_.Next(); }, &slots);
        const Leaves before = Copy(leaves_);
        for (const int64_t slot : slots) StepOn(memory_->At(slot));
        StepOn(current);
        KeepShare(&leaves_, before, beta);
      }
      KeepShare(&leaves_, before_all, gamma);
      memory_->Offer(current);
    }
  }

  const Leaves& leaves() const { return leaves_; }
  const ExemplarMemory& memory() const { return *memory_; }

 private:
  void StepOn(const ExemplarView& example) {
    DescendOn(&leaves_, Row(example), {example.class_index}, 0.1);
  }

  Leaves leaves_;
  Generator generator_;
  std::unique_ptr<ExemplarMemory> memory_;
};

const StrategySpec kMer = {"mer",
                           {{"memory_size", int64_t{5}},
                            {"batches", int64_t{3}},
                            {"batch_rows", int64_t{4}},
                            {"beta", 0.3},
                            {"gamma", 0.6}}};

const LabelledRows& FirstRows() {
  static const LabelledRows rows(6, {0, 1, 2, 1}, 0, 1);
  return rows;
}
const LabelledRows& SecondRows() {
  static const LabelledRows rows(6, {2, 2, 0, 1, 0}, 0, 2);
  return rows;
}

TEST(MerTest, TakesTheStepsOfThePaperOneExampleATime) {
  ProjectionRig rig(ProjectionModel(), kMer);
  MerByHand by_hand(ProjectionModel(), rig.rig.arena, rig.rig.generator);
  for (const LabelledRows& rows : {FirstRows(), SecondRows(), FirstRows()}) {
    LabelledRows fresh = rows;
    for (uint64_t& sequence : fresh.sequences) {
      sequence += 100 * by_hand.memory().Members().size();
    }
    rig.Learn(fresh);
    by_hand.Learn(fresh, 3, 4, 0.3, 0.6);
    EXPECT_LT(LargestDifference(rig.rig.arena, by_hand.leaves()), 1e-5);
    EXPECT_EQ(rig.strategy->Members(), by_hand.memory().Members());
  }
}

TEST(MerTest, ReportsWhatTheStreamScoredBeforeAnyStep) {
  ProjectionRig rig(ProjectionModel(), kMer);
  rig.Learn(FirstRows());
  const auto leaves = CloneParameters(rig.rig.arena);
  const torch::Tensor logits = ReferenceForward(leaves, SecondRows().Features());
  const Observation seen = rig.Learn(SecondRows());
  EXPECT_LT(LargestGap(seen.logits, logits), 1e-5);
  EXPECT_NEAR(seen.loss,
              torch::nn::functional::cross_entropy(
                  logits, torch::tensor(std::vector<int64_t>{2, 2, 0, 1, 0}))
                  .item<double>(),
              1e-5);
}

TEST(MerTest, ARowThatIsNotFiniteSkipsTheWholeBatch) {
  for (const StrategySpec& spec : {kMer, StrategySpec{"reptile", {}}}) {
    ProjectionRig rig(ProjectionModel(), spec);
    rig.Learn(FirstRows());
    const at::Tensor before = rig.Weights();
    const auto members = rig.strategy->Members();
    LabelledRows broken = SecondRows();
    broken.features.back() = INFINITY;
    EXPECT_TRUE(rig.Learn(broken).skipped);
    EXPECT_TRUE(rig.Weights().equal(before));
    EXPECT_EQ(rig.strategy->Members(), members);
  }
}

TEST(MerTest, StrategiesThatTakeTheirOwnStepsAreListedAlone) {
  for (const char* name : {"mer", "reptile"}) {
    ModelOptions model = ProjectionModel();
    model.strategies = {{name, {}}};
    EXPECT_TRUE(ValidateOptions(model).ok());
    model.strategies.push_back({"ewc", {}});
    EXPECT_EQ(ValidateOptions(model).code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST(ReptileTest, KeepsAShareOfSeveralPlainSteps) {
  const StrategySpec spec = {"reptile", {{"inner_steps", int64_t{3}}, {"epsilon", 0.4}}};
  ProjectionRig rig(ProjectionModel(), spec);
  Leaves leaves = CloneParameters(rig.rig.arena);
  const Leaves before = Copy(leaves);
  for (int step = 0; step < 3; ++step) {  // the memory is still empty
    DescendOn(&leaves, FirstRows().Features(), {0, 1, 2, 1}, 0.1);
  }
  KeepShare(&leaves, before, 0.4);
  const Observation seen = rig.Learn(FirstRows());
  EXPECT_LT(LargestDifference(rig.rig.arena, leaves), 1e-5);
  EXPECT_LT(LargestGap(seen.logits, ReferenceForward(before, FirstRows().Features())), 1e-5);
}

TEST(ReptileTest, DrawsExemplarsAnewInEveryStep) {
  const StrategySpec spec = {
      "reptile",
      {{"inner_steps", int64_t{2}}, {"epsilon", 1.0}, {"replay_batch_size", int64_t{2}}}};
  ProjectionRig rig(ProjectionModel(), spec);
  rig.Learn(FirstRows());
  Leaves leaves = CloneParameters(rig.rig.arena);
  Generator generator = rig.rig.generator;
  ExemplarMemoryOptions options;
  options.capacity = 1000;
  options.feature_count = 6;
  options.seed = ProjectionModel().seed;
  const auto memory = *ExemplarMemory::Create(options);
  for (size_t row = 0; row < 4; ++row) {
    memory->Offer({absl::MakeConstSpan(FirstRows().features).subspan(6 * row, 6),
                   FirstRows().classes[row], 0, FirstRows().sequences[row]});
  }
  for (int step = 0; step < 2; ++step) {
    std::vector<torch::Tensor> features = {SecondRows().Features()};
    std::vector<int64_t> targets = {2, 2, 0, 1, 0}, slots;
    memory->Draw(
        2, [&generator] { return generator.Next(); }, &slots);
    for (const int64_t slot : slots) {
      features.push_back(Row(memory->At(slot)));
      targets.push_back(memory->At(slot).class_index);
    }
    DescendOn(&leaves, torch::cat(features), targets, 0.1);
  }
  rig.Learn(SecondRows());
  EXPECT_LT(LargestDifference(rig.rig.arena, leaves), 1e-5);
}

}  // namespace
}  // namespace engram::strategies
