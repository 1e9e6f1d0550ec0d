// Walks the catalogue of bad inputs by its numbers, prints number, input, code and text, and fails
// on a number without an entry, on an answer that is not the catalogue's, and on a server that
// serves no more.
#include <algorithm>
#include <cstdio>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/catalogue.h"

namespace engram::integration {
namespace {

constexpr int kLast = 83;
// The list has no input under these.
const std::set<int>& Unused() {
  static const auto* const numbers = new std::set<int>{54, 55, 57};
  return *numbers;
}

std::vector<Entry> AllEntries() {
  std::vector<Entry> all;
  for (const auto make : {CallEntries, LearnEntries, ModelEntries, OperationsEntries}) {
    for (Entry& entry : make()) all.push_back(std::move(entry));
  }
  return all;
}

TEST(BadInputCatalogueTest, EveryNumberHasAnEntry) {
  std::vector<int> expected;
  for (int number = 1; number <= kLast; ++number) {
    if (Unused().count(number) == 0) expected.push_back(number);
  }
  std::vector<int> found;
  for (const Entry& entry : AllEntries()) {
    found.push_back(entry.number);
    EXPECT_TRUE(entry.act != nullptr || !entry.tests.empty() || !entry.why.empty())
        << entry.number << " says nothing";
  }
  EXPECT_EQ(found, expected) << "in order, each once";
}

TEST(BadInputCatalogueTest, EveryTestThatAnEntryNamesExists) {
  const std::vector<std::string> names = TestNames(ENGRAM_TESTS_FOLDER);
  EXPECT_GT(names.size(), 1000u) << "the pattern finds too little";
  for (const Entry& entry : AllEntries()) {
    for (const std::string& test : entry.tests) {
      EXPECT_TRUE(std::binary_search(names.begin(), names.end(), test))
          << entry.number << " names " << test << ", which is not in the sources";
    }
  }
}

TEST(BadInputCatalogueTest, EveryInputGetsItsAnswerAndTheServerGoesOn) {
  CatalogueRig rig;
  for (const Entry& entry : AllEntries()) {
    SCOPED_TRACE(entry.number);
    std::printf("%3d   %s\n", entry.number, entry.input.c_str());
    if (!entry.why.empty()) std::printf("      not sent: %s\n", entry.why.c_str());
    for (const std::string& test : entry.tests) std::printf("      see %s\n", test.c_str());
    if (entry.act == nullptr) continue;
    entry.act(&rig);
    rig.ExpectServes();
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace engram::integration
