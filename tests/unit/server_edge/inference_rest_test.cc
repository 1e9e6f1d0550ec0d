// The Open Inference Protocol's HTTP paths without a socket, before the real services.
#include "server/inference_rest.h"

#include <map>

#include "absl/strings/numbers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing/process/toy_examples.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

constexpr char kInfer[] = "/v2/models/digits/infer";
constexpr char kRow[] = R"({"id":"a","inputs":[{"name":"features","shape":[1,4],"datatype":"FP32",)"
                        R"("data":[0.25,0.5,0.125,0]}]})";

class InferenceRestTest : public ::testing::Test {
 protected:
  InferenceRestTest() : calls_(rig_.server().OwnChannel()), rest_(&calls_) {
    rig_.AddDigits()->Apply(7, 3);
    rig_.digits()->Keep(3, 2);
  }

  using Headers = std::map<std::string, std::string>;
  server::HttpReply Ask(const std::string& verb, const std::string& path,
                        const std::string& body = "", const Headers& headers = {}) {
    size_t read = 0;
    server::HttpRequest request;
    request.verb = verb;
    request.path = path;
    request.header = [&headers](const char* name) -> absl::optional<absl::string_view> {
      const auto found = headers.find(name);
      if (found == headers.end()) return absl::nullopt;
      return absl::string_view(found->second);
    };
    request.read = [&](char* into, size_t bytes_max) -> absl::StatusOr<size_t> {
      const size_t some = body.copy(into, std::min<size_t>(bytes_max, 5), read);
      read += some;
      return some;
    };
    return rest_.Answer(request);
  }
  json Got(const std::string& path) {
    const server::HttpReply reply = Ask("GET", path);
    EXPECT_EQ(reply.code, 200) << path << ": " << reply.body;
    EXPECT_EQ(reply.type, "application/json");
    return json::parse(reply.body);
  }
  void ExpectError(const server::HttpReply& reply, int code, const std::string& text) {
    EXPECT_EQ(reply.code, code) << reply.body;
    const json error = json::parse(reply.body);
    EXPECT_EQ(error.size(), 1u);
    EXPECT_THAT(error.at("error").get<std::string>(), HasSubstr(text));
  }

  EdgeRig rig_;
  const server::OwnCalls calls_;
  const server::InferenceRest rest_;
};

TEST_F(InferenceRestTest, EveryPathIsItsCall) {
  EXPECT_EQ(Got("/v2").at("name"), "engram");
  EXPECT_EQ(Got("/v2/health/live"), json::parse(R"({"live":true})"));
  EXPECT_EQ(Got("/v2/health/ready"), json::parse(R"({"ready":true})"));
  EXPECT_EQ(Got("/v2/models/digits").at("inputs")[0].at("shape"), json::parse("[-1,4]"));
  EXPECT_EQ(Got("/v2/models/digits/versions/3").at("outputs")[1].at("shape"),
            json::parse("[-1,2]"));
  EXPECT_EQ(Got("/v2/models/digits/ready").at("ready"), true);
  EXPECT_EQ(Got("/v2/models/digits/versions/3/ready").at("ready"), true);
  EXPECT_EQ(Got("/v2/models/digits/config").at("max_batch_size"), 1024);
  EXPECT_EQ(Got("/v2/models/digits/stats").at("model_stats")[0].at("name"), "digits");
  EXPECT_EQ(Got("/v2/models/stats").at("model_stats").size(), 1u);
  const server::HttpReply index = Ask("POST", "/v2/repository/index", R"({"ready":true})");
  EXPECT_EQ(json::parse(index.body)[0].at("state"), "READY");
}

