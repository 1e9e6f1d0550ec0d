#include "client/datasets/hashed_text.h"

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::datasets {
namespace {

using ::testing::Each;

std::vector<float> Hashed(const std::string& text, size_t width = 2048) {
  std::vector<float> out(width, 9.0f);
  HashText(text, absl::MakeSpan(out));
  return out;
}

double Dot(const std::vector<float>& a, const std::vector<float>& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

TEST(HashedTextTest, LengthIsOneAndWordlessTextIsZero) {
  const std::vector<float> out = Hashed("a truly great film");
  EXPECT_NEAR(Dot(out, out), 1.0, 1e-6);
  EXPECT_THAT(Hashed(""), Each(0.0f));
  EXPECT_THAT(Hashed(" ... <br />"), Each(0.0f));
}

TEST(HashedTextTest, CasePunctuationAndTagsDoNotCount) {
  EXPECT_EQ(Hashed("Great film!<br /><br />See it."), Hashed("great film see it"));
  EXPECT_NE(Hashed("great film"), Hashed("film great"));
  EXPECT_EQ(Hashed("a < b"), Hashed("a b"));
  EXPECT_NE(Hashed("don't"), Hashed("don t"));
}

TEST(HashedTextTest, TextsThatShareWordsAreCloserThanOthers) {
  const auto one = Hashed("the plot was dull and the acting was bad");
  EXPECT_GT(Dot(one, Hashed("a dull plot and bad acting")), 0.2);
  EXPECT_LT(std::fabs(Dot(one, Hashed("wonderful songs from start to end"))), 0.15);
}

// Signs keep what collides from adding up: the sum over many words stays near zero.
TEST(HashedTextTest, SignsAreBalanced) {
  std::string text;
  for (int i = 0; i < 2000; ++i) absl::StrAppend(&text, "w", i, " ");
  double sum = 0;
  double size = 0;
  for (const float value : Hashed(text, 64)) {
    sum += value;
    size += std::fabs(value);
  }
  EXPECT_LT(std::fabs(sum), 0.5 * size);
}

}  // namespace
}  // namespace engram::datasets
