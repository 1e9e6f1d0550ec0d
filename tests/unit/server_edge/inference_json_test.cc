// JSON of the Open Inference Protocol against its messages, and the paths that carry it. Pure.
#include "server/inference_json.h"

#include <cstring>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace engram::testing {
namespace {

using server::InferQuestion;
using server::ParseInferBody;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Floats(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * 4);
}

InferQuestion Parsed(const std::string& body, absl::optional<size_t> json_bytes = absl::nullopt) {
  const auto question = ParseInferBody(body, json_bytes);
  EXPECT_TRUE(question.ok()) << question.status() << " in " << body;
  return question.ok() ? *question : InferQuestion();
}

std::string RefusedBody(const std::string& body,
                        absl::optional<size_t> json_bytes = absl::nullopt) {
  const auto question = ParseInferBody(body, json_bytes);
  EXPECT_TRUE(absl::IsInvalidArgument(question.status())) << question.status() << body;
  return std::string(question.status().message());
}

std::string Input(const std::string& datatype, const std::string& elements) {
  return R"({"inputs":[{"name":"features","shape":[2,2],"datatype":")" + datatype + R"(","data":)" +
         elements + "}]}";
}

TEST(InferenceJsonTest, FlatAndNestedArraysAreTheSame) {
  for (const char* elements : {"[1,2,3,4]", "[[1,2],[3,4]]", "[[[1],[2]],[[3],[4]]]"}) {
    const auto tensor = Parsed(Input("FP32", elements)).request.inputs(0);
    EXPECT_EQ(tensor.name(), "features");
    EXPECT_THAT(tensor.shape(), ElementsAre(2, 2));
    EXPECT_THAT(tensor.contents().fp32_contents(), ElementsAre(1, 2, 3, 4)) << elements;
  }
}

TEST(InferenceJsonTest, EveryDatatypeGoesIntoItsField) {
  const auto contents = [](const std::string& datatype, const std::string& elements) {
    return Parsed(Input(datatype, elements)).request.inputs(0).contents();
  };
  EXPECT_THAT(contents("FP64", "[1.5,-2,1e300]").fp64_contents(), ElementsAre(1.5, -2, 1e300));
  EXPECT_THAT(contents("BOOL", "[true,false,1,0]").bool_contents(),
              ElementsAre(true, false, true, false));
  EXPECT_THAT(contents("INT8", "[-128,127]").int_contents(), ElementsAre(-128, 127));
  EXPECT_THAT(contents("INT32", "[-2147483648,2147483647]").int_contents(),
              ElementsAre(std::numeric_limits<int32_t>::min(), 2147483647));
  EXPECT_THAT(contents("UINT16", "[0,65535]").uint_contents(), ElementsAre(0, 65535));
  EXPECT_THAT(contents("INT64", "[-9223372036854775808]").int64_contents(),
              ElementsAre(std::numeric_limits<int64_t>::min()));
  EXPECT_THAT(contents("UINT64", "[18446744073709551615]").uint64_contents(),
              ElementsAre(UINT64_MAX));
  EXPECT_THAT(contents("BYTES", R"(["1.5","-2"])").bytes_contents(), ElementsAre("1.5", "-2"));
}

TEST(InferenceJsonTest, ElementsThatTheDatatypeHasNotAreNamed) {
  EXPECT_EQ(RefusedBody(Input("FP32", "[1,\"2\"]")), "inputs[0].data[1]: \\\"2\\\" is no FP32");
  EXPECT_EQ(RefusedBody(Input("FP32", "[[1,2],[3,1e39]]")),
            "inputs[0].data[1][1]: 1e+39 is no FP32");
  EXPECT_EQ(RefusedBody(Input("INT32", "[1.5]")), "inputs[0].data[0]: 1.5 is no INT32");
  EXPECT_EQ(RefusedBody(Input("INT32", "[2147483648]")),
            "inputs[0].data[0]: 2147483648 is no INT32");
  EXPECT_EQ(RefusedBody(Input("UINT8", "[-1]")), "inputs[0].data[0]: -1 is no UINT8");
  EXPECT_EQ(RefusedBody(Input("INT64", "[9223372036854775808]")),
            "inputs[0].data[0]: 9223372036854775808 is no INT64");
  EXPECT_EQ(RefusedBody(Input("BOOL", "[2]")), "inputs[0].data[0]: 2 is no BOOL");
  EXPECT_EQ(RefusedBody(Input("BYTES", "[1]")), "inputs[0].data[0]: 1 is no BYTES");
  EXPECT_EQ(RefusedBody(Input("FP32", "[null]")), "inputs[0].data[0]: null is no FP32");
  EXPECT_EQ(RefusedBody(Input("FP32", "[{\"a\":1}]")), "inputs[0].data[0]: object is no FP32");
  EXPECT_EQ(RefusedBody(Input("FP16", "[1]")), "inputs[0].data: FP16 goes as binary data");
}

