// Failpoints: what the list says is what happens, and no program that is shipped holds one.
#include "storage/base/failpoint.h"

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "gtest/gtest.h"

namespace engram::base {
namespace {

std::string ReadProgram(const char* path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

class FailpointTest : public ::testing::Test {
 protected:
  void TearDown() override { ASSERT_TRUE(SetFailpoints("", 1).ok()); }
};

TEST_F(FailpointTest, NothingHappensWhereNothingIsSet) {
  for (const absl::string_view name : FailpointNames()) {
    EXPECT_TRUE(ReachFailpoint(name).ok()) << name;
    EXPECT_FALSE(IsBugPlanted(name)) << name;
  }
}

TEST_F(FailpointTest, AnErrorNamesItsPointAndOnlyThatOneFails) {
  ASSERT_TRUE(SetFailpoints("checkpoint.before_row=error,trim.before_mark=error(disk)", 1).ok());
  EXPECT_TRUE(absl::StrContains(ReachFailpoint("checkpoint.before_row").message(),
                                "checkpoint.before_row"));
  EXPECT_TRUE(absl::IsResourceExhausted(ReachFailpoint("trim.before_mark")));
  EXPECT_TRUE(ReachFailpoint("trim.after_mark").ok());
}

TEST_F(FailpointTest, TheNthTimeOnlyAndAtRandomBySeed) {
  ASSERT_TRUE(SetFailpoints("trim.after_mark=error:at3", 1).ok());
  for (int time = 1; time <= 5; ++time) {
    EXPECT_EQ(ReachFailpoint("trim.after_mark").ok(), time != 3) << time;
  }
  const auto failures = [](unsigned seed) {
    EXPECT_TRUE(SetFailpoints("trim.*=error:1in4", seed).ok());
    std::string which;
    for (int i = 0; i < 400; ++i) which += ReachFailpoint("trim.after_mark").ok() ? '.' : 'x';
    return which;
  };
  const std::string first = failures(7);
  EXPECT_EQ(first, failures(7));
  EXPECT_NE(first, failures(8));
  const auto count = std::count(first.begin(), first.end(), 'x');
  EXPECT_GT(count, 50);
  EXPECT_LT(count, 150);
}

TEST_F(FailpointTest, OffAndSleepLetThePointPass) {
  ASSERT_TRUE(SetFailpoints("trim.after_mark=off,trim.before_mark=sleep(1)", 1).ok());
  EXPECT_TRUE(ReachFailpoint("trim.after_mark").ok());
  EXPECT_TRUE(ReachFailpoint("trim.before_mark").ok());
}

TEST_F(FailpointTest, ABugIsPlantedByItsNameAlone) {
  ASSERT_TRUE(SetFailpoints("bug.sync_skipped=plant,trim.before_mark=plant", 1).ok());
  EXPECT_TRUE(IsBugPlanted("bug.sync_skipped"));
  EXPECT_FALSE(IsBugPlanted("bug.dedupe_dropped"));
  EXPECT_FALSE(IsBugPlanted("trim.before_mark"));
}

TEST_F(FailpointTest, AListThatDoesNotParseIsRefusedByName) {
  EXPECT_TRUE(absl::StrContains(SetFailpoints("nowhere=crash", 1).message(), "nowhere"));
  EXPECT_TRUE(absl::StrContains(SetFailpoints("trim.after_mark=explode", 1).message(), "explode"));
  EXPECT_TRUE(absl::StrContains(SetFailpoints("trim.after_mark=error:at0", 1).message(), "at0"));
  EXPECT_FALSE(SetFailpoints("trim.after_mark", 1).ok());
}

TEST(FailpointProgramsTest, TheServerHoldsNoFailpointAndTheFailingOneHoldsAll) {
  const std::string failing = ReadProgram(ENGRAM_FAILING_SERVER_BINARY);
  ASSERT_FALSE(failing.empty());
  for (const absl::string_view name : FailpointNames()) {
    EXPECT_TRUE(absl::StrContains(failing, name)) << name;
  }
#ifndef ENGRAM_FAILPOINTS
  const std::string server = ReadProgram(ENGRAM_PLAIN_SERVER_BINARY);
  ASSERT_FALSE(server.empty());
  for (const absl::string_view name : FailpointNames()) {
    EXPECT_FALSE(absl::StrContains(server, name)) << name;
  }
  EXPECT_FALSE(absl::StrContains(server, "ENGRAM_FAILPOINTS"));
#endif
}

}  // namespace
}  // namespace engram::base
