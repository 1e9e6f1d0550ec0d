#include "strategies/core/generator.h"

#include <gtest/gtest.h>

#include <vector>

namespace engram::strategies {
namespace {

TEST(GeneratorTest, SameSeedGivesTheSameSequence) {
  Generator a(5), b(5), other(6);
  bool differs = false;
  for (int i = 0; i < 100; ++i) {
    const uint64_t value = a.Next();
    EXPECT_EQ(value, b.Next());
    differs |= value != other.Next();
  }
  EXPECT_TRUE(differs);
}

TEST(GeneratorTest, StateContinuesTheSequence) {
  Generator a(1);
  for (int i = 0; i < 17; ++i) a.Next();
  Generator b(2);
  b.set_state(a.state());
  for (int i = 0; i < 10; ++i) EXPECT_EQ(a.Next(), b.Next());
}

TEST(GeneratorTest, BelowIsUniform) {
  Generator generator(3);
  std::vector<int> counts(7);
  constexpr int kDraws = 70000;
  for (int i = 0; i < kDraws; ++i) ++counts[generator.Below(7)];
  double chi_square = 0;
  for (int count : counts) {
    const double expected = kDraws / 7.0;
    chi_square += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_square, 22.5);  // 6 degrees of freedom, p = 0.001
}

TEST(GeneratorTest, UniformStaysBelowOneAndHasItsMean) {
  Generator generator(4);
  double sum = 0;
  for (int i = 0; i < 100000; ++i) {
    const float value = generator.Uniform();
    ASSERT_GE(value, 0.0f);
    ASSERT_LT(value, 1.0f);
    sum += value;
  }
  EXPECT_NEAR(sum / 100000, 0.5, 0.005);
}

TEST(GeneratorTest, SeedZeroIsAsGoodAsAny) {
  Generator generator(0);
  EXPECT_NE(generator.Next(), generator.Next());
}

}  // namespace
}  // namespace engram::strategies
