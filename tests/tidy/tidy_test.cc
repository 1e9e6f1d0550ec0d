// The rules on the repository as it stands.
#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "tests/tidy/form_rules.h"
#include "tests/tidy/include_rules.h"
#include "tests/tidy/source_text.h"

namespace engram::tidy {
namespace {

const std::vector<SourceFile>& Tree() {
  static const auto* tree = new std::vector<SourceFile>(ReadTree(ENGRAM_SOURCE_FOLDER));
  return *tree;
}

void ExpectNone(Findings (*rule)(const SourceFile&)) {
  ASSERT_GT(Tree().size(), 50u) << "the tree was not found";
  Findings all;
  for (const SourceFile& file : Tree()) {
    for (auto& finding : rule(file)) all.push_back(std::move(finding));
  }
  EXPECT_TRUE(all.empty()) << all.size() << " findings:\n" << absl::StrJoin(all, "\n");
}

TEST(TidyTest, IncludesFollowTheArrowsOfTheHouse) { ExpectNone(ForbiddenIncludes); }
TEST(TidyTest, NoFileIsTooLong) { ExpectNone(LongFile); }
TEST(TidyTest, NoFunctionIsTooLong) { ExpectNone(LongFunctions); }
TEST(TidyTest, NoLineIsTooLong) { ExpectNone(LongLines); }
TEST(TidyTest, NoNameSaysNothing) { ExpectNone(BannedNames); }
TEST(TidyTest, NoFileNameSaysNothing) { ExpectNone(BannedFileName); }
TEST(TidyTest, NoWorkIsLeftOpenWithoutAnIssue) { ExpectNone(OpenEnds); }
TEST(TidyTest, NoFileKnowsTheMachineItWasWrittenOn) { ExpectNone(MachinePaths); }
TEST(TidyTest, NothingLoadsAFormatThatRunsCode) { ExpectNone(UntrustedLoaders); }
TEST(TidyTest, TheServerMeasuresWithTheSteadyClock) { ExpectNone(WallClocks); }
TEST(TidyTest, EveryHeaderSaysWhatItIsFor) { ExpectNone(MissingOpening); }

TEST(TidyTest, TheTopLevelIsTheHouseAndNothingElse) {
  const std::set<std::string> house = {
      "CMakeLists.txt", "CMakePresets.json", "LICENSE",    "README.md", "client", "deploy", "proto",
      "server",         "storage",           "strategies", "tests"};
  for (const auto& entry : std::filesystem::directory_iterator(ENGRAM_SOURCE_FOLDER)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, ".") || absl::StartsWith(name, "build")) continue;
    EXPECT_EQ(house.count(name), 1u) << name;
  }
}

TEST(TidyTest, EveryRoomExplainsItself) {
  for (const std::string room :
       {"proto", "storage", "strategies", "server", "client", "deploy", "tests"}) {
    EXPECT_TRUE(
        std::filesystem::exists(std::string(ENGRAM_SOURCE_FOLDER) + "/" + room + "/README.md"))
        << room;
  }
}

}  // namespace
}  // namespace engram::tidy
