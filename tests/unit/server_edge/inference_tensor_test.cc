// Tensors of any datatype as features, and a request as a plan. Pure.
#include "server/inference_tensor.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/feature_values.h"
#include "server/inference_request.h"

namespace engram::testing {
namespace {

using inference::ModelInferRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const server::InputRules kRules{"digits", 2, 1024};

template <typename T>
std::string Raw(const std::vector<T>& elements) {
  return std::string(reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(T));
}
std::string RawTexts(const std::vector<std::string>& texts) {
  std::string raw;
  for (const std::string& text : texts) {
    raw += Raw(std::vector<uint32_t>{static_cast<uint32_t>(text.size())}) + text;
  }
  return raw;
}

ModelInferRequest::InferInputTensor Tensor(const std::string& datatype,
                                           const std::vector<int64_t>& shape = {2, 2}) {
  ModelInferRequest::InferInputTensor tensor;
  tensor.set_name("features");
  tensor.set_datatype(datatype);
  for (const int64_t dimension : shape) tensor.add_shape(dimension);
  return tensor;
}

absl::StatusOr<std::vector<float>> TensorValues(ModelInferRequest::InferInputTensor tensor,
                                                std::string* raw) {
  v1::Features features;
  const absl::Status read = server::ReadInputTensor(0, &tensor, raw, kRules, &features);
  if (!read.ok()) return read;
  std::vector<float> values(server::ValueCount(features));
  server::CopyValues(features, values.data());
  return values;
}
absl::StatusOr<std::vector<float>> FromRaw(const std::string& datatype, std::string raw) {
  return TensorValues(Tensor(datatype), &raw);
}
std::string RefusedTensor(const absl::StatusOr<std::vector<float>>& values) {
  EXPECT_TRUE(absl::IsInvalidArgument(values.status())) << values.status();
  return std::string(values.status().message());
}

TEST(InferenceTensorTest, EveryRawDatatypeBecomesFloats) {
  const std::vector<float> expected = {1, 0, 1, 0};
  for (const auto& [datatype, raw] :
       std::map<std::string, std::string>{{"FP32", Raw<float>({1, 0, 1, 0})},
                                          {"FP64", Raw<double>({1, 0, 1, 0})},
                                          {"FP16", Raw<uint16_t>({0x3c00, 0, 0x3c00, 0})},
                                          {"BF16", Raw<uint16_t>({0x3f80, 0, 0x3f80, 0})},
                                          {"BOOL", Raw<uint8_t>({1, 0, 1, 0})},
                                          {"UINT8", Raw<uint8_t>({1, 0, 1, 0})},
                                          {"UINT16", Raw<uint16_t>({1, 0, 1, 0})},
                                          {"UINT32", Raw<uint32_t>({1, 0, 1, 0})},
                                          {"UINT64", Raw<uint64_t>({1, 0, 1, 0})},
                                          {"INT8", Raw<int8_t>({1, 0, 1, 0})},
                                          {"INT16", Raw<int16_t>({1, 0, 1, 0})},
                                          {"INT32", Raw<int32_t>({1, 0, 1, 0})},
                                          {"INT64", Raw<int64_t>({1, 0, 1, 0})},
                                          {"BYTES", RawTexts({"1", "0.0", "1e0", "-0"})}}) {
    const auto values = FromRaw(datatype, raw);
    ASSERT_TRUE(values.ok()) << datatype << ": " << values.status();
    EXPECT_EQ(*values, expected) << datatype;
    EXPECT_THAT(RefusedTensor(FromRaw(datatype, raw.substr(1))),
                HasSubstr("raw_input_contents[0]"));
    EXPECT_THAT(RefusedTensor(FromRaw(datatype, raw + raw)), HasSubstr("raw_input_contents[0]"));
  }
}

TEST(InferenceTensorTest, TheEndsOfEachDatatypeKeepTheirValue) {
  EXPECT_THAT(*FromRaw("INT8", Raw<int8_t>({-128, 127, 0, -1})), ElementsAre(-128, 127, 0, -1));
  EXPECT_THAT(*FromRaw("UINT8", Raw<uint8_t>({255, 128, 0, 1})), ElementsAre(255, 128, 0, 1));
  EXPECT_THAT(*FromRaw("INT16", Raw<int16_t>({-32768, 32767, 0, 1})),
              ElementsAre(-32768, 32767, 0, 1));
  EXPECT_THAT(*FromRaw("UINT64", Raw<uint64_t>({UINT64_MAX, 0, 1, 2})),
              ElementsAre(18446744073709551616.0F, 0, 1, 2));
  EXPECT_THAT(*FromRaw("INT64", Raw<int64_t>({INT64_MIN, 16777217, 1, 2})),
              ElementsAre(-9223372036854775808.0F, 16777216.0F, 1, 2));
  // Largest, smallest normal, smallest subnormal, negative.
  EXPECT_THAT(*FromRaw("FP16", Raw<uint16_t>({0x7bff, 0x0400, 0x0001, 0xc000})),
              ElementsAre(65504.0F, std::ldexp(1.0F, -14), std::ldexp(1.0F, -24), -2.0F));
  const auto special = *FromRaw("FP16", Raw<uint16_t>({0x7c00, 0xfc00, 0x7e00, 0x8000}));
  EXPECT_TRUE(std::isinf(special[0]) && special[0] > 0);
  EXPECT_TRUE(std::isinf(special[1]) && special[1] < 0);
  EXPECT_TRUE(std::isnan(special[2]));
  EXPECT_TRUE(std::signbit(special[3]));
}

TEST(InferenceTensorTest, ValuesWithoutAFloatAreRefusedByPosition) {
  EXPECT_EQ(RefusedTensor(FromRaw("FP64", Raw<double>({1, 2, 1e300, 3}))),
            "features[2]: 1e+300 does not fit float32");
  EXPECT_EQ(RefusedTensor(FromRaw("BOOL", Raw<uint8_t>({1, 7, 0, 0}))),
            "features[1]: BOOL is 0 or 1, got 7");
  EXPECT_EQ(RefusedTensor(FromRaw("BYTES", RawTexts({"1", "2", "3", "vier"}))),
            "features[3]: \"vier\" is not a number in decimal text");
  EXPECT_EQ(RefusedTensor(FromRaw("BYTES", RawTexts({"1", "1e99", "3", "4"}))),
            "features[1]: 1e+99 does not fit float32");
}

TEST(InferenceTensorTest, RawTextsThatEndTooSoonAreRefused) {
  const std::string whole = RawTexts({"1", "22", "3", "4"});
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_THAT(RefusedTensor(FromRaw("BYTES", whole.substr(0, length))),
                HasSubstr("raw_input_contents[0]"));
  }
  EXPECT_THAT(RefusedTensor(FromRaw("BYTES", std::string("\xff\xff\xff\xff", 4))),
              HasSubstr("element 0 has 4294967295 bytes, 0 follow"));
}

TEST(InferenceTensorTest, EveryTypedDatatypeBecomesFloats) {
  auto tensor = Tensor("FP32", {1, 2});
  auto* contents = tensor.mutable_contents();
  contents->add_fp32_contents(1.5F);
  contents->add_fp32_contents(-2);
  EXPECT_THAT(*TensorValues(tensor, nullptr), ElementsAre(1.5F, -2));
  const auto with = [&](const std::string& datatype, auto add) {
    tensor = Tensor(datatype, {1, 2});
    contents = tensor.mutable_contents();
    add(1);
    add(0);
    EXPECT_THAT(*TensorValues(tensor, nullptr), ElementsAre(1, 0)) << datatype;
    add(0);
    EXPECT_THAT(RefusedTensor(TensorValues(tensor, nullptr)),
                HasSubstr("expected 2 elements, got 3"));
  };
  with("FP64", [&](int value) { contents->add_fp64_contents(value); });
  with("BOOL", [&](int value) { contents->add_bool_contents(value != 0); });
  for (const char* datatype : {"INT8", "INT16", "INT32"}) {
    with(datatype, [&](int value) { contents->add_int_contents(value); });
  }
  for (const char* datatype : {"UINT8", "UINT16", "UINT32"}) {
    with(datatype, [&](int value) { contents->add_uint_contents(value); });
  }
  with("INT64", [&](int value) { contents->add_int64_contents(value); });
  with("UINT64", [&](int value) { contents->add_uint64_contents(value); });
  with("BYTES", [&](int value) { contents->add_bytes_contents(std::to_string(value)); });
}

TEST(InferenceTensorTest, SmallIntegersAreHeldToTheirRange) {
  struct Case {
    const char* datatype;
    int64_t inside;
    int64_t outside;
  };
  for (const Case& each : {Case{"INT8", -128, -129}, Case{"INT8", 127, 128},
                           Case{"INT16", -32768, -32769}, Case{"INT16", 32767, 32768}}) {
    auto tensor = Tensor(each.datatype, {2});
    tensor.mutable_contents()->add_int_contents(each.inside);
    tensor.mutable_contents()->add_int_contents(each.inside);
    EXPECT_TRUE(TensorValues(tensor, nullptr).ok());
    tensor.mutable_contents()->set_int_contents(1, each.outside);
    EXPECT_THAT(RefusedTensor(TensorValues(tensor, nullptr)),
                HasSubstr("features[1]: " + std::string(each.datatype) + " is in ["));
  }
  auto tensor = Tensor("UINT8", {2});
  tensor.mutable_contents()->add_uint_contents(255);
  tensor.mutable_contents()->add_uint_contents(256);
  EXPECT_EQ(RefusedTensor(TensorValues(tensor, nullptr)),
            "features[1]: UINT8 is in [0,255], got 256");
}

TEST(InferenceTensorTest, ContentsOfAnotherDatatypeOrPlaceAreRefused) {
  auto tensor = Tensor("FP32", {2});
  tensor.mutable_contents()->add_int_contents(1);
  tensor.mutable_contents()->add_int_contents(1);
  EXPECT_EQ(RefusedTensor(TensorValues(tensor, nullptr)),
            "inputs[0].contents.int_contents: FP32 goes into fp32_contents");
  std::string raw = Raw<float>({1, 2});
  EXPECT_EQ(RefusedTensor(TensorValues(tensor, &raw)),
            "inputs[0].contents: not beside raw_input_contents");
  EXPECT_EQ(RefusedTensor(TensorValues(Tensor("FP16", {2}), nullptr)),
            "inputs[0].contents: FP16 has none: send it raw (in JSON as binary data)");
  EXPECT_EQ(RefusedTensor(TensorValues(Tensor("FP8", {2}), &raw)),
            "inputs[0].datatype: unknown datatype \"FP8\"");
  EXPECT_THAT(RefusedTensor(TensorValues(Tensor("FP32", {2}), nullptr)),
              HasSubstr("expected 2 elements, got 0"));
  tensor = Tensor("FP32", {2});
  (*tensor.mutable_parameters())["shared_memory_region"].set_string_param("r");
  EXPECT_THAT(RefusedTensor(TensorValues(tensor, nullptr)),
              HasSubstr("shared memory is not supported"));
}

TEST(InferenceTensorTest, RowsFollowFromTheShape) {
  const auto rows = [](const std::vector<int64_t>& shape, int64_t features) {
    const auto tensor = Tensor("FP32", shape);
    return server::RowsOfShape(tensor.shape(), {"digits", features, 1024});
  };
  EXPECT_EQ(*rows({3, 4}, 4), 3);
  EXPECT_EQ(*rows({4}, 4), 1);
  EXPECT_EQ(*rows({3, 2, 2, 1}, 4), 3);
  EXPECT_EQ(*rows({5}, 1), 5);
  EXPECT_EQ(*rows({1024, 4}, 4), 1024);
  EXPECT_EQ(rows({1025, 4}, 4).status().message(), "batch 1025 exceeds 1024");
  const int64_t huge = int64_t{1} << 62;
  for (const std::vector<int64_t>& shape :
       std::vector<std::vector<int64_t>>{{},
                                         {3},
                                         {4, 3},
                                         {0, 4},
                                         {-1, 4},
                                         {1, -4},
                                         {1, huge, huge},
                                         {2, 2},
                                         {1, 4, 1, 1, 1, 1, 1, 1, 1}}) {
    EXPECT_THAT(std::string(rows(shape, 4).status().message()),
                HasSubstr("expected [rows,4] (model \"digits\"), got ["));
  }
}

// --- the plan ---

class InferencePlanTest : public ::testing::Test {
 protected:
  InferencePlanTest() {
    request_.set_model_name("digits");
    *request_.add_inputs() = Tensor("FP32", {1, 2});
    *request_.add_raw_input_contents() = Raw<float>({1, 2});
  }
  server::InferPlan Plan() {
    const auto plan = server::PlanInference(request_, kRules);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? *plan : server::InferPlan();
  }
  std::string Refused() {
    const auto plan = server::PlanInference(request_, kRules);
    EXPECT_TRUE(absl::IsInvalidArgument(plan.status())) << plan.status();
    return std::string(plan.status().message());
  }
  ModelInferRequest request_;
};

TEST_F(InferencePlanTest, WithoutOutputsBothAreMeant) {
  request_.set_id("a-1");
  request_.set_model_version("12");
  const server::InferPlan plan = Plan();
  EXPECT_EQ(plan.id, "a-1");
  EXPECT_EQ(plan.version, "12");
  EXPECT_TRUE(plan.raw);
  ASSERT_EQ(plan.outputs.size(), 2u);
  EXPECT_FALSE(plan.outputs[0].scores);
  EXPECT_TRUE(plan.outputs[1].scores);
  EXPECT_EQ(plan.predict.features().dense(), Raw<float>({1, 2}));
}

TEST_F(InferencePlanTest, OutputsComeInTheOrderAsked) {
  auto* scores = request_.add_outputs();
  scores->set_name("scores");
  (*scores->mutable_parameters())["classification"].set_int64_param(3);
  request_.add_outputs()->set_name("label");
  const server::InferPlan plan = Plan();
  ASSERT_EQ(plan.outputs.size(), 2u);
  EXPECT_EQ(plan.outputs[0].best, 3);
  EXPECT_FALSE(plan.outputs[1].scores);
  (*scores->mutable_parameters())["classification"].set_int64_param(0);
  EXPECT_THAT(Refused(), HasSubstr("outputs[0].parameters.classification: must be an integer"));
  (*scores->mutable_parameters())["classification"].set_string_param("3");
  EXPECT_THAT(Refused(), HasSubstr("must be an integer of at least 1"));
}

TEST_F(InferencePlanTest, WrongOutputsAreNamed) {
  request_.add_outputs()->set_name("logits");
  EXPECT_EQ(Refused(),
            "outputs[0].name: unknown output \"logits\"; there is: \"label\", \"scores\"");
  request_.mutable_outputs(0)->set_name("label");
  request_.add_outputs()->set_name("label");
  EXPECT_EQ(Refused(), "outputs[1].name: is asked for twice");
  auto* parameters = request_.mutable_outputs(0)->mutable_parameters();
  (*parameters)["classification"].set_int64_param(1);
  EXPECT_THAT(Refused(), HasSubstr("belongs to \"scores\""));
  parameters->clear();
  (*parameters)["shared_memory_region"].set_string_param("r");
  EXPECT_THAT(Refused(), HasSubstr("shared memory is not supported"));
}

TEST_F(InferencePlanTest, WrongInputsAreNamed) {
  request_.mutable_inputs(0)->set_name("x");
  EXPECT_EQ(Refused(), "inputs[0].name: a model has one input, \"features\", got \"x\"");
  request_.mutable_inputs(0)->set_name("features");
  *request_.add_raw_input_contents() = "more";
  EXPECT_EQ(Refused(), "raw_input_contents: expected one an input (1), got 2");
  *request_.add_inputs() = Tensor("FP32", {1, 2});
  EXPECT_THAT(Refused(), HasSubstr("inputs[1].name: a model has one input"));
  request_.clear_inputs();
  request_.clear_raw_input_contents();
  EXPECT_EQ(Refused(), "inputs: \"features\" is required");
}

TEST_F(InferencePlanTest, ParametersOfOursAreReadAndOthersLeft) {
  auto& parameters = *request_.mutable_parameters();
  parameters["task"].set_string_param("task-2");
  parameters["min_applied_sequence"].set_int64_param(9);
  parameters["priority"].set_int64_param(1);
  EXPECT_EQ(Plan().predict.task(), "task-2");
  EXPECT_EQ(Plan().predict.min_applied_sequence(), 9u);
  parameters["min_applied_sequence"].set_uint64_param(UINT64_MAX);
  EXPECT_EQ(Plan().predict.min_applied_sequence(), UINT64_MAX);
  parameters["min_applied_sequence"].set_int64_param(-1);
  EXPECT_THAT(Refused(), HasSubstr("parameters.min_applied_sequence: must be an integer"));
  parameters["min_applied_sequence"].set_string_param("9");
  EXPECT_THAT(Refused(), HasSubstr("parameters.min_applied_sequence"));
  parameters["task"].set_int64_param(2);
  EXPECT_EQ(Refused(), "parameters.task: must be a string");
}

TEST_F(InferencePlanTest, AScaleBelongsToBytes) {
  auto& scale = (*request_.mutable_parameters())["uint8_scale"];
  scale.set_double_param(1.0 / 255);
  EXPECT_EQ(Refused(), "parameters.uint8_scale: belongs to an input of UINT8");
  request_.mutable_inputs(0)->set_datatype("UINT8");
  request_.set_raw_input_contents(0, "\x01\xff");
  const v1::Features raw = Plan().predict.features();
  EXPECT_EQ(raw.dense_uint8(), "\x01\xff");
  EXPECT_EQ(raw.uint8_scale(), 1.0F / 255);
  request_.clear_raw_input_contents();
  request_.mutable_inputs(0)->mutable_contents()->add_uint_contents(1);
  request_.mutable_inputs(0)->mutable_contents()->add_uint_contents(255);
  EXPECT_EQ(Plan().predict.features().SerializeAsString(), raw.SerializeAsString());
  scale.set_int64_param(2);
  EXPECT_EQ(Plan().predict.features().uint8_scale(), 2);
  scale.set_string_param("2");
  EXPECT_EQ(Refused(), "parameters.uint8_scale: must be a number");
}

TEST_F(InferencePlanTest, VersionsAreDecimal) {
  for (const char* version : {"v1", "-1", "+1", " 1", "1.0", "0x1", "18446744073709551616"}) {
    request_.set_model_version(version);
    EXPECT_THAT(Refused(), HasSubstr("model_version: must be a model version in decimal"));
  }
  request_.set_model_version("18446744073709551615");
  EXPECT_EQ(Plan().version, "18446744073709551615");
}

}  // namespace
}  // namespace engram::testing
