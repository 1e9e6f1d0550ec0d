// Who may call, over a listener in this process: tokens in the clear, to this machine only.
#include "server/authority.h"

#include <sys/stat.h>

#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "server/exporter.h"
#include "server/http_server.h"
#include "server/own_calls.h"
#include "server/rest_gateway.h"
#include "storage/sha256.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/server_edge/edge_rig.h"
#include "tests/testing/server_edge/http_exchange.h"

namespace engram::testing {
namespace {

using server::Authority;
using server::Identity;
using server::Role;
using ::testing::HasSubstr;

class AuthorityTest : public ::testing::Test {
 protected:
  AuthorityTest() {
    WriteTokens({"reader r", "writer w", "admin a"});
    auto* authentication = config_.mutable_authentication();
    authentication->set_token_file(path_);
    auto* binding = authentication->add_bindings();
    binding->set_writer("w");
    binding->add_producers("camera-*");
    binding->add_producers("desk");
    Make();
  }

  // The token of "reader r" is "token of reader r".
  void WriteTokens(const std::vector<std::string>& who, mode_t mode = 0600) {
    const std::string next = path_ + ".new";
    {
      std::ofstream file(next);
      for (const std::string& each : who) {
        file << each << " " << storage::Sha256Hex("token of " + each) << "\n";
      }
    }
    chmod(next.c_str(), mode);
    std::rename(next.c_str(), path_.c_str());
  }
  void Make() {
    auto made = Authority::Make(config_);
    ASSERT_TRUE(made.ok()) << made.status();
    authority_ = *std::move(made);
    ASSERT_NE(authority_, nullptr);
  }
  absl::StatusOr<Identity> Identify(const std::string& who) const {
    return authority_->Identify("Bearer token of " + who);
  }

  const ScratchFolder scratch_;
  const std::string path_ = scratch_.path() + "/tokens";
  v1::ServerConfig config_;
  std::unique_ptr<Authority> authority_;
};

TEST_F(AuthorityTest, IsOffOnlyWhenNothingAsksForIt) {
  EXPECT_EQ(*Authority::Make(v1::ServerConfig()), nullptr);
  v1::ServerConfig certificates;
  certificates.mutable_tls()->set_client_ca_file("/any");
  EXPECT_NE(*Authority::Make(certificates), nullptr);
  v1::ServerConfig nothing_to_know;
  nothing_to_know.mutable_authentication();
  EXPECT_THAT(std::string(Authority::Make(nothing_to_know).status().message()),
              HasSubstr("authentication.token_file: required"));
}

TEST_F(AuthorityTest, MissingAndInvalidCredentialsReadAlike) {
  EXPECT_EQ(Identify("writer w")->name, "w");
  for (const char* header : {"", "Bearer", "Bearer ", "Bearer token of reader", "Basic cg==",
                             "token of reader r", "Bearer  token of reader r"}) {
    const auto identity = authority_->Identify(header);
    EXPECT_EQ(identity.status().code(), absl::StatusCode::kUnauthenticated) << header;
    EXPECT_EQ(identity.status().message(), "missing or invalid credentials") << header;
  }
  EXPECT_TRUE(authority_->Identify("bearer token of reader r").ok()) << "the scheme has no case";
}

TEST_F(AuthorityTest, TwoHeadersAreNobody) {
  const std::string token = "Bearer token of admin a";
  server::CallMetadata metadata = {{"authorization", token}};
  EXPECT_TRUE(authority_->Identify(metadata, nullptr).ok());
  metadata.emplace("authorization", token);
  EXPECT_FALSE(authority_->Identify(metadata, nullptr).ok());
}

TEST_F(AuthorityTest, ANewFileCountsAndABrokenOneDoesNot) {
  const uint64_t before = authority_->generation();
  EXPECT_TRUE(authority_->ReloadIfChanged().ok());
  EXPECT_EQ(authority_->generation(), before) << "nothing has changed";
  WriteTokens({"reader r", "admin b"});
  EXPECT_TRUE(authority_->ReloadIfChanged().ok());
  EXPECT_NE(authority_->generation(), before);
  EXPECT_TRUE(Identify("admin b").ok());
  EXPECT_FALSE(Identify("writer w").ok());
  WriteTokens({"reader r"}, 0644);
  EXPECT_FALSE(authority_->ReloadIfChanged().ok());
  EXPECT_TRUE(Identify("admin b").ok()) << "what was valid stays";
  EXPECT_TRUE(authority_->ReloadIfChanged().ok()) << "said once";
  EXPECT_FALSE(authority_->Reload().ok()) << "unless asked";
  std::remove(path_.c_str());
  EXPECT_FALSE(authority_->ReloadIfChanged().ok());
  EXPECT_TRUE(Identify("reader r").ok());
}

TEST_F(AuthorityTest, BindingsHoldBothWays) {
  const auto& bindings = authority_->bindings();
  const Identity bound{Role::kWriter, "w"};
  const Identity other{Role::kWriter, "x"};
  EXPECT_TRUE(bindings->Admit(bound, "camera-7").ok());
  EXPECT_TRUE(bindings->Admit(bound, "desk").ok());
  EXPECT_TRUE(bindings->Admit(other, "robot").ok());
  EXPECT_TRUE(bindings->Admit({Role::kAdmin, "w"}, "robot").ok());
  const absl::Status status = bindings->Admit(bound, "robot");
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(status.message(), "writer \"w\" may not learn as producer \"robot\"");
  for (const char* producer : {"desk2", "camera", ""}) {
    EXPECT_FALSE(bindings->Admit(bound, producer).ok()) << producer;
  }
  EXPECT_FALSE(bindings->Admit(other, "camera-7").ok());
}

TEST_F(AuthorityTest, AWriterWithoutBoundariesMarksNone) {
  config_.mutable_authentication()->mutable_bindings(0)->set_no_boundaries(true);
  Make();
  const auto bindings = authority_->bindings();
  const absl::Status status = bindings->AdmitBoundary({Role::kWriter, "w"});
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(status.message(),
            "writer \"w\" may not mark boundaries (no_boundaries of its binding)");
  EXPECT_TRUE(bindings->Admit({Role::kWriter, "w"}, "desk").ok()) << "it learns all the same";
  EXPECT_TRUE(bindings->AdmitBoundary({Role::kWriter, "x"}).ok());
  EXPECT_TRUE(bindings->AdmitBoundary({Role::kAdmin, "w"}).ok());
}

TEST_F(AuthorityTest, BindingsThatMeanNothingAreRefused) {
  config_.mutable_authentication()->mutable_bindings(0)->add_producers("a*b");
  EXPECT_THAT(std::string(Authority::Make(config_).status().message()),
              HasSubstr("authentication.bindings[0].producers: \"a*b\""));
  config_.mutable_authentication()->mutable_bindings(0)->clear_producers();
  EXPECT_FALSE(Authority::Make(config_).ok());
}

// A listener that asks for tokens.
class GuardedEdgeTest : public AuthorityTest {
 protected:
  GuardedEdgeTest() : edge_(rig_.edge()) {
    edge_.authority = authority_.get();
    auto server = server::GrpcServer::Start("127.0.0.1:0", edge_, &board_);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    stubs_ = std::make_unique<Stubs>(
        grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials()));
    rig_.AddDigits();
  }

