#include "client/datasets/idx_reader.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/datasets/file_test.h"

namespace engram::datasets {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string BigEndian(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

std::string IdxImages(uint32_t count, uint32_t height, uint32_t width, const std::string& pixels) {
  return BigEndian(2051) + BigEndian(count) + BigEndian(height) + BigEndian(width) + pixels;
}

std::string IdxLabels(uint32_t count, const std::string& labels) {
  return BigEndian(2049) + BigEndian(count) + labels;
}

using IdxReaderTest = FileTest;

TEST_F(IdxReaderTest, ReadsZippedAndPlainAlike) {
  const std::string bytes = IdxImages(2, 2, 3, "abcdefghijkl");
  for (const std::string& path : {WriteZipped("a.gz", bytes), WritePlain("a", bytes)}) {
    const auto images = ReadIdxImages(path);
    ASSERT_TRUE(images.ok()) << images.status();
    EXPECT_EQ(images->rows, 2);
    EXPECT_EQ(images->height, 2);
    EXPECT_EQ(images->width, 3);
    EXPECT_EQ(std::string(images->pixels.begin(), images->pixels.end()), "abcdefghijkl");
    EXPECT_EQ(images->Pixels(1)[0], 'g');
  }
}

TEST_F(IdxReaderTest, ReadsLabels) {
  const auto labels = ReadIdxLabels(WriteZipped("l.gz", IdxLabels(3, {'\1', '\0', '\7'})));
  ASSERT_TRUE(labels.ok()) << labels.status();
  EXPECT_THAT(*labels, ElementsAre(1, 0, 7));
}

TEST_F(IdxReaderTest, MissingFileIsNotFound) {
  const auto images = ReadIdxImages(Path("absent"));
  EXPECT_EQ(images.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(images.status().message(), HasSubstr("absent"));
}

TEST_F(IdxReaderTest, FolderIsNotAFile) {
  EXPECT_EQ(ReadIdxImages(folder_).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(IdxReaderTest, WrongMagicNamesBothNumbers) {
  const auto images = ReadIdxImages(WriteZipped("l.gz", IdxLabels(1, "1")));
  EXPECT_EQ(images.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(images.status().message(), AllOf(HasSubstr("2051"), HasSubstr("2049")));
  const auto labels = ReadIdxLabels(WriteZipped("i.gz", IdxImages(1, 1, 1, "x")));
  EXPECT_EQ(labels.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(IdxReaderTest, TruncatedRowsSayHowManyBytesAreThere) {
  const auto images = ReadIdxImages(WriteZipped("t.gz", IdxImages(2, 2, 2, "abcdef")));
  EXPECT_EQ(images.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(images.status().message(), HasSubstr("expected 8 bytes of pixels, found 6"));
}

TEST_F(IdxReaderTest, EveryCutOfTheHeaderIsRefused) {
  const std::string whole = IdxImages(1, 1, 1, "x");
  for (size_t length = 0; length < whole.size(); ++length) {
    const auto images = ReadIdxImages(WritePlain("cut", whole.substr(0, length)));
    EXPECT_EQ(images.status().code(), absl::StatusCode::kDataLoss) << length;
  }
}

TEST_F(IdxReaderTest, SurplusBytesAreRefused) {
  const auto labels = ReadIdxLabels(WritePlain("l", IdxLabels(2, "123")));
  EXPECT_EQ(labels.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(labels.status().message(), HasSubstr("goes on"));
}

TEST_F(IdxReaderTest, CutGzipStreamIsRefused) {
  const std::string path = WriteZipped("c.gz", IdxImages(1, 16, 16, std::string(256, 'x')));
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 6);
  EXPECT_EQ(ReadIdxImages(path).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(IdxReaderTest, GzipChecksumIsVerified) {
  const std::string path = WriteZipped("f.gz", IdxLabels(3, "123"));
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  // The last eight bytes are the CRC-32 and the length.
  file.seekg(-8, std::ios::end);
  const char flipped = static_cast<char>(file.get() ^ 1);
  file.seekp(-8, std::ios::end);
  file.put(flipped);
  file.close();
  const auto labels = ReadIdxLabels(path);
  EXPECT_EQ(labels.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(labels.status().message(), HasSubstr("damaged"));
}

TEST_F(IdxReaderTest, DimensionsAreBounded) {
  EXPECT_EQ(ReadIdxImages(WritePlain("none", IdxImages(0, 2, 2, ""))).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadIdxImages(WritePlain("wide", IdxImages(1, 2, 5000, ""))).status().code(),
            absl::StatusCode::kInvalidArgument);
  // 2^30 rows of 16 pixels must not be allocated, nor overflow.
  EXPECT_EQ(ReadIdxImages(WritePlain("huge", IdxImages(1u << 30, 4, 4, ""))).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadIdxLabels(WritePlain("many", IdxLabels(0xffffffffu, ""))).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(IdxReaderTest, ImagesAndLabelsMustMatchInNumber) {
  const auto set = ReadIdxSet(WriteZipped("i.gz", IdxImages(2, 1, 1, "ab")),
                              WriteZipped("l.gz", IdxLabels(3, {'\0', '\1', '\2'})));
  EXPECT_EQ(set.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(set.status().message(), AllOf(HasSubstr("expected 2 labels"), HasSubstr("got 3")));
}

TEST_F(IdxReaderTest, LabelsBeyondNineAreRefused) {
  const auto set = ReadIdxSet(WriteZipped("i.gz", IdxImages(2, 1, 1, "ab")),
                              WriteZipped("l.gz", IdxLabels(2, {'\1', '\12'})));
  EXPECT_EQ(set.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(set.status().message(), HasSubstr("label 1: expected a digit 0 to 9, got 10"));
}

TEST_F(IdxReaderTest, LoadsAFolderOfZippedAndPlainFiles) {
  WriteZipped("train-images-idx3-ubyte.gz", IdxImages(2, 1, 2, "abcd"));
  WritePlain("train-labels-idx1-ubyte", IdxLabels(2, {'\3', '\4'}));
  WriteZipped("t10k-images-idx3-ubyte.gz", IdxImages(1, 1, 2, "ef"));
  WriteZipped("t10k-labels-idx1-ubyte.gz", IdxLabels(1, {'\5'}));
  const auto split = LoadDigitFolder(folder_);
  ASSERT_TRUE(split.ok()) << split.status();
  EXPECT_EQ(split->train.rows, 2);
  EXPECT_THAT(split->train.labels, ElementsAre(3, 4));
  EXPECT_THAT(split->test.labels, ElementsAre(5));
}

TEST_F(IdxReaderTest, FolderWithTwoImageSizesIsRefused) {
  WritePlain("train-images-idx3-ubyte", IdxImages(1, 1, 2, "ab"));
  WritePlain("train-labels-idx1-ubyte", IdxLabels(1, {'\3'}));
  WritePlain("t10k-images-idx3-ubyte", IdxImages(1, 1, 1, "e"));
  WritePlain("t10k-labels-idx1-ubyte", IdxLabels(1, {'\5'}));
  EXPECT_EQ(LoadDigitFolder(folder_).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(IdxReaderTest, FolderWithoutTestSetNamesTheMissingFile) {
  WritePlain("train-images-idx3-ubyte", IdxImages(1, 1, 1, "a"));
  WritePlain("train-labels-idx1-ubyte", IdxLabels(1, {'\3'}));
  const auto split = LoadDigitFolder(folder_);
  EXPECT_EQ(split.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(split.status().message(), HasSubstr("t10k-images-idx3-ubyte"));
}

}  // namespace
}  // namespace engram::datasets