TEST_F(InferenceRestTest, OtherPathsAndVerbsAreErrors) {
  for (const char* path :
       {"/v2/", "/v2/models", "/v2/models/", "/v2/models//infer", "/v2/models/digits/versions",
        "/v2/models/digits/versions/", "/v2/models/digits/versions/7/ready/now",
        "/v2/models/digits/nothing", "/v2/health", "/v2/repository"}) {
    ExpectError(Ask("GET", path), 404, "path \"/v2");
  }
  ExpectError(Ask("GET", kInfer), 405, "takes POST, not");
  ExpectError(Ask("POST", "/v2/models/digits", "{}"), 405, "takes GET, not");
  ExpectError(Ask("GET", "/v2/models/letters"), 404, "not found");
  ExpectError(Ask("GET", "/v2/models/digits/versions/4"), 404, "not found");
  ExpectError(Ask("GET", "/v2/models/digits/versions/four"), 400, "must be a model version");
}

TEST_F(InferenceRestTest, JsonIsAnsweredInJson) {
  const server::HttpReply reply = Ask("POST", kInfer, kRow);
  ASSERT_EQ(reply.code, 200) << reply.body;
  EXPECT_EQ(reply.body,
            R"({"model_name":"digits","model_version":"7","id":"a","outputs":[)"
            R"({"name":"label","datatype":"INT64","shape":[1],"data":[101]},)"
            R"({"name":"scores","datatype":"FP32","shape":[1,3],"data":[0.25,0.5,0.125]}]})");
  const server::HttpReply old = Ask("POST", "/v2/models/digits/versions/3/infer", kRow);
  EXPECT_EQ(json::parse(old.body).at("model_version"), "3");
}

TEST_F(InferenceRestTest, BinaryIsAnsweredBehindTheJson) {
  const std::string head = R"({"inputs":[{"name":"features","shape":[1,4],"datatype":"FP32",)"
                           R"("parameters":{"binary_data_size":16}}],)"
                           R"("outputs":[{"name":"scores","parameters":{"binary_data":true}}]})";
  const server::HttpReply reply =
      Ask("POST", kInfer, head + DenseBytes({0.25F, 0.5F, 0.125F, 0}),
          {{"Inference-Header-Content-Length", std::to_string(head.size())}});
  ASSERT_EQ(reply.code, 200) << reply.body;
  EXPECT_EQ(reply.type, "application/octet-stream");
  ASSERT_EQ(reply.headers.size(), 1u);
  EXPECT_EQ(reply.headers[0].first, "Inference-Header-Content-Length");
  size_t json_bytes = 0;
  ASSERT_TRUE(absl::SimpleAtoi(reply.headers[0].second, &json_bytes));
  EXPECT_EQ(reply.body.substr(json_bytes), DenseBytes({0.25F, 0.5F, 0.125F}));
  EXPECT_EQ(json::parse(reply.body.substr(0, json_bytes))
                .at("outputs")[0]
                .at("parameters")
                .at("binary_data_size"),
            12);
}

TEST_F(InferenceRestTest, BadBodiesAndHeadersAreErrors) {
  ExpectError(Ask("POST", kInfer, "{"), 400, "is not JSON");
  ExpectError(Ask("POST", kInfer, "{}"), 400, "\"features\" is required");
  ExpectError(Ask("POST", kInfer, kRow, {{"Content-Encoding", "gzip"}}), 400,
              "send the body as it is");
  ExpectError(Ask("POST", kInfer, kRow, {{"Inference-Header-Content-Length", "many"}}), 400,
              "must be a number of bytes");
  ExpectError(Ask("POST", kInfer, kRow, {{"Inference-Header-Content-Length", "9999"}}), 400,
              "the body has");
  ExpectError(Ask("POST", "/v2/repository/index", "[]"), 400, "");
}

TEST_F(InferenceRestTest, ADrainIsNotReadyAndStillLive) {
  rig_.edge().gate->Drain();
  const server::HttpReply ready = Ask("GET", "/v2/health/ready");
  EXPECT_EQ(ready.code, 503);
  EXPECT_EQ(json::parse(ready.body), json::parse(R"({"ready":false})"));
  EXPECT_EQ(Got("/v2/health/live").at("live"), true);
  ExpectError(Ask("POST", kInfer, kRow), 503, "shutting down");
}

}  // namespace
}  // namespace engram::testing
