#include "client/manual.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "client/completion.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Troff(const std::string& text) { return absl::StrReplaceAll(text, {{"-", "\\-"}}); }

TEST(ManualTest, TheCommandsPageHasEveryVerbAndFlag) {
  const std::string page = CommandManual(DescribeVerbs(), GlobalFlags());
  EXPECT_THAT(page, HasSubstr(".TH ENGRAM 1"));
  for (const VerbShape& verb : DescribeVerbs()) {
    EXPECT_THAT(page, HasSubstr(absl::StrCat(".SS \"", Troff(verb.name), "\"")));
    for (const FlagShape& flag : verb.flags) {
      EXPECT_THAT(page, HasSubstr(Troff("--" + flag.name) + "\\fR")) << verb.name;
    }
  }
}

TEST(ManualTest, NoLineIsTakenForARequest) {
  VerbShape verb;
  verb.name = "fly";
  verb.synopsis = "engram fly";
  verb.about = ".hidden\n'quoted' and a\\b";
  const std::string page = CommandManual({verb}, {});
  EXPECT_THAT(page, HasSubstr("\n\\&.hidden\n\\&'quoted' and a\\eb\n"));
}

constexpr char kServerHelp[] =
    "engramd: the Engram server\n\n"
    "  Flags from server/main.cc:\n"
    "    --data_dir (Folder of all durable state; made when missing); default: \"\";\n"
    "    --http_listen (HTTP listener (metrics, health); port 0 takes any free\n"
    "      port); default: \"127.0.0.1:7402\";\n"
    "\nTry --helpfull to get a list of all flags.\n";

TEST(ManualTest, TheServersPageIsMadeOfItsHelp) {
  const auto page = ServerManual(kServerHelp);
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_THAT(*page, HasSubstr(".TH ENGRAMD 8"));
  EXPECT_THAT(*page, HasSubstr("\\-\\-data_dir"));
  EXPECT_THAT(*page, HasSubstr("HTTP listener (metrics, health); port 0 takes any free port "
                               "(default 127.0.0.1:7402)"));
  EXPECT_THAT(*page, Not(HasSubstr("helpfull")));
}

TEST(ManualTest, OtherTextMakesNoPage) {
  EXPECT_FALSE(ServerManual("").ok());
  EXPECT_FALSE(ServerManual("engramd: usage without flags").ok());
  EXPECT_FALSE(ServerManual("engramd: x\n    --flag without help\n").ok());
}

TEST(CompletionTest, BothShellsKnowEveryVerbAndFlag) {
  const std::string bash = BashCompletion(DescribeVerbs(), GlobalFlags());
  const std::string zsh = ZshCompletion(DescribeVerbs(), GlobalFlags());
  for (const VerbShape& verb : DescribeVerbs()) {
    EXPECT_THAT(zsh, HasSubstr(absl::StrCat("    '", verb.name, "')\n")));
    for (const FlagShape& flag : verb.flags) {
      EXPECT_THAT(zsh, HasSubstr(absl::StrCat("--", flag.name))) << verb.name;
      EXPECT_THAT(bash, HasSubstr(absl::StrCat(" --", flag.name))) << verb.name;
    }
  }
}

TEST(CompletionTest, APlaceholderSaysWhatStandsThere) {
  const std::string bash = BashCompletion(DescribeVerbs(), GlobalFlags());
  EXPECT_THAT(bash, HasSubstr("'learn --csv') echo 'FILE' ;;"));
  EXPECT_THAT(bash, HasSubstr("'learn --format') echo 'csv jsonl guess' ;;"));
  EXPECT_THAT(bash, HasSubstr("'rollback '1) echo 'CHECKPOINT' ;;"));
  EXPECT_THAT(bash, HasSubstr("'strategy explain '0) echo 'STRATEGY' ;;"));
  EXPECT_THAT(bash, HasSubstr("'model create '0) echo 'TEXT' ;;"));
}

}  // namespace
}  // namespace engram::client