TEST(InferenceJsonTest, BodiesOfAnotherFormAreRefused) {
  EXPECT_EQ(RefusedBody(""), "body: is not JSON");
  EXPECT_EQ(RefusedBody("{"), "body: is not JSON");
  EXPECT_EQ(RefusedBody("{\"id\":NaN}"), "body: is not JSON");
  EXPECT_EQ(RefusedBody("[1]"), "body: is not an object of JSON");
  EXPECT_EQ(RefusedBody(R"({"id":1})"), "id: must be a string");
  EXPECT_EQ(RefusedBody(R"({"inputs":{}})"), "inputs: must be an array");
  EXPECT_EQ(RefusedBody(R"({"inputs":[1]})"), "inputs[0]: must be an object");
  EXPECT_EQ(RefusedBody(R"({"inputs":[{}]})"), "inputs[0].shape: must be an array of integers");
  EXPECT_EQ(RefusedBody(R"({"inputs":[{"shape":[1.5]}]})"),
            "inputs[0].shape: must be an array of integers");
  EXPECT_EQ(RefusedBody(R"({"inputs":[{"name":7,"shape":[1]}]})"),
            "inputs[0].name: must be a string");
  EXPECT_EQ(RefusedBody(R"({"inputs":[{"shape":[1],"data":1}]})"),
            "inputs[0].data: must be an array");
  EXPECT_EQ(RefusedBody(R"({"parameters":[]})"), "parameters: must be an object");
  EXPECT_EQ(RefusedBody(R"({"parameters":{"task":{}}})"),
            "parameters.task: must be a boolean, a number or a string");
  EXPECT_EQ(RefusedBody(R"({"parameters":{"binary_data_output":1}})"),
            "parameters.binary_data_output: must be a boolean");
  EXPECT_EQ(RefusedBody(R"({"outputs":["label"]})"), "outputs[0]: must be an object");
}

TEST(InferenceJsonTest, DepthAndNumberOfValuesAreBounded) {
  const std::string open(9, '['), close(9, ']');
  EXPECT_THAT(RefusedBody(Input("FP32", open + "1" + close)), HasSubstr("nest at most 8 deep"));
  const std::string deep(server::kJsonValuesMax - 100, '[');
  EXPECT_EQ(RefusedBody(deep), "body: is not JSON");
  // Deep, closed, and inside what an error message would like to show.
  EXPECT_EQ(RefusedBody(Input(
                "FP32", "[{\"a\":" + std::string(300000, '[') + std::string(300000, ']') + "}]")),
            "inputs[0].data[0]: object is no FP32");
  std::string many = "[0";
  for (size_t i = 0; i < server::kJsonValuesMax; ++i) many += ",0";
  EXPECT_THAT(RefusedBody(Input("INT8", many + "]")), HasSubstr("send tensors as binary data"));
}

// Whoever may call, or not, may send it: the body is read before the caller is known.
TEST(InferenceJsonTest, AnObjectOfManyKeysIsReadInProportionToItsLength) {
  std::string parameters;
  for (int i = 0; i < 300000; ++i) {
    absl::StrAppend(&parameters, parameters.empty() ? "" : ",", "\"k", i, "\":1");
  }
  const absl::Time start = absl::Now();
  const InferQuestion question = Parsed(absl::StrCat("{\"parameters\":{", parameters, "}}"));
  EXPECT_EQ(question.request.parameters().size(), 300000u);
  EXPECT_LT(absl::Now() - start, absl::Minutes(1)) << "by search from the front: 15 minutes";
}

