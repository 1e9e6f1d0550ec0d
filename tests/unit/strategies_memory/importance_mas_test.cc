// Oracles of MAS' importance: brute force by autograd one example at a time, invariances.
#include "strategies/core/importance_mas.h"

#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/strategies_memory/fisher_rig.h"

namespace engram::strategies {
namespace {

std::vector<at::Tensor> Estimate(FisherRig& rig, const RandomExamples& examples,
                                 int64_t chunk_rows = kImportanceChunkRows,
                                 int64_t left_out = 0) {
  const at::Tensor importance = at::full({rig.arena().size()}, -1, at::kFloat);
  EXPECT_EQ(EstimateMas(examples.set(), rig.context(), importance, chunk_rows),
            examples.features.size(0) - left_out);
  return rig.Parts(importance);
}

std::vector<at::Tensor> BruteForceMas(FisherRig& rig, const RandomExamples& examples) {
  std::vector<at::Tensor> parameters, sums;
  for (const at::Tensor& part : rig.Parts(rig.arena().flat())) {
    parameters.push_back(part.clone().set_requires_grad(true));
    sums.push_back(at::zeros_like(part));
  }
  const int64_t rows = examples.features.size(0);
  for (int64_t row = 0; row < rows; ++row) {
    at::Tensor hidden = examples.features[row].to(at::kDouble);
    for (size_t i = 0; i < parameters.size(); i += 2) {
      hidden = at::matmul(parameters[i], hidden) + parameters[i + 1].squeeze(1);
      if (i + 2 < parameters.size()) hidden = at::relu(hidden);
    }
    if (rig.units().per_task()) {
      const auto own = rig.units().UnitsOf(examples.tasks[row]);
      hidden =
          hidden.index_select(0, torch::tensor(std::vector<int64_t>(own.begin(), own.end())));
    }
    const auto gradients = torch::autograd::grad({hidden.square().sum()}, parameters);
    for (size_t i = 0; i < sums.size(); ++i) {
      sums[i] += gradients[i].abs() / static_cast<double>(rows);
    }
  }
  return sums;
}

void ExpectEqual(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  const Deviation deviation = Compare(a, b);
  EXPECT_LT(deviation.of_largest, 1e-6);
  EXPECT_LT(deviation.elementwise, 2e-6);
}

TEST(MasImportanceTest, EqualsBruteForceAutograd) {
  FisherRig rig(RigOptions(6, {8, 7}, 4));
  const RandomExamples examples(rig, 50, 6, 18);
  ExpectEqual(Estimate(rig, examples), BruteForceMas(rig, examples));
}

TEST(MasImportanceTest, PerTaskHeadsAreJudgedByTheirOwnOutputs) {
  FisherRig rig(RigOptions(6, {8}, 0).Head(HeadKind::kPerTask));
  rig.Admit({0, 0, 1, 1, 1}, {0, 1, 2, 3, 4});
  const RandomExamples examples(rig, 40, 6, 25, /*task=*/1);
  const auto importance = Estimate(rig, examples);
  ExpectEqual(importance, BruteForceMas(rig, examples));
  EXPECT_EQ(importance[2].slice(0, 0, 2).abs().max().item<double>(), 0);
}

TEST(MasImportanceTest, DoesNotDependOnTheChunkSize) {
  FisherRig rig(RigOptions(20, {32, 16}, 5));
  const RandomExamples examples(rig, 203, 20, 21);
  const auto whole = Estimate(rig, examples, 1000);
  for (const int64_t chunk_rows : {1, 7, 32, 128}) {
    ExpectEqual(Estimate(rig, examples, chunk_rows), whole);
  }
}

// Where outputs of opposite sign meet, a batch mean would cancel; the sum of examples does not.
TEST(MasImportanceTest, WhatCancelsInTheBatchMeanCounts) {
  FisherRig rig(RigOptions(4, {}, 2));
  RandomExamples examples(rig, 2, 4, 5);
  rig.arena().View(1).zero_();
  // f(-x) = -f(x): equal gradients of the weights, opposite ones of the bias.
  examples.features[1].copy_(examples.features[0]).neg_();
  const auto importance = Estimate(rig, examples);
  EXPECT_GT(importance[1].min().item<double>(), 0);
  ExpectEqual(importance, BruteForceMas(rig, examples));
}

TEST(MasImportanceTest, ExamplesWithAbsurdOutputsAreLeftOut) {
  for (const float absurd : {3e38f, 1e12f}) {
    FisherRig rig(RigOptions(4, {8}, 3));
    RandomExamples examples(rig, 20, 4, 28);
    const auto clean = Estimate(rig, examples);
    examples.features = at::cat({examples.features, at::full({1, 4}, absurd)});
    examples.targets.push_back(0);
    examples.tasks.push_back(0);
    ExpectEqual(Estimate(rig, examples, kImportanceChunkRows, 1), clean);
  }
}

TEST(MasImportanceTest, NoExampleGivesZeroAndNothingIsDrawnOrMoved) {
  FisherRig rig(RigOptions(4, {8}, 3));
  const Generator::State generator = rig.generator().state();
  const at::Tensor before = rig.arena().flat().clone();
  for (const at::Tensor& part : Estimate(rig, RandomExamples(rig, 0, 4, 27))) {
    EXPECT_EQ(part.abs().max().item<double>(), 0);
  }
  Estimate(rig, RandomExamples(rig, 30, 4, 27));
  EXPECT_EQ(rig.generator().state(), generator);
  EXPECT_TRUE(at::equal(before, rig.arena().flat()));
}

}  // namespace
}  // namespace engram::strategies
