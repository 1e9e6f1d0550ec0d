#include "client/datasets/cifar10_reader.h"

#include <string>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/datasets/file_test.h"

namespace engram::datasets {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

using Cifar10ReaderTest = FileTest;

// A photo that is `red` in its first plane and black in the others.
std::string Record(char label, char red) {
  return label + std::string(1024, red) + std::string(2048, '\0');
}

TEST_F(Cifar10ReaderTest, FolderIsReadInTheOrderOfItsNames) {
  WritePlain("data_batch_2.bin", Record(7, 'c'));
  WritePlain("data_batch_1.bin", Record(3, 'a') + Record(9, 'b'));
  WritePlain("test_batch.bin", Record(0, 'd'));
  WritePlain("readme.html", "no photo");
  const auto split = LoadCifar10Folder(folder_);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ(split->train.rows, 3);
  EXPECT_EQ(split->train.FeatureCount(), 3072);
  EXPECT_THAT(split->train.labels, ElementsAre(3, 9, 7));
  EXPECT_EQ(split->train.Pixels(2)[1023], 'c');
  EXPECT_EQ(split->train.Pixels(2)[1024], 0);
  EXPECT_THAT(split->test.labels, ElementsAre(0));
}

TEST_F(Cifar10ReaderTest, BadFilesAreRefusedByName) {
  RowSet set;
  const auto refusal = [&](const std::string& bytes) {
    return AppendCifar10(WritePlain("train.bin", bytes), &set);
  };
  const absl::Status cut = refusal(Record(1, 'a') + Record(2, 'b').substr(0, 3000));
  EXPECT_EQ(cut.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(cut.message(), AllOf(HasSubstr("train.bin"), HasSubstr("3073"),
                                   HasSubstr("found 3000 after record 1")));
  const absl::Status label = refusal(Record(1, 'a') + Record(10, 'b'));
  EXPECT_EQ(label.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(label.message(), HasSubstr("record 1: expected a label 0 to 9, got 10"));
  EXPECT_THAT(refusal("").message(), HasSubstr("found none"));
}

TEST_F(Cifar10ReaderTest, FolderWithoutTestPhotosSaysWhatIsMissing) {
  WritePlain("train_10.bin", Record(1, 'a'));
  const auto split = LoadCifar10Folder(folder_);
  EXPECT_EQ(split.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(split.status().message(), HasSubstr("test*.bin"));
  EXPECT_EQ(LoadCifar10Folder(Path("absent")).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace engram::datasets
