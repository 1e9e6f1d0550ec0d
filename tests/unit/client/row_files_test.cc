#include "client/row_files.h"

#include <unistd.h>
#include <zlib.h>

#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "client/examples.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::HasSubstr;

class RowFilesTest : public ::testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& content, bool gzip = false) {
    const std::string path =
        absl::StrCat(::testing::TempDir(), "/row_files_test.", getpid(), ".", name);
    if (gzip) {
      const gzFile file = gzopen(path.c_str(), "wb");
      gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
      gzclose(file);
    } else {
      std::ofstream(path, std::ios::binary) << content;
    }
    written_.push_back(path);
    return path;
  }

  void TearDown() override {
    for (const std::string& path : written_) std::remove(path.c_str());
  }

  static RowReaderOptions Csv() {
    RowReaderOptions options;
    options.format = RowReaderOptions::Format::kCsv;
    return options;
  }

  std::string FingerprintOf(const std::string& path, const RowReaderOptions& options) {
    const auto file = OpenTextFile(path, options);
    EXPECT_TRUE(file.ok()) << file.status();
    return file.ok() ? (*file)->fingerprint() : "";
  }

  std::vector<std::string> written_;
};

std::string BigEndian(const std::vector<uint32_t>& words) {
  std::string bytes;
  for (const uint32_t word : words) {
    for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<char>(word >> shift));
  }
  return bytes;
}

TEST_F(RowFilesTest, CountsAndReadsTheRowsThatHoldSomething) {
  const auto file = OpenTextFile(Write("a.csv", "1,0.5\n\n2,0.25\r\n  \n3,1"), Csv());
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->rows(), 3);
  v1::Example example;
  int rows = 0;
  while (*(*file)->Next(&example)) ++rows;
  EXPECT_EQ(rows, 3);
  EXPECT_EQ(LabelText(example.label()), "3");
}

TEST_F(RowFilesTest, AHeaderIsNoRow) {
  RowReaderOptions options = Csv();
  options.label_column = "y";
  const auto file = OpenTextFile(Write("h.csv", "x,y\n0.5,cat\n"), options);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->rows(), 1);
  v1::Example example;
  ASSERT_TRUE(*(*file)->Next(&example));
  EXPECT_EQ(LabelText(example.label()), "cat");
}

TEST_F(RowFilesTest, TheFingerprintIsOfContentAndOptionsNotOfTheName) {
  const std::string rows = "1,0.5\n2,0.25\n";
  const std::string plain = FingerprintOf(Write("one.csv", rows), Csv());
  EXPECT_EQ(FingerprintOf(Write("two.csv", rows), Csv()), plain);
  EXPECT_EQ(FingerprintOf(Write("one.csv.gz", rows, true), Csv()), plain);
  EXPECT_NE(FingerprintOf(Write("more.csv", rows + "3,1\n"), Csv()), plain);
  RowReaderOptions scaled = Csv();
  scaled.divide_by = 255;
  EXPECT_NE(FingerprintOf(Write("one.csv", rows), scaled), plain);
  RowReaderOptions header = Csv();
  header.header = true;
  EXPECT_NE(FingerprintOf(Write("one.csv", rows), header), plain);
}

TEST_F(RowFilesTest, ABadLineIsNamedWithItsFileBeforeAnyRow) {
  const std::string path = Write("bad.csv", "1,0.5\n2,x\n");
  const absl::Status bad = OpenTextFile(path, Csv()).status();
  EXPECT_EQ(bad.message(), path + ": line 2: column 2: expected a number, got \"x\"");
}

TEST_F(RowFilesTest, ACutGzipFileIsRefusedBeforeItsFirstRow) {
  std::string rows;
  for (int i = 0; i < 2000; ++i) absl::StrAppend(&rows, i, ",", i * 7919 % 1000, "\n");
  const std::string path = Write("cut.csv.gz", rows, true);
  std::ifstream in(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
  const auto cut = OpenTextFile(Write("cut.csv.gz", bytes.substr(0, bytes.size() / 2)), Csv());
  EXPECT_EQ(cut.status().code(), absl::StatusCode::kDataLoss) << cut.status();
  EXPECT_EQ(OpenTextFile("/nonexistent", Csv()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(RowFilesTest, ImagesMeetTheirLabels) {
  const std::string images = Write("i", BigEndian({2051, 2, 1, 2}) + std::string("\0\1\2\377", 4));
  const std::string labels = Write("l", BigEndian({2049, 2}) + std::string("\7\50", 2), true);
  const auto set = OpenIdxFiles(images, labels);
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ((*set)->rows(), 2);
  v1::Example example;
  ASSERT_TRUE(*(*set)->Next(&example));
  ASSERT_TRUE(*(*set)->Next(&example));
  EXPECT_EQ(example.features().dense_uint8(), std::string("\2\377", 2));
  EXPECT_EQ(example.label().number(), 40) << "letters have more than ten classes";
  EXPECT_FALSE(*(*set)->Next(&example));
  const auto uneven = OpenIdxFiles(images, Write("u", BigEndian({2049, 1}) + "\7"));
  EXPECT_THAT(uneven.status().message(), HasSubstr("expected 2 labels"));
}

}  // namespace
}  // namespace engram::client
