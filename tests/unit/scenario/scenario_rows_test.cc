#include "client/scenario/scenario_rows.h"

#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/datasets/file_test.h"
#include "tests/unit/datasets/tar_bytes.h"

namespace engram::scenario {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using ScenarioRowsTest = datasets::FileTest;

TEST_F(ScenarioRowsTest, DigitsAreDrawnWithoutFilesAndOthersAskForThem) {
  const auto digits = LoadScenarioRows({"split-mnist"});
  ASSERT_TRUE(digits.ok()) << digits.status();
  EXPECT_EQ(digits->train.rows, 20000);
  const absl::Status status = LoadScenarioRows({"weather"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("data: weather needs the folder of its files"));
  EXPECT_EQ(LoadScenarioRows({"split-svhn"}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ScenarioRowsTest, StreamIsStandardisedAndGivenThePreviousLabelOnRequest) {
  WritePlain("elec.csv", "price,class\n10,1\n20,0\n");
  auto split = LoadScenarioRows({"electricity", folder_});
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(split->train.values, ElementsAre(0, 1));
  EXPECT_EQ(split->test.rows, 0);
  split = LoadScenarioRows({"electricity", folder_, /*previous_label=*/true});
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(split->train.values, ElementsAre(0, 0, 1, 1));
}

TEST_F(ScenarioRowsTest, PreviousLabelIsForStreamsOnly) {
  EXPECT_THAT(LoadScenarioRows({"split-mnist", "", true}).status().message(),
              HasSubstr("previous_label: split-mnist is shuffled"));
}

TEST_F(ScenarioRowsTest, OneFileMayBeNamedInsteadOfItsFolder) {
  const std::string path = WritePlain(
      "mine.arff", "@attribute a numeric\n@attribute c {UP,DOWN}\n@data\n1,UP\n3,DOWN\n");
  const auto split = LoadScenarioRows({"electricity", path});
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(split->train.labels, ElementsAre(0, 1));
}

TEST_F(ScenarioRowsTest, FolderWithoutTheFilesSaysWhichItLooksFor) {
  EXPECT_THAT(LoadScenarioRows({"electricity", folder_}).status().message(),
              AllOf(HasSubstr(folder_), HasSubstr("elec.csv or elecNorm.arff")));
  EXPECT_THAT(LoadScenarioRows({"split-cifar10", folder_}).status().message(),
              HasSubstr("train*.bin"));
  EXPECT_THAT(LoadScenarioRows({"imdb-films", folder_}).status().message(),
              HasSubstr("aclImdb_v1.tar"));
}

TEST_F(ScenarioRowsTest, ReviewsComeFromTheirArchive) {
  WriteZipped("aclImdb_v1.tar.gz", datasets::Tar({{"aclImdb/train/pos/0_8.txt", "good"},
                                                  {"aclImdb/test/neg/0_3.txt", "bad"}}));
  const auto split = LoadScenarioRows({"imdb-ratings", folder_});
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_THAT(split->train.groups, ElementsAre(8));
  EXPECT_EQ(split->test.FeatureCount(), 2048);
}

}  // namespace
}  // namespace engram::scenario
