// REST without a socket: routes, JSON, lines to learn, and what keeps foreign pages out.
#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/errors.h"
#include "server/exporter.h"
#include "server/http_pages.h"
#include "server/inference_rest.h"
#include "server/rest_example.h"
#include "server/rest_gateway.h"
#include "server/rest_routes.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;

// A request with a body that comes in pieces of a few bytes.
struct Asked {
  Asked(std::string verb_asked, std::string path_asked, std::string query_asked = "")
      : verb(std::move(verb_asked)), path(std::move(path_asked)), query(std::move(query_asked)) {}

  std::string verb;
  std::string path;
  std::string query;
  std::map<std::string, std::string> headers = {{"Host", "127.0.0.1:7402"}};
  std::string body;
  size_t piece = 7;
  size_t read = 0;

  server::HttpRequest Request() {
    server::HttpRequest request;
    request.verb = verb;
    request.path = path;
    request.query = query;
    request.header = [this](const char* name) -> absl::optional<absl::string_view> {
      const auto found = headers.find(name);
      if (found == headers.end()) return absl::nullopt;
      return absl::string_view(found->second);
    };
    request.read = [this](char* into, size_t bytes_max) -> absl::StatusOr<size_t> {
      const size_t some = std::min({piece, bytes_max, body.size() - read});
      body.copy(into, some, read);
      read += some;
      return some;
    };
    return request;
  }
};

class RestTest : public ::testing::Test {
 protected:
  RestTest() : calls_(rig_.server().OwnChannel()), gateway_(&calls_) {}

  server::HttpReply Ask(Asked asked) { return gateway_.Answer(asked.Request()); }
  server::HttpReply Get(const std::string& path) { return Ask({"GET", path}); }
  server::HttpReply Post(const std::string& path, const std::string& body,
                         const std::string& type = "application/json") {
    Asked asked{"POST", path};
    asked.headers["Content-Type"] = type;
    asked.body = body;
    return Ask(asked);
  }
  json Learned(const std::string& body, const std::string& query = "") {
    Asked asked{"POST", "/v1/models/digits/learn", query};
    asked.headers["Content-Type"] = "application/x-ndjson";
    asked.body = body;
    const server::HttpReply reply = Ask(asked);
    EXPECT_EQ(reply.code, 200) << reply.body;
    return json::parse(reply.body);
  }

  EdgeRig rig_;
  const server::OwnCalls calls_;
  const server::RestGateway gateway_;
};

constexpr char kLine[] = "{\"features\": [1, 2, 3, 4], \"label\": 1}\n";

std::string Lines(int count) {
  std::string lines;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&lines, "{\"features\": [1, 2, 3, ", i, "], \"label\": 1}\n");
  }
  return lines;
}

// Of both tables.
std::vector<server::RestRoute> Routes() {
  std::vector<server::RestRoute> all(server::kRestRoutes.begin(), server::kRestRoutes.end());
  all.insert(all.end(), server::kInferenceRoutes.begin(), server::kInferenceRoutes.end());
  return all;
}

TEST(RestRoutesTest, EveryRouteFillsTextFieldsOfItsRequest) {
  for (const server::RestRoute& route : Routes()) {
    const auto* method = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
        absl::StrReplaceAll(server::RowOf(route.rpc).name, {{"/", "."}}));
    ASSERT_NE(method, nullptr) << route.pattern;
    EXPECT_FALSE(method->client_streaming() || method->server_streaming()) << route.pattern;
    for (absl::string_view segment : absl::StrSplit(route.pattern, '/')) {
      if (segment.empty() || segment.front() != '{') continue;
      const std::string name(segment.substr(1, segment.size() - 2));
      const auto* field = method->input_type()->FindFieldByName(name);
      ASSERT_NE(field, nullptr) << route.pattern << " has no field " << name;
      EXPECT_EQ(field->type(), google::protobuf::FieldDescriptor::TYPE_STRING) << route.pattern;
    }
  }
}