TEST(InferenceJsonTest, BinaryDataFollowsTheJson) {
  const std::string json = R"({"inputs":[{"name":"features","shape":[1,2],"datatype":"FP32",)"
                           R"("parameters":{"binary_data_size":8}}]})";
  const InferQuestion question = Parsed(json + Floats({1, 2}), json.size());
  ASSERT_EQ(question.request.raw_input_contents_size(), 1);
  EXPECT_EQ(question.request.raw_input_contents(0), Floats({1, 2}));
  EXPECT_FALSE(question.request.inputs(0).has_contents());
  EXPECT_EQ(question.request.inputs(0).parameters().size(), 0u) << "it is about the body";
  EXPECT_EQ(RefusedBody(json + Floats({1}), json.size()),
            "inputs[0].parameters.binary_data_size: 8 bytes, 4 follow the JSON");
  EXPECT_EQ(RefusedBody(json + Floats({1, 2, 3}), json.size()), "body: 4 bytes belong to no input");
  EXPECT_EQ(RefusedBody(json, json.size() + 1),
            "Inference-Header-Content-Length: " + std::to_string(json.size() + 1) +
                ", the body has " + std::to_string(json.size()) + " bytes");
  EXPECT_EQ(RefusedBody(R"({"inputs":[{"shape":[1],"parameters":{"binary_data_size":-1}}]})"),
            "inputs[0].parameters.binary_data_size: -1 bytes, 0 follow the JSON");
}

TEST(InferenceJsonTest, ParametersKeepTheirKind) {
  const InferQuestion question = Parsed(
      R"({"id":"x","parameters":{"task":"a","min_applied_sequence":18446744073709551615,)"
      R"("n":-3,"d":1.5,"b":true,"binary_data_output":true},)"
      R"("outputs":[{"name":"scores","parameters":{"classification":2,"binary_data":false}},)"
      R"({"name":"label"}]})");
  EXPECT_EQ(question.request.id(), "x");
  const auto& parameters = question.request.parameters();
  EXPECT_EQ(parameters.at("task").string_param(), "a");
  EXPECT_EQ(parameters.at("min_applied_sequence").uint64_param(), UINT64_MAX);
  EXPECT_EQ(parameters.at("n").int64_param(), -3);
  EXPECT_EQ(parameters.at("d").double_param(), 1.5);
  EXPECT_TRUE(parameters.at("b").bool_param());
  EXPECT_EQ(parameters.count("binary_data_output"), 0u);
  const auto& scores = question.request.outputs(0);
  EXPECT_EQ(scores.parameters().at("classification").int64_param(), 2);
  EXPECT_EQ(scores.parameters().count("binary_data"), 0u);
  EXPECT_FALSE(question.binary.Has("scores"));
  EXPECT_TRUE(question.binary.Has("label"));
}

// --- replies ---

inference::ModelInferResponse Response(bool raw) {
  inference::ModelInferResponse response;
  response.set_model_name("digits");
  response.set_model_version("7");
  response.set_id("a");
  auto* label = response.add_outputs();
  label->set_name("label");
  label->set_datatype("INT64");
  label->add_shape(1);
  auto* scores = response.add_outputs();
  scores->set_name("scores");
  scores->set_datatype("FP32");
  scores->add_shape(1);
  scores->add_shape(2);
  auto* best = response.add_outputs();
  best->set_name("best");
  best->set_datatype("BYTES");
  best->add_shape(1);
  const int64_t number = int64_t{1} << 60;
  if (raw) {
    response.add_raw_output_contents(std::string(reinterpret_cast<const char*>(&number), 8));
    response.add_raw_output_contents(Floats({0.25F, 0.75F}));
    response.add_raw_output_contents(std::string("\3\0\0\0a:1", 7));
  } else {
    label->mutable_contents()->add_int64_contents(number);
    scores->mutable_contents()->add_fp32_contents(0.25F);
    scores->mutable_contents()->add_fp32_contents(0.75F);
    best->mutable_contents()->add_bytes_contents("a:1");
  }
  return response;
}

