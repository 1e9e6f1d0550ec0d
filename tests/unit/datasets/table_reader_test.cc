#include "client/datasets/table_reader.h"

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

using TableReaderTest = FileTest;

constexpr char kArff[] =
    "% electricity in small\n"
    "@relation elec\n\n"
    "@attribute date numeric\n"
    "@attribute day {1,2,3}\n"
    "@attribute holiday {no,yes}\n"
    "@ATTRIBUTE class {UP,DOWN}\n\n"
    "@data\n"
    "0.5,2,no,UP\r\n"
    "% half way\n"
    "-1e-3,3,yes,DOWN\n";

TEST_F(TableReaderTest, CsvKeepsTheOrderOfTimeAndTakesTheLastColumnAsTheClass) {
  for (const std::string& path : {WritePlain("a.csv", "x,y,class\n1,2.5,0\n-3,4e1,1\n"),
                                  WriteZipped("a.csv.gz", "x,y,class\r\n1,2.5,0\r\n-3,4e1,1")}) {
    const auto set = ReadTable(path);
    ASSERT_TRUE(set.ok()) << set.status();
    EXPECT_EQ(set->rows, 2);
    EXPECT_EQ(set->columns, 2);
    EXPECT_EQ(set->FeatureCount(), 2);
    EXPECT_THAT(set->values, ElementsAre(1.0f, 2.5f, -3.0f, 40.0f));
    EXPECT_THAT(set->labels, ElementsAre(0, 1));
    EXPECT_EQ(set->Values(1)[0], -3.0f);
  }
}

TEST_F(TableReaderTest, ArffTurnsNominalFeaturesIntoColumnsOfZeroAndOne) {
  const auto set = ReadTable(WritePlain("e.arff", kArff));
  ASSERT_TRUE(set.ok()) << set.status();
  EXPECT_EQ(set->columns, 5);
  EXPECT_THAT(set->values, ElementsAre(0.5f, 0, 1, 0, 0, -1e-3f, 0, 0, 1, 1));
  EXPECT_THAT(set->labels, ElementsAre(0, 1));
}

TEST_F(TableReaderTest, WhatCsvMayNotHoldIsRefusedByLine) {
  const auto refusal = [this](const std::string& text) {
    const absl::Status status = ReadCsvTable(WritePlain("bad.csv", text)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(status.message(), HasSubstr("bad.csv: line ")) << text;
    return std::string(status.message());
  };
  EXPECT_THAT(refusal(""), HasSubstr("expected a header"));
  EXPECT_THAT(refusal("a,b\n"), HasSubstr("expected rows, found none"));
  EXPECT_THAT(refusal("1,2\n1,0\n"), HasSubstr("names of the columns, got \"1\""));
  EXPECT_THAT(refusal("a\n1\n"), HasSubstr("a feature and a class"));
  EXPECT_THAT(refusal("a,,b\n1,2,0\n"), HasSubstr("name of a column"));
  EXPECT_THAT(refusal("a,b\n1,0\n1,2,0\n"), HasSubstr("line 3: expected 2 values, got 3"));
  EXPECT_THAT(refusal("a,b\nx,0\n"), HasSubstr("line 2: a: expected a finite number, got \"x\""));
  EXPECT_THAT(refusal("a,b\nnan,0\n"), HasSubstr("finite"));
  EXPECT_THAT(refusal("a,b\n?,0\n"), HasSubstr("got \"?\""));
  EXPECT_THAT(refusal("a,b\n1e99,0\n"), HasSubstr("finite"));
  EXPECT_THAT(refusal("a,b\n1,0.5\n"), HasSubstr("b: expected a class 0 to 255, got \"0.5\""));
  EXPECT_THAT(refusal("a,b\n1,256\n"), HasSubstr("got \"256\""));
  EXPECT_THAT(refusal("a,b\n% no comment here\n1,0\n"), HasSubstr("line 2"));
}

TEST_F(TableReaderTest, WhatArffMayNotHoldIsRefusedByLine) {
  const auto refusal = [this](const std::string& text) {
    const absl::Status status = ReadArffTable(WritePlain("bad.arff", text)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    return std::string(status.message());
  };
  const std::string good = "@attribute a numeric\n@attribute c {x,y}\n";
  EXPECT_THAT(refusal(good), HasSubstr("expected @data, found the end"));
  EXPECT_THAT(refusal(good + "1,x\n"), HasSubstr("line 3: expected @attribute or @data"));
  EXPECT_THAT(refusal("@attribute a string\n"), HasSubstr("a: expected numeric"));
  EXPECT_THAT(refusal("@attribute a {x}\n"), HasSubstr("expected 2 to 256 values, got 1"));
  EXPECT_THAT(refusal("@attribute c {x,y}\n@attribute a numeric\n@data\nx,1\n"),
              HasSubstr("a: expected a nominal class"));
  EXPECT_THAT(refusal(good + "@data\n1,z\n"),
              HasSubstr("line 4: c: expected one of x, y; got \"z\""));
  EXPECT_THAT(refusal(good + "@data\n"), HasSubstr("found none"));
  EXPECT_THAT(refusal("@data\n1,x\n"), HasSubstr("a feature and a class"));
}

TEST_F(TableReaderTest, AbsentAndDamagedFilesAreTold) {
  EXPECT_EQ(ReadTable(Path("none.csv")).status().code(), absl::StatusCode::kNotFound);
  const std::string path = WriteZipped("cut.csv.gz", "a,b\n" + std::string(4000, '\n') + "1,0\n");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 6);
  EXPECT_EQ(ReadTable(path).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace engram::datasets