TEST(RestRoutesTest, NoTwoRoutesAreTheSame) {
  std::set<std::string> seen;
  for (const server::RestRoute& route : Routes()) {
    std::string shape = absl::StrCat(route.verb, " ");
    for (absl::string_view segment : absl::StrSplit(route.pattern, '/')) {
      absl::StrAppend(&shape, "/", !segment.empty() && segment.front() == '{' ? "*" : segment);
    }
    EXPECT_TRUE(seen.insert(shape).second) << shape;
  }
}

TEST(RestRoutesTest, AnotherVerbIsToldFromAnotherPath) {
  const auto match = [](const char* verb, const char* path) {
    return server::MatchRoute(server::kRestRoutes, verb, path);
  };
  EXPECT_EQ(match("GET", "/v1/nothing").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(match("GET", "/v1/models/").status().code(), absl::StatusCode::kNotFound);
  const auto other = match("PUT", "/v1/models/a");
  EXPECT_EQ(other.status().code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(other.status().message()), HasSubstr("GET, PATCH, DELETE"));
  const auto one = match("DELETE", "/v1/models/a/checkpoints/b");
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_THAT(one->fields,
              ::testing::ElementsAre(::testing::Pair("model", "a"), ::testing::Pair("id", "b")));
}

TEST_F(RestTest, MessagesGoThroughAsJson) {
  rig_.AddDigits();
  const json models = json::parse(Get("/v1/models").body);
  ASSERT_EQ(models.at("models").size(), 1u);
  EXPECT_EQ(models["models"][0].at("name"), "digits");
  EXPECT_EQ(Get("/v1/models/digits").code, 200);
  rig_.digits()->Apply(3, 2);
  const server::HttpReply reply =
      Post("/v1/models/digits/predict", "{\"features\": {\"values\": [0.2, 0.8, 0, 0]}}");
  ASSERT_EQ(reply.code, 200) << reply.body;
  const json prediction = json::parse(reply.body);
  EXPECT_EQ(prediction.at("model_version"), "3");
  EXPECT_EQ(prediction.at("predictions").size(), 1u);
}

TEST_F(RestTest, ThePathWinsOverTheBody) {
  rig_.AddDigits();
  EXPECT_EQ(Post("/v1/models/nobody/predict", "{\"model\": \"digits\"}").code, 404);
}

TEST_F(RestTest, ErrorsAreStatusesInJson) {
  rig_.AddDigits();
  const server::HttpReply unknown = Get("/v1/models/nobody/report");
  EXPECT_EQ(unknown.code, 404);
  const json status = json::parse(unknown.body);
  EXPECT_EQ(status.at("code"), 5);
  EXPECT_THAT(status.at("message").get<std::string>(), HasSubstr("nobody"));
  EXPECT_EQ(status.at("details")[0].at("@type"), "type.googleapis.com/google.rpc.ResourceInfo");

  const server::HttpReply typo = Post("/v1/models/digits/predict", "{\"feature\": 1}");
  EXPECT_EQ(typo.code, 400);
  EXPECT_THAT(typo.body, HasSubstr("is no PredictRequest"));
  EXPECT_THAT(Post("/v1/models/digits/predict", "{}", "text/plain").body,
              HasSubstr("expected application/json"));
  EXPECT_EQ(Ask({"PUT", "/v1/models/digits"}).code, 405);
  EXPECT_EQ(Get("/v1/nothing").code, 404);
}

// Every "$ref" below `part`.
void CollectReferences(const json& part, std::set<std::string>* references) {
  if (part.is_object() && part.contains("$ref")) references->insert(part.at("$ref"));
  if (part.is_structured()) {
    for (const json& each : part) CollectReferences(each, references);
  }
}

// Asked of the doors themselves: what is described is served, and nothing else is.
TEST_F(RestTest, TheOpenApiDocumentHasWhatIsServedAndNothingElse) {
  const server::InferenceRest inference(&calls_);
  const json document = json::parse(Get("/v1/openapi.json").body);
  std::set<std::string> operations;
  for (const auto& [pattern, verbs] : document.at("paths").items()) {
    std::string path = pattern;
    for (const char* field : {"{model_name}", "{name}", "{model}", "{id}", "{model_version}",
                              "{version}"}) {
      path = absl::StrReplaceAll(path, {{field, "7"}});
    }
    for (const std::string verb : {"GET", "POST", "PATCH", "DELETE", "PUT"}) {
      Asked asked{verb, path};
      const server::HttpReply reply = absl::StartsWith(path, "/v2")
                                          ? inference.Answer(asked.Request())
                                          : gateway_.Answer(asked.Request());
      EXPECT_THAT(reply.body, ::testing::Not(HasSubstr("path \\\"")));
      const bool described = verbs.contains(absl::AsciiStrToLower(verb));
      EXPECT_EQ(reply.code != 405, described) << verb << " " << path << ": " << reply.body;
      if (described) operations.insert(verbs[absl::AsciiStrToLower(verb)].at("operationId"));
    }
  }
  // The document is the one that has no row in a table.
  EXPECT_EQ(operations.size(), Routes().size() + 1);
}

TEST_F(RestTest, TheOpenApiDocumentHasEveryType) {
  const json document = json::parse(Get("/v1/openapi.json").body);
  std::set<std::string> references;
  CollectReferences(document, &references);
  EXPECT_GT(references.size(), 20u);
  for (const std::string& each : references) {
    EXPECT_TRUE(document.contains(json::json_pointer(each.substr(1)))) << each;
  }
}

TEST_F(RestTest, ABodyHasALimit) {
  rig_.AddDigits();
  Asked asked{"POST", "/v1/models/digits/predict"};
  asked.headers["Content-Type"] = "application/json";
  asked.body.assign((16 << 20) + 1, ' ');
  asked.piece = 1 << 20;
  const server::HttpReply reply = Ask(asked);
  EXPECT_EQ(reply.code, 429);
  EXPECT_THAT(reply.body, HasSubstr("at most 16777216 bytes"));
}

TEST_F(RestTest, LinesAreLearnedInMessages) {
  rig_.AddDigits();
  const json learned = Learned("\n" + Lines(5) + "\r\n", "batch=2");
  EXPECT_EQ(learned.at("examples"), "5");
  EXPECT_EQ(learned.at("refused"), "0");
  EXPECT_EQ(rig_.digits()->messages(), 3);
  EXPECT_FALSE(learned.contains("next_sequence"));
  // The process's own counter goes on, also after a boundary.
  EXPECT_EQ(Learned(kLine).at("examples"), "1");
  EXPECT_EQ(Post("/v1/models/digits/boundary", "{}").code, 200);
  EXPECT_EQ(Learned(kLine).at("examples"), "1");
  EXPECT_EQ(rig_.digits()->messages(), 6);
}

TEST_F(RestTest, TheLastLineNeedsNoEnd) {
  rig_.AddDigits();
  EXPECT_EQ(Learned("{\"features\": [1, 2, 3, 4], \"label\": 1}").at("examples"), "1");
  EXPECT_EQ(Learned("").at("examples"), "0");
}

TEST_F(RestTest, ABodySentAgainIsLearnedOnce) {
  rig_.AddDigits();
  const std::string query = "producer=shop&sequence=1&batch=2";
  EXPECT_EQ(Learned(Lines(4), query).at("next_sequence"), "3");
  const json again = Learned(Lines(5), query);
  EXPECT_EQ(again.at("duplicates"), "4");
  EXPECT_EQ(again.at("examples"), "1");
  EXPECT_EQ(again.at("next_sequence"), "4");
}

TEST_F(RestTest, ProducerAndSequenceGoTogether) {
  rig_.AddDigits();
  Asked asked{"POST", "/v1/models/digits/learn", "producer=shop"};
  asked.headers["Content-Type"] = "application/x-ndjson";
  const server::HttpReply reply = Ask(asked);
  EXPECT_EQ(reply.code, 400);
  EXPECT_THAT(reply.body, HasSubstr("producer and sequence go together"));
  asked.query = "batch=1025";
  EXPECT_THAT(Ask(asked).body, HasSubstr("batch: expected 1 to 1024, got \\\"1025\\\""));
}

TEST_F(RestTest, ARefusedLineIsListedAndTheRestLearned) {
  rig_.AddDigits();
  const json learned = Learned(std::string(kLine) + "{\"label\": 1\n" + kLine +
                               "{\"features\": [\"x\"], \"label\": 1}\n" + kLine);
  EXPECT_EQ(learned.at("examples"), "3");
  EXPECT_EQ(learned.at("refused"), "2");
  EXPECT_EQ(learned.at("refusals")[0].at("first_line"), 2);
  EXPECT_THAT(learned.at("refusals")[0].at("message").get<std::string>(), HasSubstr("is no JSON"));
  EXPECT_EQ(learned.at("refusals")[1].at("first_line"), 4);
}

TEST_F(RestTest, WhatNothingCanFollowEndsTheUploadAndSaysHowFarItCame) {
  rig_.AddDigits();
  rig_.digits()->RefuseNext(0, absl::OkStatus());
  Asked asked{"POST", "/v1/models/digits/learn", "producer=shop&sequence=7"};
  asked.headers["Content-Type"] = "application/x-ndjson";
  asked.body = kLine;
  const server::HttpReply gap = Ask(asked);
  EXPECT_EQ(gap.code, 409);
  const json body = json::parse(gap.body);
  EXPECT_EQ(body.at("learned").at("examples"), "0");
  EXPECT_THAT(gap.body, HasSubstr("SEQUENCE_GAP"));

  asked.path = "/v1/models/nobody/learn";
  EXPECT_EQ(Ask(asked).code, 404);
}

TEST_F(RestTest, AnUploadOfNothingStillNamesAModel) {
  rig_.AddDigits();
  Asked asked{"POST", "/v1/models/nobody/learn"};
  asked.headers["Content-Type"] = "application/x-ndjson";
  EXPECT_EQ(Ask(asked).code, 404);
  asked.body = "no JSON\n";
  EXPECT_EQ(Ask(asked).code, 404);
}

TEST_F(RestTest, AnUploadGivesBackTheMemoryOfEachMessage) {
  rig_.AddDigits();
  Asked asked{"POST", "/v1/models/digits/learn", "batch=2"};
  asked.headers["Content-Type"] = "application/x-ndjson";
  asked.body = Lines(40) + "no JSON\n";
  server::HttpRequest request = asked.Request();
  int64_t held = 0, most = 0, first = 0;
  request.reserve = [&](int64_t bytes) {
    held += bytes;
    if (first == 0) first = held;
    most = std::max(most, held);
    return absl::OkStatus();
  };
  EXPECT_EQ(gateway_.Answer(request).code, 200);
  EXPECT_EQ(held, first) << "what is left is the buffer of lines";
  EXPECT_GT(most, first);
  EXPECT_LT(most, first + 20'000);
}

TEST_F(RestTest, AMessageThatIsTooLargeIsToldByItsLines) {
  rig_.AddDigits();
  rig_.digits()->RefuseNext(1, absl::ResourceExhaustedError("too large"));
  Asked asked{"POST", "/v1/models/digits/learn"};
  asked.headers["Content-Type"] = "application/x-ndjson";
  asked.body = Lines(3);
  const server::HttpReply reply = Ask(asked);
  EXPECT_EQ(reply.code, 429);
  EXPECT_THAT(reply.body, HasSubstr("lines 1 to 3 are one message"));
}

TEST_F(RestTest, AFullQueueIsWaitedFor) {
  rig_.AddDigits();
  rig_.digits()->RefuseNext(3, server::OverLimit("queue", "full", std::chrono::milliseconds(1)));
  EXPECT_EQ(Learned(kLine).at("examples"), "1");
}

TEST(RestExampleTest, ALineHasTheFieldsOfAnExample) {
  const auto full = server::ParseExampleLine(
      "{\"features\":[1.5],\"label\":\"cat\",\"task\":\"pets\",\"weight\":2,\"id\":\"i\","
      "\"subject_id\":\"s\",\"event_time_ms\":5,\"split\":\"HELD_OUT\"}");
  ASSERT_TRUE(full.ok()) << full.status();
  EXPECT_EQ(full->label().text(), "cat");
  EXPECT_EQ(full->task(), "pets");
  EXPECT_EQ(full->weight(), 2);
  EXPECT_EQ(full->split(), v1::HELD_OUT);
  EXPECT_EQ(full->features().dense(), std::string("\x00\x00\xc0\x3f", 4));
  const std::vector<std::pair<std::string, std::string>> wrong = {
      {"[1]", "expected a JSON object"},
      {"{\"features\": 1}", "features: expected an array"},
      {"{\"label\": 1.5}", "label: expected a whole number or text"},
      {"{\"split\": \"TEST\"}", "split: expected"},
      {"{\"lable\": 1}", "lable: unknown"},
      {"{\"weight\": \"2\"}", "weight: expected a number"},
  };
  for (const auto& [line, words] : wrong) {
    const auto parsed = server::ParseExampleLine(line);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << line;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(words)) << line;
  }
}

TEST(RestExampleTest, HalfAMillionBracketsAreAWrongValueAsAnyOther) {
  const std::string brackets = std::string(400'000, '[') + std::string(400'000, ']');
  for (const char* field : {"label", "split", "features", "id", "weight"}) {
    const auto parsed = server::ParseExampleLine(absl::StrCat("{\"", field, "\":", brackets, "}"));
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << field;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(field));
  }
}

class PagesTest : public ::testing::Test {
 protected:
  PagesTest() : exporter_(rig_.edge()) {
    parts_.metrics = &exporter_;
    parts_.board = &rig_.board();
    parts_.rest = [](const server::HttpRequest&) { return server::HttpReply(); };
  }
  server::HttpReply Ask(Asked asked, bool authenticated = false) {
    return server::HttpPages(parts_, {true, authenticated, 1}).Answer(asked.Request());
  }

  EdgeRig rig_;
  const server::Exporter exporter_;
  server::HttpParts parts_;
};

TEST_F(PagesTest, AForeignPageMayNotCall) {
  Asked asked{"POST", "/v1/models"};
  EXPECT_EQ(Ask(asked).code, 200);
  asked.headers["Origin"] = "http://127.0.0.1:7402";
  EXPECT_EQ(Ask(asked).code, 200);
  for (const char* origin : {"http://evil.example", "null", "http://127.0.0.1:7402.evil.example"}) {
    asked.headers["Origin"] = origin;
    EXPECT_EQ(Ask(asked).code, 403) << origin;
    EXPECT_EQ(Ask(asked, true).code, 403) << origin;
  }
}

TEST_F(PagesTest, ANameThatPointsHereIsNoAddress) {
  for (const char* host : {"127.0.0.1:7402", "localhost:1", "[::1]:7402", "10.1.2.3"}) {
    Asked asked{"GET", "/v1/models"};
    asked.headers["Host"] = host;
    EXPECT_EQ(Ask(asked).code, 200) << host;
  }
  for (const char* host : {"evil.example:7402", "", "localhost.evil.example", "[::1"}) {
    Asked asked{"GET", "/v1/models"};
    asked.headers["Host"] = host;
    EXPECT_EQ(Ask(asked).code, 403) << host;
    EXPECT_EQ(Ask(asked, true).code, 200) << host;
  }
  Asked scraped{"GET", "/metrics"};
  scraped.headers["Host"] = "engram.monitoring";
  EXPECT_EQ(Ask(scraped).code, 200) << "probes and scrapers call by name";
}

TEST_F(PagesTest, OffLoopbackInTheClearOnlyPlainPagesAreThere) {
  const server::HttpPages pages(parts_, {false, false, 1});
  for (const char* path : {"/", "/v1/models", "/dashboard/main.js", "/v2"}) {
    Asked asked{"GET", path};
    EXPECT_EQ(pages.Answer(asked.Request()).code, 404) << path;
  }
  Asked asked{"GET", "/healthz"};
  EXPECT_EQ(pages.Answer(asked.Request()).code, 200);
}

TEST_F(PagesTest, FilesOfThePageAreNotSentAgain) {
  Asked asked{"GET", "/"};
  const server::HttpReply first = Ask(asked);
  ASSERT_EQ(first.code, 200);
  std::map<std::string, std::string> headers(first.headers.begin(), first.headers.end());
  EXPECT_THAT(headers["Content-Security-Policy"], HasSubstr("default-src 'self'"));
  asked.headers["If-None-Match"] = headers["ETag"];
  const server::HttpReply second = Ask(asked);
  EXPECT_EQ(second.code, 304);
  EXPECT_EQ(second.body, "");
}

TEST_F(PagesTest, CallsLeaveRoomForProbes) {
  int inner = 0, probe = 0;
  std::unique_ptr<server::HttpPages> pages;
  parts_.rest = [&](const server::HttpRequest&) {
    Asked again{"GET", "/v1/models"}, health{"GET", "/healthz"};
    inner = pages->Answer(again.Request()).code;
    probe = pages->Answer(health.Request()).code;
    return server::HttpReply();
  };
  pages = std::make_unique<server::HttpPages>(parts_, server::HttpRules{true, false, 1});
  Asked asked{"GET", "/v1/models"};
  EXPECT_EQ(pages->Answer(asked.Request()).code, 200);
  EXPECT_EQ(inner, 429);
  EXPECT_EQ(probe, 200);
  EXPECT_EQ(pages->Answer(asked.Request()).code, 200) << "the place is free again";
}

TEST_F(PagesTest, CallsShareTheMemoryThatTheyMayHold) {
  int inner = 0;
  std::unique_ptr<server::HttpPages> pages;
  parts_.rest = [&](const server::HttpRequest& request) {
    Asked again{"GET", "/v1/models"};
    const int64_t wanted = request.verb == "POST" ? 60 : 50;
    const absl::Status status = request.reserve(wanted);
    if (!status.ok()) return server::ErrorReply(status);
    if (request.verb == "POST") inner = pages->Answer(again.Request()).code;
    // What is given back may be had again.
    EXPECT_TRUE(request.reserve(-wanted).ok());
    EXPECT_TRUE(request.reserve(wanted).ok());
    return server::HttpReply();
  };
  server::HttpRules rules{true, false, 9};
  rules.bytes_max = 100;
  pages = std::make_unique<server::HttpPages>(parts_, rules);
  Asked first{"POST", "/v1/models"}, second{"GET", "/v1/models"};
  {
    const server::HttpReply reply = pages->Answer(first.Request());
    EXPECT_EQ(reply.code, 200);
    EXPECT_EQ(inner, 429);
    EXPECT_EQ(pages->Answer(second.Request()).code, 429) << "the first is not sent yet";
  }
  EXPECT_EQ(pages->Answer(second.Request()).code, 200);
}

TEST_F(PagesTest, RefusalsSpeakTheLanguageOfTheirDoor) {
  parts_.inference = parts_.rest;
  Asked own{"GET", "/v1/models"}, protocol{"GET", "/v2"};
  own.headers["Host"] = protocol.headers["Host"] = "evil.example";
  EXPECT_EQ(json::parse(Ask(own).body).at("code"), 7);
  EXPECT_THAT(json::parse(Ask(protocol).body).at("error").get<std::string>(), HasSubstr("Host"));
}

TEST(HttpExchangeTest, JsonMayTakeMoreThanItsText) {
  EXPECT_GE(server::JsonBytes("[1,2,3]"), 3 * 16);
  EXPECT_GE(server::JsonBytes("[{},{},{}]"), 3 * static_cast<int64_t>(sizeof(v1::Example)));
  EXPECT_LT(server::JsonBytes("[" + std::string(1 << 20, ' ') + "]"), 1 << 10);
}

TEST(HttpExchangeTest, QueryValuesAreDecoded) {
  EXPECT_EQ(server::QueryValue("a=1&b=x%20y+z&c", "b"), "x y z");
  EXPECT_EQ(server::QueryValue("a=1&c", "c"), "");
  EXPECT_EQ(server::QueryValue("a=1", "b"), absl::nullopt);
  EXPECT_EQ(server::QueryValue("a=%zz%4", "a"), "%zz%4");
}

TEST(HttpExchangeTest, ErrorsSayWhenToComeBack) {
  const server::HttpReply full =
      server::ErrorReply(server::OverLimit("queue", "full", std::chrono::milliseconds(1500)));
  EXPECT_EQ(full.code, 429);
  EXPECT_THAT(full.headers, ::testing::ElementsAre(::testing::Pair("Retry-After", "2")));
  EXPECT_EQ(server::ErrorReply(absl::UnauthenticatedError("")).headers.front().first,
            "WWW-Authenticate");
  EXPECT_EQ(server::ErrorReply(absl::DataLossError("")).code, 500);
}

}  // namespace
}  // namespace engram::testing