TEST(InferenceJsonTest, TypedAndRawPrintTheSame) {
  for (const bool raw : {false, true}) {
    const server::InferAnswer plain = server::PrintInferBody(Response(raw), {});
    EXPECT_FALSE(plain.json_bytes.has_value());
    EXPECT_EQ(plain.body,
              R"({"model_name":"digits","model_version":"7","id":"a","outputs":[)"
              R"({"name":"label","datatype":"INT64","shape":[1],"data":[1152921504606846976]},)"
              R"({"name":"scores","datatype":"FP32","shape":[1,2],"data":[0.25,0.75]},)"
              R"({"name":"best","datatype":"BYTES","shape":[1],"data":["a:1"]}]})");
    server::BinaryOutputs binary;
    binary.unless_said = true;
    binary.said["label"] = false;
    const server::InferAnswer mixed = server::PrintInferBody(Response(raw), binary);
    ASSERT_TRUE(mixed.json_bytes.has_value());
    const auto json = nlohmann::json::parse(mixed.body.substr(0, *mixed.json_bytes));
    EXPECT_EQ(json["outputs"][0]["data"][0], int64_t{1} << 60);
    EXPECT_EQ(json["outputs"][1]["parameters"]["binary_data_size"], 8);
    EXPECT_EQ(json["outputs"][2]["parameters"]["binary_data_size"], 7);
    EXPECT_EQ(mixed.body.substr(*mixed.json_bytes),
              Floats({0.25F, 0.75F}) + std::string("\3\0\0\0a:1", 7));
  }
}

TEST(InferenceJsonTest, OtherRepliesHaveNumbersForNumbers) {
  inference::ModelConfig config;
  config.set_name("digits");
  config.add_input()->add_dims(4);
  config.mutable_input(0)->set_data_type(inference::TYPE_FP32);
  config.mutable_version_policy()->mutable_specific()->add_versions(int64_t{1} << 60);
  (*config.mutable_parameters())["head"].set_string_value("growing");
  const auto json = nlohmann::json::parse(server::PrintPlainJson(config));
  EXPECT_EQ(json["input"][0]["dims"][0], 4);
  EXPECT_EQ(json["input"][0]["data_type"], "TYPE_FP32");
  EXPECT_EQ(json["version_policy"]["specific"]["versions"][0], int64_t{1} << 60);
  EXPECT_EQ(json["parameters"]["head"]["string_value"], "growing");
  EXPECT_EQ(json["max_batch_size"], 0) << "zero values are printed";
  EXPECT_FALSE(json.contains("model_transaction_policy"));
  EXPECT_EQ(server::PrintInferError("no \"x\""), R"({"error":"no \"x\""})");
}

// Whatever the bytes, an answer: a question or INVALID_ARGUMENT.
TEST(InferenceJsonTest, MutatedBodiesAreAnswered) {
  const std::string seed =
      R"({"id":"a","inputs":[{"name":"features","shape":[1,2],"datatype":"INT8",)"
      R"("parameters":{"binary_data_size":2},"data":[[1,-2]]}],"outputs":[{"name":"scores",)"
      R"("parameters":{"classification":2,"binary_data":true}}]})";
  std::mt19937 random(7);
  int parsed = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string body = seed + "xy";
    for (int change = 0; change < 3; ++change) {
      const size_t at = random() % body.size();
      if (random() % 2 == 0) {
        body[at] = "{}[]\",:0-9eabt"[random() % 14];
      } else {
        body.erase(at, random() % 4);
      }
    }
    const auto question = ParseInferBody(body, std::min(body.size(), seed.size()));
    parsed += question.ok();
    ASSERT_TRUE(question.ok() || absl::IsInvalidArgument(question.status()));
  }
  EXPECT_GT(parsed, 0) << "mutations that leave nothing to read show nothing";
}

}  // namespace
}  // namespace engram::testing