  static void Carry(const std::string& who, grpc::ClientContext* context) {
    context->AddMetadata("authorization", "Bearer token of " + who);
    context->set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
  }
  grpc::Status Learn(const std::string& who, const std::string& model,
                     const std::string& producer) {
    grpc::ClientContext context;
    Carry(who, &context);
    const auto stream = stubs_->learning->Learn(&context);
    v1::LearnRequest request;
    request.mutable_hello()->set_model(model);
    request.mutable_hello()->set_producer(producer);
    stream->Write(request);
    v1::LearnResponse response;
    const bool welcome = stream->Read(&response);
    if (welcome) context.TryCancel();
    const grpc::Status status = stream->Finish();
    return welcome ? grpc::Status::OK : status;
  }

  EdgeRig rig_;
  server::ServingBoard board_;
  server::Edge edge_;
  std::unique_ptr<server::GrpcServer> server_;
  std::unique_ptr<Stubs> stubs_;
};

TEST_F(GuardedEdgeTest, RefusalsCarryTheirDetails) {
  grpc::ClientContext nobody;
  v1::Model model;
  grpc::Status status = stubs_->models->CreateModel(&nobody, {}, &model);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(status.error_message(), "missing or invalid credentials");
  EXPECT_EQ(Reason(status), "INVALID_CREDENTIALS");
  grpc::ClientContext writer;
  Carry("writer w", &writer);
  status = stubs_->models->CreateModel(&writer, {}, &model);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(status.error_message(), "role writer may not call CreateModel; needs admin");
  EXPECT_EQ(Reason(status), "ROLE_REQUIRED");
  EXPECT_EQ(FindDetail<google::rpc::ErrorInfo>(status)->metadata().at("role"), "admin");
}

TEST_F(GuardedEdgeTest, ABoundWriterLearnsAsItsProducersOnly) {
  EXPECT_TRUE(Learn("writer w", "digits", "camera-1").ok());
  for (const char* model : {"digits", "nothing"}) {
    const grpc::Status status = Learn("writer w", model, "robot");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << model;
    EXPECT_EQ(Reason(status), "PRODUCER_NOT_BOUND");
  }
  EXPECT_TRUE(Learn("admin a", "digits", "robot").ok());
  grpc::ClientContext batch;
  Carry("writer w", &batch);
  v1::LearnBatchRequest request;
  request.set_model("digits");
  request.set_producer("robot");
  v1::LearnBatchResponse learned;
  EXPECT_EQ(stubs_->learning->LearnBatch(&batch, request, &learned).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
  grpc::ClientContext boundary;
  Carry("writer w", &boundary);
  v1::MarkBoundaryRequest mark;
  mark.set_model("digits");
  mark.set_producer("robot");
  v1::MarkBoundaryResponse marked;
  EXPECT_EQ(stubs_->learning->MarkBoundary(&boundary, mark, &marked).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(GuardedEdgeTest, ARevokedTokenEndsItsStreams) {
  grpc::ClientContext learn_context;
  Carry("writer w", &learn_context);
  const auto learn = stubs_->learning->Learn(&learn_context);
  v1::LearnRequest hello;
  hello.mutable_hello()->set_model("digits");
  hello.mutable_hello()->set_producer("desk");
  learn->Write(hello);
  v1::LearnResponse response;
  ASSERT_TRUE(learn->Read(&response));
  grpc::ClientContext predict_context;
  Carry("reader r", &predict_context);
  const auto predict = stubs_->prediction->PredictStream(&predict_context);
  WriteTokens({"admin a"});
  ASSERT_TRUE(authority_->ReloadIfChanged().ok());
  v1::LearnRequest message;
  message.mutable_message()->set_producer_sequence(1);
  learn->Write(message);
  EXPECT_FALSE(learn->Read(&response));
  EXPECT_EQ(learn->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  predict->Write(v1::PredictRequest());
  v1::PredictResponse prediction;
  EXPECT_FALSE(predict->Read(&prediction));
  EXPECT_EQ(predict->Finish().error_code(), grpc::StatusCode::UNAUTHENTICATED);
}

TEST_F(GuardedEdgeTest, TokensDoNotLeaveThisMachineInTheClear) {
  const auto server = server::GrpcServer::Start("0.0.0.0:0", edge_, &board_);
  EXPECT_EQ(server.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(server.status().message()), HasSubstr("in the clear"));
}

TEST_F(GuardedEdgeTest, CallsByHttpPassTheSameTable) {
  const auto server = server::GrpcServer::Start("127.0.0.1:0", edge_, &board_);
  ASSERT_TRUE(server.ok()) << server.status();
  const server::Exporter exporter(edge_);
  const server::OwnCalls calls((*server)->OwnChannel());
  const server::RestGateway rest(&calls);
  server::HttpParts parts;
  parts.metrics = &exporter;
  parts.board = &board_;
  parts.rest = [&rest](const server::HttpRequest& request) { return rest.Answer(request); };
  const auto http = server::HttpServer::Start("127.0.0.1:0", parts, {true, {}});
  ASSERT_TRUE(http.ok()) << http.status();
  const auto ask = [&http](const std::string& line, const std::string& header) {
    return HttpExchange((*http)->address(),
                        absl::StrCat(line, " HTTP/1.1\r\nHost: x\r\n", header, "\r\n"));
  };
  const std::string reader = "Authorization: Bearer token of reader r\r\n";
  EXPECT_THAT(ask("GET /healthz", ""), HasSubstr("200 OK"));
  EXPECT_THAT(ask("GET /metrics", ""), HasSubstr("200 OK"));
  EXPECT_THAT(ask("GET /v1/models", reader), HasSubstr("200 OK"));
  for (const char* header : {"", "Authorization: Bearer wrong\r\n"}) {
    const std::string reply = ask("GET /v1/models", header);
    EXPECT_THAT(reply, HasSubstr("401 Unauthorized"));
    EXPECT_THAT(reply, HasSubstr("WWW-Authenticate: Bearer"));
    EXPECT_THAT(reply, HasSubstr("missing or invalid credentials"));
  }
  EXPECT_THAT(ask("DELETE /v1/models/digits", reader), HasSubstr("403 Forbidden"));
  EXPECT_THAT(ask("GET /nothing", ""), HasSubstr("404 Not Found"));
}

}  // namespace
}  // namespace engram::testing
