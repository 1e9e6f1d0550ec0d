#include "client/json.h"

#include "client/examples.h"
#include "engram/v1/evaluation.pb.h"
#include "engram/v1/model.pb.h"
#include "engram/v1/prediction.pb.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

TEST(JsonTest, NumbersStayNumbersAndNamesKeepUnderscores) {
  v1::Model model;
  model.set_name("digits");
  model.set_version(18446744073709551615u);
  model.set_paused(true);
  model.set_state(v1::Model::SERVING);
  *model.add_classes() = NumberLabel(3);
  *model.add_classes() = TextLabel("cat");
  const Json json = ToJson(model);
  EXPECT_EQ(json["version"].dump(), "18446744073709551615");
  EXPECT_EQ(json["durable_sequence"], 0);
  EXPECT_EQ(json["paused"], true);
  EXPECT_EQ(json["state"], "SERVING");
  EXPECT_EQ(json["classes"].dump(), "[3,\"cat\"]");
  EXPECT_EQ(json["tasks"].dump(), "[]");
}

TEST(JsonTest, AbsentOptionalsAndMessagesAreLeftOut) {
  v1::AccuracyRow::Cell cell;
  EXPECT_FALSE(ToJson(cell).contains("accuracy"));
  cell.set_accuracy(0.0);
  EXPECT_EQ(ToJson(cell)["accuracy"], 0.0);
  EXPECT_FALSE(ToJson(v1::Model()).contains("spec"));
}

TEST(JsonTest, FloatsAreTheirShortestDecimal) {
  v1::RowPrediction row;
  row.add_scores(0.1f);
  EXPECT_EQ(ToJson(row)["scores"].dump(), "[0.1]");
}

TEST(JsonTest, BytesAreBase64) {
  v1::Features features;
  features.set_dense(std::string("\x00\xff", 2));
  EXPECT_EQ(ToJson(features)["dense"], "AP8=");
}

TEST(JsonTest, KeepsTheOrderOfTheProtoFile) {
  v1::Summary summary;
  summary.set_forgetting(0.25);
  summary.set_acc(0.5);
  EXPECT_EQ(ToJson(summary).dump(), "{\"acc\":0.5,\"forgetting\":0.25}");
}

}  // namespace
}  // namespace engram::client
