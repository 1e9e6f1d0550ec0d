// The commands of the README and of the pages run as they stand there, with the programs of this
// build.
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"
#include "tests/testing/process/subprocess.h"
#include "tests/tidy/readme_commands.h"

namespace engram::tidy {
namespace {

using testing::ReadWholeFile;

std::string FolderOf(const std::string& program) {
  return program.substr(0, program.find_last_of('/'));
}

TEST(ReadmeCommandsTest, OnlyShellFencesAreCommands) {
  const auto blocks = ShellBlocks("a\n```sh\none\n```\n```text\ntwo\n```\n```sh\nthree\n```\n");
  ASSERT_EQ(blocks.size(), 2u);
  EXPECT_EQ(blocks[0], "one\n");
  EXPECT_EQ(blocks[1], "three\n");
}

TEST(ReadmeCommandsTest, ALongProgramIsOnlyLookedAt) {
  EXPECT_EQ(AsScript({"./tests/run --all\nls\n"}, "/s", {"./tests/run"}),
            "set -euo pipefail\necho '--- block 1'\ntest -x /s/./tests/run\n\nls\n\n");
}

// Each page is read from its top by somebody who has just built everything.
class PageTest : public ::testing::TestWithParam<const char*> {};

TEST_P(PageTest, EveryCommandOfThePageRuns) {
  const std::string page = ReadWholeFile(absl::StrCat(ENGRAM_SOURCE_FOLDER, "/", GetParam()));
  const auto blocks = ShellBlocks(page);
  ASSERT_FALSE(blocks.empty());
  testing::ScratchFolder scratch;
  const std::string script = scratch.path() + "/commands.sh";
  std::ofstream(script) << "cd " << scratch.path()
                        << "\nexport PATH=" << FolderOf(testing::ServerBinary()) << ":"
                        << FolderOf(testing::CommandBinary()) << ":$PATH\n"
                        << "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
                        << AsScript(blocks, ENGRAM_SOURCE_FOLDER,
                                    {"./deploy/quickstart", "./tests/run"});
  const auto finished =
      testing::RunToEnd({"/bin/bash", script}, absl::Minutes(3), scratch.path() + "/output");
  ASSERT_TRUE(finished.ok()) << finished.status() << ReadWholeFile(scratch.path() + "/output");
  EXPECT_EQ(finished->code, 0) << finished->output;
}

INSTANTIATE_TEST_SUITE_P(Pages, PageTest,
                         ::testing::Values("README.md", "proto/API.md", "strategies/CHOOSING.md"));

}  // namespace
}  // namespace engram::tidy
