// What the tests of deploy/ share: its files, changed for the test, and commands run on them.
//
// Threading: one thread. Ownership: copies live as long as the rig.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/subprocess.h"

namespace engram::deploy {

inline std::string Deploy() { return ENGRAM_SOURCE_FOLDER "/deploy"; }

class DeployTest : public ::testing::Test {
 protected:
  testing::Finished Run(std::vector<std::string> command) {
    const auto finished =
        testing::RunToEnd(std::move(command), absl::Seconds(60),
                          absl::StrCat(scratch_.path(), "/output-", ++runs_));
    EXPECT_TRUE(finished.ok()) << finished.status();
    return finished.value_or(testing::Finished{-1, ""});
  }
  std::string ReplacedCopy(const std::string& file,
                           const std::vector<std::pair<std::string, std::string>>& changes) {
    const std::string copy =
        absl::StrCat(scratch_.path(), "/", std::filesystem::path(file).filename().string());
    std::ofstream(copy) << absl::StrReplaceAll(testing::ReadWholeFile(file), changes);
    return copy;
  }

  testing::ScratchFolder scratch_;
  int runs_ = 0;
};

}  // namespace engram::deploy
