// The commands of the README and of the pages run as they stand there, with the programs of this
// build.
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"
#include "tests/testing/process/subprocess.h"
#include "tests/tidy/readme_commands.h"

namespace engram::tidy {
namespace {

using ::testing::ElementsAre;
using testing::ReadWholeFile;

std::string FolderOf(const std::string& program) {
  return program.substr(0, program.find_last_of('/'));
}

TEST(ReadmeCommandsTest, BlocksAreChosenByTheWordOfTheirFence) {
  const std::string page =
      "a\n```sh\none\n```\n```text\ntwo\n```\n```sh\nthree\n```\n```\nfour\n```\n";
  EXPECT_THAT(FencedBlocks(page, "sh"), ElementsAre("one\n", "three\n"));
  EXPECT_THAT(FencedBlocks(page, ""), ElementsAre("four\n"));
}

TEST(ReadmeCommandsTest, ACommandThatNoTestLooksAtIsFound) {
  EXPECT_THAT(CommandsInOtherFences("```sh\nengram doctor\n```\n"
                                    "```text\npip install x\nengrams\n```\n```\n./run\n```\n"),
              ElementsAre("pip install x", "./run"));
}

TEST(ReadmeCommandsTest, ALongProgramIsOnlyLookedAt) {
  EXPECT_EQ(AsScript({"./tests/run --all\nls\n"}, "/s", {"./tests/run"}),
            "set -euo pipefail\necho '--- block 1'\ntest -x /s/./tests/run\n\nls\n\n");
}

std::string PageText(const char* page) {
  return ReadWholeFile(absl::StrCat(ENGRAM_SOURCE_FOLDER, "/", page));
}

// Each page is read from its top by somebody who has just built everything.
class PageTest : public ::testing::TestWithParam<const char*> {};

TEST_P(PageTest, EveryCommandOfThePageRuns) {
  const auto blocks = FencedBlocks(PageText(GetParam()), "sh");
  ASSERT_FALSE(blocks.empty());
  testing::ScratchFolder scratch;
  const std::string script = scratch.path() + "/commands.sh";
  std::ofstream(script) << "cd " << scratch.path()
                        << "\nexport PATH=" << FolderOf(testing::ServerBinary()) << ":"
                        << FolderOf(testing::CommandBinary()) << ":$PATH\n"
                        << "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
                        << AsScript(blocks, ENGRAM_SOURCE_FOLDER,
                                    {"./deploy/quickstart", "./tests/run"});
  // timeout ends the page's server too, which would outlive a script that is killed.
  const auto finished =
      testing::RunToEnd({"/usr/bin/timeout", "--signal=KILL", "150", "/bin/bash", script},
                        absl::Minutes(3), scratch.path() + "/output");
  ASSERT_TRUE(finished.ok()) << finished.status() << ReadWholeFile(scratch.path() + "/output");
  EXPECT_EQ(finished->code, 0) << finished->output;
}

INSTANTIATE_TEST_SUITE_P(Pages, PageTest,
                         ::testing::Values("README.md", "client/README.md", "proto/API.md",
                                           "strategies/CHOOSING.md"));

// Pages whose every command is in a block that runs.
class WholePageTest : public ::testing::TestWithParam<const char*> {};

TEST_P(WholePageTest, NoCommandIsInAnotherFence) {
  EXPECT_THAT(CommandsInOtherFences(PageText(GetParam())), ElementsAre());
}

INSTANTIATE_TEST_SUITE_P(Pages, WholePageTest,
                         ::testing::Values("client/README.md", "proto/API.md",
                                           "strategies/CHOOSING.md"));

}  // namespace
}  // namespace engram::tidy
