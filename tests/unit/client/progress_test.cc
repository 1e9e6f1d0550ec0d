#include "client/progress.h"

#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

ProgressOptions Options(bool terminal) {
  ProgressOptions options;
  options.title = "learn";
  options.unit = "examples";
  options.total = 200;
  options.terminal = terminal;
  return options;
}

TEST(ProgressTest, PlainOutputEndsWithOneWholeLine) {
  std::ostringstream out;
  Progress progress(Options(false), &out);
  progress.Set(50, "task-1");
  progress.Finish();
  progress.Finish();
  EXPECT_THAT(out.str(), StartsWith("learn  25% 50/200 examples"));
  EXPECT_THAT(out.str(), HasSubstr("task-1\n"));
  EXPECT_THAT(out.str(), Not(HasSubstr("\r")));
}

TEST(ProgressTest, ATerminalGetsABarThatIsErasedForLines) {
  std::ostringstream out;
  {
    Progress progress(Options(true), &out);
    progress.Set(100);
    progress.Line("task-1 done");
  }
  EXPECT_THAT(out.str(), HasSubstr("task-1 done\n"));
  EXPECT_THAT(out.str(), HasSubstr("[============>"));
  EXPECT_THAT(out.str(), HasSubstr("\r\x1b[K"));
}

TEST(ProgressTest, QuietShowsNothingButWarnings) {
  std::ostringstream out;
  ProgressOptions options = Options(true);
  options.quiet = true;
  {
    Progress progress(options, &out);
    progress.Set(200);
    progress.Line("done");
    EXPECT_EQ(out.str(), "");
    progress.Warn("rejected");
  }
  EXPECT_EQ(out.str(), "rejected\n");
}

TEST(ProgressTest, AnUnknownTotalShowsCountAndRate) {
  std::ostringstream out;
  ProgressOptions options = Options(false);
  options.total = 0;
  Progress progress(options, &out);
  progress.Set(1234);
  progress.Finish();
  EXPECT_THAT(out.str(), StartsWith("learn 1234 examples, "));
  EXPECT_THAT(out.str(), Not(HasSubstr("%")));
}

}  // namespace
}  // namespace engram::client
