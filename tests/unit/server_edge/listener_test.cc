// The listeners themselves: addresses, health, reflection, drain, HTTP.
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "server/exporter.h"
#include "server/grpc_server.h"
#include "server/http_server.h"
#include "tests/testing/process/health.h"
#include "tests/testing/process/http_get.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/server_edge/edge_rig.h"
#include "tests/testing/server_edge/http_exchange.h"

namespace engram::testing {
namespace {

using ::testing::HasSubstr;

TEST(ListenerTest, RefusesAnAddressThatOthersCanReach) {
  EdgeRig rig;
  const auto server = server::GrpcServer::Start("0.0.0.0:0", rig.edge(), &rig.board());
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(server.status().message()),
              HasSubstr("configure tls and authentication"));
}

TEST(ListenerTest, APortInUseIsRefusedNotShared) {
  EdgeRig rig;
  const auto second = server::GrpcServer::Start(rig.server().address(), rig.edge(), &rig.board());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(rig.server().address()));
}

TEST(ListenerTest, HealthFollowsTheModels) {
  EdgeRig rig;
  EXPECT_EQ(*CheckHealth(rig.channel(), ""), ServingStatus::kNotServing);
  EXPECT_EQ(CheckHealth(rig.channel(), "digits").status().code(), absl::StatusCode::kNotFound);
  rig.board().Set("digits", true);
  rig.board().Set("", true);
  EXPECT_EQ(*CheckHealth(rig.channel(), ""), ServingStatus::kServing);
  EXPECT_EQ(*CheckHealth(rig.channel(), "digits"), ServingStatus::kServing);
}

TEST(ListenerTest, HealthWatchSeesEveryChange) {
  EdgeRig rig;
  rig.board().Set("digits", true);
  HealthWatch watch(rig.channel(), "digits");
  ServingStatus status = ServingStatus::kUnknown;
  ASSERT_TRUE(watch.Next(&status));
  EXPECT_EQ(status, ServingStatus::kServing);
  rig.board().Withdraw();
  ASSERT_TRUE(watch.Next(&status));
  EXPECT_EQ(status, ServingStatus::kNotServing);
}

TEST(ListenerTest, WhatWasSetBeforeTheServerStartedIsServed) {
  EdgeRig rig;
  server::ServingBoard board;
  board.Set("early", true);
  const auto second = server::GrpcServer::Start("127.0.0.1:0", rig.edge(), &board);
  ASSERT_TRUE(second.ok());
  const auto channel =
      grpc::CreateChannel((*second)->address(), grpc::InsecureChannelCredentials());
  EXPECT_EQ(*CheckHealth(channel, "early"), ServingStatus::kServing);
  EXPECT_EQ(*CheckHealth(channel, ""), ServingStatus::kNotServing);
}

TEST(ListenerTest, TheServerServesOnceEveryModelDoes) {
  EdgeRig rig;
  rig.board().Expect("digits");
  rig.board().Set("", true);
  EXPECT_EQ(*CheckHealth(rig.channel(), ""), ServingStatus::kNotServing);
  rig.board().Set("digits", true);
  rig.board().Expect("digits");  // it already said that it serves
  EXPECT_EQ(*CheckHealth(rig.channel(), ""), ServingStatus::kServing);
}

TEST(ListenerTest, ADeletedModelIsNotWaitedFor) {
  EdgeRig rig;
  rig.board().Set("", true);
  rig.board().Set("digits", true);
  rig.board().Remove("digits");
  EXPECT_EQ(*CheckHealth(rig.channel(), "digits"), ServingStatus::kNotServing);
  EXPECT_EQ(*CheckHealth(rig.channel(), ""), ServingStatus::kServing);
  EXPECT_TRUE(rig.board().Ready());
}

TEST(ListenerTest, NothingServesAfterWithdrawing) {
  server::ServingBoard board;
  board.Set("", true);
  EXPECT_TRUE(board.Ready());
  board.Withdraw();
  board.Set("", true);
  EXPECT_FALSE(board.Ready());
}

