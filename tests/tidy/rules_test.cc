// Canaries: each rule finds a planted violation, and leaves its neighbour alone.
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "tests/tidy/form_rules.h"
#include "tests/tidy/include_rules.h"

namespace engram::tidy {
namespace {

size_t Includes(const std::string& path, const std::string& header) {
  return ForbiddenIncludes({path, absl::StrCat("#include \"", header, "\"\n")}).size();
}

TEST(IncludeRulesTest, StorageAndStrategiesNeverMeet) {
  EXPECT_EQ(Includes("storage/store.cc", "strategies/api/learner.h"), 1u);
  EXPECT_EQ(Includes("strategies/core/learner.cc", "storage/store.h"), 1u);
  EXPECT_EQ(Includes("strategies/core/learner.cc", "storage/base/check.h"), 0u);
}

TEST(IncludeRulesTest, OnlyPrivateFilesOfStorageSeeRocksDb) {
  EXPECT_EQ(Includes("storage/store.h", "rocksdb/db.h"), 1u);
  EXPECT_EQ(Includes("server/main.cc", "rocksdb/db.h"), 1u);
  EXPECT_EQ(Includes("storage/rocksdb_store.cc", "rocksdb/db.h"), 0u);
}

TEST(IncludeRulesTest, OnlyStrategiesSeeLibTorchAndNotThroughTheirApi) {
  EXPECT_EQ(Includes("server/trainer.cc", "ATen/ATen.h"), 1u);
  EXPECT_EQ(Includes("strategies/api/learner.h", "torch/types.h"), 1u);
  EXPECT_EQ(Includes("strategies/models/mlp.cc", "ATen/ATen.h"), 0u);
}

TEST(IncludeRulesTest, TheServerSeesOnlyTheApiOfStrategies) {
  EXPECT_EQ(Includes("server/trainer.cc", "strategies/core/registry.h"), 1u);
  EXPECT_EQ(Includes("server/trainer.cc", "strategies/api/learner.h"), 0u);
  EXPECT_EQ(Includes("client/retry.cc", "server/errors.h"), 1u);
}

TEST(IncludeRulesTest, ALibraryThatNobodyKnowsIsRefusedEverywhere) {
  EXPECT_EQ(Includes("client/retry.cc", "boost/any.hpp"), 1u);
  EXPECT_EQ(Includes("tests/unit/a_test.cc", "boost/any.hpp"), 1u);
  EXPECT_EQ(ForbiddenIncludes({"client/a.cc", "#include <vector>\n#include <sys/stat.h>\n"}).size(),
            0u);
}

TEST(FormRulesTest, CountsTheLinesOfAFileAndOfAFunction) {
  const std::vector<std::string> body(71, "  Step();");
  const std::string function =
      absl::StrCat("namespace a {\nvoid F() {\n", absl::StrJoin(body, "\n"), "\n}\n}\n");
  EXPECT_EQ(LongFunctions({"a.cc", function}).size(), 1u);
  const std::string table = absl::StrCat("constexpr int kTable[] = {\n",
                                         absl::StrJoin(std::vector<std::string>(90, "1,"), "\n"),
                                         "\n};\nvoid F() { if (true) { G(); } }\n");
  EXPECT_EQ(LongFunctions({"a.cc", table}).size(), 0u);
  EXPECT_EQ(LongFile({"a.cc", std::string(601, '\n')}).size(), 1u);
  EXPECT_EQ(LongFile({"a.cc", std::string(599, '\n')}).size(), 0u);
}

TEST(FormRulesTest, BracesInsideLiteralsAndCommentsDoNotCount) {
  const std::string text =
      "void F() {\n  Print(\"}\");  // }\n  /* { */\n  Print(R\"x({{)x\");\n  Put('{');\n}\n";
  EXPECT_EQ(LongFunctions({"a.cc", text + std::string(80, '\n') + "void G() {}\n"}).size(), 0u);
}

TEST(FormRulesTest, FindsLongLines) {
  EXPECT_EQ(LongLines({"a.cc", std::string(101, 'x')}).size(), 1u);
  EXPECT_EQ(LongLines({"a.cc", std::string(100, 'x')}).size(), 0u);
}

TEST(FormRulesTest, FindsNamesThatSayNothing) {
  EXPECT_EQ(BannedNames({"a.cc", "int data = 0;"}).size(), 1u);
  EXPECT_EQ(BannedNames({"a.cc", "class StoreManager {};"}).size(), 1u);
  EXPECT_EQ(BannedNames({"a.cc", "rocksdb::SstFileManager* space;"}).size(), 0u);
  EXPECT_EQ(BannedNames({"a.cc", "void handle(int x);"}).size(), 1u);
  EXPECT_EQ(
      BannedNames({"a.cc", "Use(x.data(), y->data()); spdlog::info(1); metadata = 1;"}).size(), 0u);
  EXPECT_EQ(BannedNames({"a.cc", "// data\nPrint(\"data\");"}).size(), 0u);
  EXPECT_EQ(BannedFileName({"server/string_util.cc", ""}).size(), 1u);
  EXPECT_EQ(BannedFileName({"common/a.cc", ""}).size(), 1u);
  EXPECT_EQ(BannedFileName({"server/trainer.cc", ""}).size(), 0u);
}

TEST(FormRulesTest, FindsOpenEnds) {
  const std::string to_do = absl::StrCat("// TO", "DO");
  EXPECT_EQ(OpenEnds({"a.cc", to_do + ": later"}).size(), 1u);
  EXPECT_EQ(OpenEnds({"a.cc", to_do + "(#12): later"}).size(), 0u);
  const std::string off = absl::StrCat("TEST(A, DISA", "BLED_B) {}");
  EXPECT_EQ(OpenEnds({"a.cc", off}).size(), 1u);
  EXPECT_EQ(OpenEnds({"a.cc", "// Disabled because the disk is full.\n" + off}).size(), 0u);
}

TEST(FormRulesTest, FindsPathsOfOneMachine) {
  EXPECT_EQ(MachinePaths({"a.md", absl::StrCat("cd /wo", "rk/main")}).size(), 1u);
  EXPECT_EQ(MachinePaths({"a.md", absl::StrCat("\"/ro", "ot\"")}).size(), 1u);
  EXPECT_EQ(MachinePaths({"a.md", "strategies/work-a and ../shared/home"}).size(), 0u);
}

TEST(FormRulesTest, FindsLoadersThatRunWhatTheyLoad) {
  EXPECT_EQ(UntrustedLoaders({"a.cc", absl::StrCat("torch::lo", "ad(x)")}).size(), 1u);
  EXPECT_EQ(UntrustedLoaders({"a.py", absl::StrCat("import pic", "kle")}).size(), 1u);
}

TEST(FormRulesTest, FindsTheWallClockInTheServer) {
  EXPECT_EQ(WallClocks({"server/a.cc", "x = absl::Now();\n"}).size(), 1u);
  EXPECT_EQ(WallClocks({"server/clock.cc", "x = absl::Now();\n"}).size(), 0u);
  EXPECT_EQ(WallClocks({"client/a.cc", "x = absl::Now();\n"}).size(), 0u);
}

TEST(FormRulesTest, AHeaderOpensWithWhatItIsFor) {
  EXPECT_EQ(MissingOpening({"a.h", "#pragma once\n"}).size(), 1u);
  EXPECT_EQ(MissingOpening({"a.h", "// For b.\n#pragma once\n"}).size(), 0u);
}

}  // namespace
}  // namespace engram::tidy
