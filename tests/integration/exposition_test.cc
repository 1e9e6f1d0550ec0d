// The reader is strict: what Prometheus would refuse or misread, it refuses.
#include "tests/integration/exposition.h"

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace engram::integration {
namespace {

constexpr char kGood[] =
    "# HELP a_total Counts a.\n# TYPE a_total counter\na_total{x=\"1\\\"\\\\\\n\"} 3\n"
    "# HELP h Seconds.\n# TYPE h histogram\n"
    "h_bucket{le=\"0.1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 0.5\nh_count 2\n";

void ExpectRefused(const std::string& text, const std::string& why) {
  const auto parsed = ParseExposition(text);
  ASSERT_FALSE(parsed.ok()) << text;
  EXPECT_TRUE(absl::StrContains(parsed.status().message(), why)) << parsed.status();
}

TEST(ExpositionTest, ReadsFamiliesLabelsAndHistograms) {
  const auto parsed = ParseExposition(kGood);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->Find("a_total", {{"x", "1\"\\\n"}}), 3);
  EXPECT_EQ(parsed->Find("h_bucket", {{"le", "0.1"}}), 1);
  EXPECT_TRUE(parsed->Has("h"));
  EXPECT_FALSE(parsed->Has("b"));
}

TEST(ExpositionTest, RefusesWhatIsNotTheFormat) {
  ExpectRefused("a_total 1\n", "no TYPE");
  ExpectRefused("# TYPE a gauge\na 1\n", "no HELP");
  ExpectRefused("# HELP a x\n# TYPE a gauge\na one\n", "not a number");
  ExpectRefused("# HELP a x\n# TYPE a gauge\na{b=\"\\t\"} 1\n", "unknown escape");
  ExpectRefused("# HELP a x\n# TYPE a gauge\na{b=\"1} 1\n", "does not end");
  ExpectRefused("# HELP a x\n# TYPE a gauge\na 1", "last line");
  ExpectRefused("# HELP a x\n# TYPE a gauge\na 1\na 1\n", "twice");
  ExpectRefused("# HELP a x\n# TYPE a counter\na 1\n", "_total");
}

TEST(ExpositionTest, HoldsHistogramsToTheirMeaning) {
  const std::string head = "# HELP h x\n# TYPE h histogram\n";
  ExpectRefused(head + "h_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
                "fall");
  ExpectRefused(head + "h_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 2\n", "not the count");
  ExpectRefused(head + "h_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\n", "no +Inf");
  ExpectRefused(head + "h_bucket{le=\"+Inf\"} 1\nh_count 1\n", "no _sum");
}

}  // namespace
}  // namespace engram::integration
