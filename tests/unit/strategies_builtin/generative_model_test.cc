// What both kinds of generative model keep: they learn to draw what they saw, their frozen samplers
// stand still, their state is all there is.
#include "strategies/models/generative_model.h"

#include <cmath>
#include <limits>
#include <memory>
#include <string>

#include "gtest/gtest.h"
#include "strategies/models/gan.h"
#include "strategies/models/vae.h"
#include "tests/unit/strategies_builtin/generative_rig.h"

namespace engram::strategies {
namespace {

class GenerativeModelTest : public testing::TestWithParam<const char*> {
 protected:
  GenerativeModelTest() {
    options_.feature_count = kCornerFeatures;
    options_.hidden = 32;
    options_.latent = 4;
    options_.learning_rate = 5e-3;
  }

  std::unique_ptr<GenerativeModel> Make(uint64_t seed) const {
    Generator generator(seed);
    std::unique_ptr<GenerativeModel> model;
    if (GetParam() == std::string("gan")) {
      model = std::make_unique<Gan>(options_, &generator);
    } else {
      model = std::make_unique<Vae>(options_, &generator);
    }
    model->Reinitialise(&generator);
    return model;
  }

  void Learn(GenerativeModel* model, int steps, Generator* generator) const {
    for (int step = 0; step < steps; ++step) {
      const double loss =
          model->Learn(BothCorners(32, generator), EqualCoefficients(32), generator);
      ASSERT_TRUE(IsSound(loss)) << step;
    }
  }

  GenerativeModelOptions options_;
};

TEST_P(GenerativeModelTest, DrawsExamplesNearThoseItLearned) {
  const auto model = Make(1);
  FrozenSampler sampler(model.get(), options_);
  Generator generator(2);
  Learn(model.get(), 1500, &generator);
  sampler.Take();
  const Coverage coverage = CornerCoverage(sampler.Sample(500, &generator));
  EXPECT_GT(coverage.first, 0.2);
  EXPECT_GT(coverage.second, 0.2);
  EXPECT_GT(coverage.first + coverage.second, 0.85);
}

TEST_P(GenerativeModelTest, AFrozenSamplerDrawsTheSameHoweverTheModelIsTrainedOn) {
  const auto model = Make(1);
  FrozenSampler sampler(model.get(), options_);
  Generator generator(2);
  EXPECT_FALSE(sampler.taken());
  Learn(model.get(), 5, &generator);
  sampler.Take();
  EXPECT_TRUE(sampler.taken());
  Generator first(7), second(7), third(7);
  const at::Tensor before = sampler.Sample(10, &first).clone();
  Learn(model.get(), 5, &generator);
  EXPECT_TRUE(before.equal(sampler.Sample(10, &second)));
  sampler.Take();
  EXPECT_FALSE(before.equal(sampler.Sample(10, &third)));
}

TEST_P(GenerativeModelTest, ARestoredModelContinuesBitForBit) {
  const auto original = Make(1), restored = Make(9);
  FrozenSampler sampler(original.get(), options_), restored_sampler(restored.get(), options_);
  Generator generator(2);
  Learn(original.get(), 5, &generator);
  sampler.Take();
  Learn(original.get(), 5, &generator);

  StateWriter writer;
  original->SaveState(&writer);
  sampler.SaveState(&writer);
  const std::string bytes = writer.Finish();
  const auto reader = StateReader::Open(bytes);
  ASSERT_TRUE(reader.ok()) << reader.status();
  ASSERT_TRUE(restored->LoadState(*reader).ok());
  ASSERT_TRUE(restored_sampler.LoadState(*reader).ok());
  EXPECT_EQ(SavedBytes(*original), SavedBytes(*restored));

  Generator same = generator;
  Learn(original.get(), 5, &generator);
  Learn(restored.get(), 5, &same);
  EXPECT_EQ(SavedBytes(*original), SavedBytes(*restored));
  EXPECT_TRUE(sampler.Sample(4, &generator).equal(restored_sampler.Sample(4, &same)));
}

TEST_P(GenerativeModelTest, WhatIsNotFiniteChangesNothing) {
  const auto model = Make(1);
  Generator generator(2);
  Learn(model.get(), 3, &generator);
  const std::string before = SavedBytes(*model);
  at::Tensor rows = BothCorners(4, &generator);
  rows[2][1] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_FALSE(IsSound(model->Learn(rows, EqualCoefficients(4), &generator)));
  EXPECT_EQ(SavedBytes(*model), before);
}

INSTANTIATE_TEST_SUITE_P(Kinds, GenerativeModelTest, testing::Values("vae", "gan"),
                         [](const testing::TestParamInfo<const char*>& test) {
                           return std::string(test.param);
                         });

}  // namespace
}  // namespace engram::strategies
