#include "client/row_reader.h"

#include <cstring>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<float> ValuesOf(const v1::Example& example) {
  const std::string& dense = example.features().dense();
  std::vector<float> values(dense.size() / sizeof(float));
  std::memcpy(values.data(), dense.data(), dense.size());
  return values;
}

// Every row; fails the test on a bad one.
std::vector<v1::Example> ReadAll(const std::string& text, const RowReaderOptions& options = {}) {
  std::istringstream in(text);
  RowReader reader(options, &in);
  std::vector<v1::Example> rows;
  for (;;) {
    v1::Example row;
    const auto more = reader.Next(&row);
    EXPECT_TRUE(more.ok()) << more.status();
    if (!more.ok() || !*more) return rows;
    rows.push_back(row);
  }
}

std::string ErrorOf(const std::string& text, const RowReaderOptions& options = {}) {
  std::istringstream in(text);
  RowReader reader(options, &in);
  v1::Example row;
  for (;;) {
    const auto more = reader.Next(&row);
    if (!more.ok()) return std::string(more.status().message());
    if (!*more) return "no error";
  }
}

TEST(RowReaderTest, ReadsCsvWithTheLabelFirst) {
  const auto rows = ReadAll("7,0.5,-1\n\ncat, 2 ,3e-1\r\n");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].label().number(), 7);
  EXPECT_THAT(ValuesOf(rows[0]), ElementsAre(0.5f, -1.0f));
  EXPECT_EQ(rows[1].label().text(), "cat");
  EXPECT_THAT(ValuesOf(rows[1]), ElementsAre(2.0f, 0.3f));
}

TEST(RowReaderTest, FindsTheLabelByItsNameInTheHeader) {
  RowReaderOptions options;
  options.label_column = "digit";
  const auto rows = ReadAll("a,digit,b\n1,9,2\n", options);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].label().number(), 9);
  EXPECT_THAT(ValuesOf(rows[0]), ElementsAre(1.0f, 2.0f));
  EXPECT_THAT(ErrorOf("a,b\n", options), HasSubstr("no column \"digit\""));
}

TEST(RowReaderTest, ReadsWhatSpreadsheetsWrite) {
  RowReaderOptions options;
  options.label_column = "who";
  const auto rows =
      ReadAll("\xEF\xBB\xBF\"who\",\"a\"\r\n\"cat\",\"1\"\r\n\"a \"\"dog\"\"\",2\r\n", options);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].label().text(), "cat");
  EXPECT_THAT(ValuesOf(rows[0]), ElementsAre(1.0f));
  EXPECT_EQ(rows[1].label().text(), "a \"dog\"");
  EXPECT_EQ(ReadAll("\xEF\xBB\xBF"
                    "cat,1\n")
                .at(0)
                .label()
                .text(),
            "cat");
  EXPECT_THAT(ErrorOf("\"York, New\",1\n"), HasSubstr("a comma between quotes"));
}

TEST(RowReaderTest, DividesAndSkipsAHeader) {
  RowReaderOptions options;
  options.header = true;
  options.divide_by = 255;
  const auto rows = ReadAll("label,p1,p2\n3,255,51\n", options);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_THAT(ValuesOf(rows[0]), ElementsAre(1.0f, 0.2f));
}

TEST(RowReaderTest, UnlabelledRowsAreFeaturesOnly) {
  RowReaderOptions options;
  options.unlabelled = true;
  const auto rows = ReadAll("1,2,3\n", options);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_FALSE(rows[0].has_label());
  EXPECT_THAT(ValuesOf(rows[0]), ElementsAre(1.0f, 2.0f, 3.0f));
  EXPECT_EQ(ReadAll("{\"features\": [1, 2]}\n", options).size(), 1u);
}

TEST(RowReaderTest, ReadsJsonLinesWithOptionalFields) {
  const auto rows = ReadAll(
      "{\"features\": [1, 0.5], \"label\": 4, \"task\": \"t2\", \"weight\": 2, \"id\": \"x\","
      " \"subject_id\": \"s\", \"event_time_ms\": 5, \"split\": \"HELD_OUT\"}\n"
      "{\"features\": [1], \"label\": \"dog\"}\n");
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_THAT(ValuesOf(rows[0]), ElementsAre(1.0f, 0.5f));
  EXPECT_EQ(rows[0].label().number(), 4);
  EXPECT_EQ(rows[0].task(), "t2");
  EXPECT_EQ(rows[0].weight(), 2.0f);
  EXPECT_EQ(rows[0].split(), v1::HELD_OUT);
  EXPECT_EQ(rows[1].label().text(), "dog");
  EXPECT_EQ(rows[1].split(), v1::TRAIN);
}

TEST(RowReaderTest, ErrorsNameTheLine) {
  EXPECT_EQ(ErrorOf("1,2\n3,x\n"), "line 2: column 2: expected a number, got \"x\"");
  EXPECT_THAT(ErrorOf("{\"features\": [1]}\n"), HasSubstr("line 1: "));
  EXPECT_THAT(ErrorOf("{\"features\": [1], \"label\": 1.5}\n"), HasSubstr("whole number or text"));
  EXPECT_THAT(ErrorOf("{\"features\": [1], \"label\": 1, \"split\": \"TEST\"}\n"),
              HasSubstr("expected TRAIN or HELD_OUT"));
  EXPECT_THAT(ErrorOf("{\"features\": \n"), HasSubstr("line 1"));
  EXPECT_EQ(ErrorOf("{\"features\": [1], \"label\": [1]}\n"),
            "line 1: label: expected a whole number or text, got array");
  RowReaderOptions json_lines;
  json_lines.format = RowReaderOptions::Format::kJsonLines;
  EXPECT_THAT(ErrorOf("[1]\n", json_lines), HasSubstr("line 1: expected an object"));
}

TEST(RowReaderTest, AnEmptyInputHasNoRows) { EXPECT_TRUE(ReadAll("").empty()); }

}  // namespace
}  // namespace engram::client