TEST(ListenerTest, ReflectionListsTheServices) {
  EdgeRig rig;
  grpc::ClientContext context;
  const auto stream = OpenRawStream(
      rig.channel(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &context);
  // ServerReflectionRequest{list_services = 7: ""}.
  ASSERT_TRUE(stream->Write(ToBuffer(absl::string_view("\x3a\x00", 2))));
  grpc::ByteBuffer reply;
  ASSERT_TRUE(stream->Read(&reply));
  const std::string text = FromBuffer(reply);
  for (const char* service :
       {"engram.v1.Models", "engram.v1.Learning", "engram.v1.Prediction", "engram.v1.Evaluation",
        "engram.v1.Checkpoints", "engram.v1.Admin", "grpc.health.v1.Health"}) {
    EXPECT_THAT(text, HasSubstr(service));
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(ListenerTest, CallsBeforeTheModelsAreThereAreUnavailable) {
  server::CallGate gate;
  EXPECT_EQ(gate.Admit().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(gate.Admit().message(), "starting");
  gate.Open();
  EXPECT_TRUE(gate.Admit().ok());
  gate.Drain();
  EXPECT_EQ(gate.Admit().code(), absl::StatusCode::kUnavailable);
}

// As much as OpenBLAS and glog bring along in engramd: CivetWeb's own stacks would not hold it.
thread_local volatile char large_thread_local[192 * 1024];

class HttpTest : public ::testing::Test {
 protected:
  HttpTest() : exporter_(rig_.edge()) {
    large_thread_local[0] = 1;
    StartWith(absl::Seconds(30));
  }
  void StartWith(absl::Duration body_patience) {
    server::HttpAccess access;
    access.body_patience = body_patience;
    auto http = server::HttpServer::Start("127.0.0.1:0", Parts(), access);
    ASSERT_TRUE(http.ok()) << http.status();
    http_ = *std::move(http);
  }
  server::HttpParts Parts() {
    server::HttpParts parts;
    parts.metrics = &exporter_;
    parts.board = &rig_.board();
    parts.rest = [](const server::HttpRequest& request) {
      const auto body = server::ReadBody(request);
      server::HttpReply reply;
      if (!body.ok()) return server::ErrorReply(body.status());
      reply.body = *body;
      return reply;
    };
    return parts;
  }
  int Code(const std::string& path) { return HttpGet(http_->address(), path)->code; }

  EdgeRig rig_;
  const server::Exporter exporter_;
  std::unique_ptr<server::HttpServer> http_;
};

TEST_F(HttpTest, ServesItsPagesAndNothingElse) {
  EXPECT_EQ(Code("/healthz"), 200);
  EXPECT_EQ(Code("/"), 200);
  EXPECT_EQ(Code("/metrics/more"), 404);
  EXPECT_EQ(Code("/etc/passwd"), 404);
  EXPECT_EQ(Code("/../../etc/passwd"), 404);
  const auto metrics = HttpGet(http_->address(), "/metrics");
  EXPECT_EQ(metrics->code, 200);
  EXPECT_THAT(metrics->headers, HasSubstr("version=0.0.4"));
  EXPECT_THAT(metrics->body, HasSubstr("engram_build_info"));
}

TEST_F(HttpTest, ReadinessFollowsTheBoard) {
  EXPECT_EQ(Code("/readyz"), 503);
  rig_.board().Set("", true);
  EXPECT_EQ(Code("/readyz"), 200);
  rig_.board().Set("digits", false);
  EXPECT_EQ(Code("/readyz"), 503);
  rig_.board().Set("digits", true);
  rig_.board().Withdraw();
  EXPECT_EQ(Code("/readyz"), 503);
}

TEST_F(HttpTest, OtherMethodsAreRefused) {
  EXPECT_THAT(HttpExchange(http_->address(),
                           "POST /metrics HTTP/1.1\r\nHost: x\r\n"
                           "Content-Length: 0\r\n\r\n"),
              HasSubstr("405 Method Not Allowed"));
  EXPECT_THAT(HttpExchange(http_->address(),
                           "POST /nothing HTTP/1.1\r\nHost: x\r\n"
                           "Content-Length: 0\r\n\r\n"),
              HasSubstr("404 Not Found"));
}

TEST_F(HttpTest, HeadHasTheHeadersOnly) {
  const std::string reply =
      HttpExchange(http_->address(), "HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(reply, HasSubstr("200 OK"));
  EXPECT_EQ(reply.substr(reply.size() - 4), "\r\n\r\n");
}

TEST_F(HttpTest, ABodyIsReadToItsEnd) {
  const std::string post = "POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n";
  const auto ask = [&](const std::string& rest) {
    return HttpExchange(http_->address(), post + rest);
  };
  EXPECT_THAT(ask("Content-Length: 5\r\n\r\nhello"), HasSubstr("\r\n\r\nhello"));
  EXPECT_THAT(ask("Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
              HasSubstr("\r\n\r\nhello"));
  const std::string asked = ask("Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_THAT(asked, HasSubstr("100 Continue"));
  EXPECT_THAT(asked, HasSubstr("\r\n\r\nhello"));
}

TEST_F(HttpTest, ABodyMayPauseForItsPatienceAndNoLonger) {
  const std::string post = "POST /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\n";
  const std::string length = post + "Content-Length: 9\r\n\r\nhello";
  const std::string chunk = post + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
  StartWith(absl::Seconds(60));
  // Longer than the head of a request may take.
  const absl::Duration pause = absl::Milliseconds(1200);
  EXPECT_THAT(PausedExchange(http_->address(), length, pause, "more"),
              HasSubstr("\r\n\r\nhellomore"));
  EXPECT_THAT(PausedExchange(http_->address(), chunk, pause, "4\r\nmore\r\n0\r\n\r\n"),
              HasSubstr("\r\n\r\nhellomore"));
  EXPECT_EQ(HttpExchange(http_->address(), "GET /healthz HTTP/1.1\r\n"), "");
  StartWith(absl::Seconds(1));
  EXPECT_THAT(HttpExchange(http_->address(), length),
              HasSubstr("nothing more came after 5 bytes of 9; it may pause for 1s"));
  EXPECT_THAT(HttpExchange(http_->address(), chunk), HasSubstr("504 Gateway Timeout"));
}

TEST_F(HttpTest, WhoHasItsReplyIsNotWaitedFor) {
  // Each would have thirty seconds for the rest of its body.
  const absl::Time start = absl::Now();
  for (int i = 0; i < 2; ++i) {
    EXPECT_THAT(HttpExchange(http_->address(),
                             "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"),
                HasSubstr("405 Method Not Allowed"));
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(20));
}

TEST_F(HttpTest, SlowClientsDoNotHoldUpAScrape) {
  std::vector<std::unique_ptr<SilentConnection>> slow;
  for (int i = 0; i < 48; ++i) slow.push_back(std::make_unique<SilentConnection>(http_->address()));
  // A scraper tries again when a busy server hangs up; what counts is when it has its page.
  const absl::Time start = absl::Now();
  int code = 0;
  while (code != 200 && absl::Now() - start < absl::Seconds(8)) {
    const auto reply = HttpGet(http_->address(), "/metrics");
    if (reply.ok()) code = reply->code;
  }
  EXPECT_EQ(code, 200);
}

TEST_F(HttpTest, APathIsNoAddress) {
  EXPECT_EQ(server::HttpServer::Start("unix:/nowhere", Parts()).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(HttpTest, APortInUseIsUnavailable) {
  const auto second = server::HttpServer::Start(http_->address(), Parts());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace engram::testing
