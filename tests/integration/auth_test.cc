// Every method of a real server, called by everybody: no credentials, bad ones, and each role.
#include <algorithm>
#include <map>
#include <regex>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/client_context.h"
#include "tests/integration/credentials.h"
#include "tests/integration/server_test.h"
#include "tests/testing/process/http_get.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/process/toy_examples.h"

namespace engram::integration {
namespace {

// What the surface says, written down a second time: the server's own table is what is judged.
const std::map<std::string, std::string>& NeededRoles() {
  static const auto* const roles = new std::map<std::string, std::string>{
      {"engram.v1.Models/CreateModel", "admin"},
      {"engram.v1.Models/CreateModelFromWeights", "admin"},
      {"engram.v1.Models/GetModel", "reader"},
      {"engram.v1.Models/ListModels", "reader"},
      {"engram.v1.Models/UpdateModel", "admin"},
      {"engram.v1.Models/DeleteModel", "admin"},
      {"engram.v1.Models/PauseTraining", "admin"},
      {"engram.v1.Models/ResumeTraining", "admin"},
      {"engram.v1.Learning/Learn", "writer"},
      {"engram.v1.Learning/LearnBatch", "writer"},
      {"engram.v1.Learning/MarkBoundary", "writer"},
      {"engram.v1.Learning/WaitApplied", "reader"},
      {"engram.v1.Learning/Erase", "admin"},
      {"engram.v1.Prediction/Predict", "reader"},
      {"engram.v1.Prediction/PredictStream", "reader"},
      {"engram.v1.Evaluation/GetReport", "reader"},
      {"engram.v1.Evaluation/WatchReport", "reader"},
      {"engram.v1.Evaluation/Evaluate", "reader"},
      {"engram.v1.Checkpoints/CreateCheckpoint", "admin"},
      {"engram.v1.Checkpoints/ListCheckpoints", "reader"},
      {"engram.v1.Checkpoints/GetCheckpoint", "reader"},
      {"engram.v1.Checkpoints/DeleteCheckpoint", "admin"},
      {"engram.v1.Checkpoints/Rollback", "admin"},
      {"engram.v1.Checkpoints/Export", "reader"},
      {"engram.v1.Checkpoints/Import", "admin"},
      {"engram.v1.Admin/GetServerInfo", "reader"},
      {"engram.v1.Admin/ListStrategies", "reader"},
      {"engram.v1.Admin/GetLimits", "reader"},
      {"engram.v1.Admin/CreateBackup", "admin"},
      {"engram.v1.Admin/ReloadConfig", "admin"},
      {"engram.v1.Admin/AcknowledgeLoss", "admin"},
      {"engram.v1.Admin/ListAudit", "admin"},
      {"engram.v1.Admin/ListQuarantined", "admin"},
      {"engram.v1.Admin/ReleaseQuarantined", "admin"},
      {"engram.v1.Admin/ListRejected", "admin"},
      {"engram.v1.Admin/Blame", "admin"},
      {"inference.GRPCInferenceService/ServerLive", "reader"},
      {"inference.GRPCInferenceService/ServerReady", "reader"},
      {"inference.GRPCInferenceService/ModelReady", "reader"},
      {"inference.GRPCInferenceService/ServerMetadata", "reader"},
      {"inference.GRPCInferenceService/ModelMetadata", "reader"},
      {"inference.GRPCInferenceService/ModelInfer", "reader"},
      {"inference.GRPCInferenceService/ModelConfig", "reader"},
      {"inference.GRPCInferenceService/ModelStatistics", "reader"},
      {"inference.GRPCInferenceService/RepositoryIndex", "reader"},
      {"grpc.health.v1.Health/Check", "reader"},
      {"grpc.health.v1.Health/Watch", "reader"},
      {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "reader"},
  };
  return *roles;
}

// In order: each role may what those before it may.
int Rank(const std::string& role) {
  static const std::vector<std::string> order = {"reader", "writer", "admin"};
  return static_cast<int>(std::find(order.begin(), order.end(), role) - order.begin());
}

class AuthTest : public ServerTest {
 protected:
  void SetUp() override {
    credentials_ = std::make_unique<Credentials>(scratch_.Subfolder("credentials"));
    options_.config = Config();
    options_.credentials = credentials_->Channel("", credentials_->Token("admin"));
    ServerTest::SetUp();
  }
  virtual std::string Config() const { return credentials_->Config(); }

  std::shared_ptr<grpc::Channel> ChannelOf(const std::string& token) const {
    return server_->NewChannel(credentials_->Channel("", token));
  }
  static grpc::Status ListModels(const std::shared_ptr<grpc::Channel>& channel) {
    return testing::CallRaw(channel, "/engram.v1.Models/ListModels", "").status;
  }

  // What the listener offers, by its own word: also what somebody added and told no test.
  std::set<std::string> OfferedMethods() const {
    grpc::ClientContext context;
    const auto stream = testing::OpenRawStream(
        stubs_->channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        &context);
    stream->Write(testing::ToBuffer(absl::string_view(":\x01*", 3)));  // list_services = "*"
    grpc::ByteBuffer reply;
    EXPECT_TRUE(stream->Read(&reply));
    stream->WritesDone();
    stream->Finish();
    const std::string bytes = testing::FromBuffer(reply);
    static const std::regex name("[a-z][a-z0-9_]*(\\.[a-z0-9_]+)*\\.[A-Z][A-Za-z]+");
    std::set<std::string> methods;
    for (std::sregex_iterator at(bytes.begin(), bytes.end(), name), end; at != end; ++at) {
      AddMethods(at->str(), &methods);
    }
    return methods;
  }
  // Debian links no descriptor of health; its methods are in the table by name.
  static void AddMethods(const std::string& service, std::set<std::string>* methods) {
    const auto* descriptor =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
    if (descriptor == nullptr) {
      for (const auto& [method, role] : NeededRoles()) {
        if (absl::StartsWith(method, service + "/")) methods->insert(method);
      }
      return;
    }
    for (int i = 0; i < descriptor->method_count(); ++i) {
      methods->insert(absl::StrCat(service, "/", descriptor->method(i)->name()));
    }
  }

  // Calls with an empty message. A stream that goes on ends with the deadline: then it was let in.
  grpc::Status Call(const std::shared_ptr<grpc::Channel>& channel, const std::string& method) {
    const bool endless = absl::EndsWith(method, "Health/Watch");
    return testing::CallRaw(channel, "/" + method, "",
                            endless ? absl::Milliseconds(1500) : absl::Seconds(20))
        .status;
  }

  // Over TLS, by a client that is not ours. The reply, headers and all.
  std::string Get(const std::string& path, const std::string& header) {
    const auto finished = testing::RunToEnd(
        {"/bin/sh", "-c",
         absl::StrCat("printf 'GET ", path, " HTTP/1.1\\r\\nHost: x\\r\\n", header, "\\r\\n' | ",
                      "openssl s_client -quiet -verify_return_error -CAfile ",
                      credentials_->File("ca.pem"), " -connect ", server_->http_address())},
        absl::Seconds(30), scratch_.path() + "/get." + std::to_string(++runs_));
    EXPECT_TRUE(finished.ok()) << finished.status();
    return finished.ok() ? finished->output : "";
  }

  std::unique_ptr<Credentials> credentials_;
  int runs_ = 0;
};

void ExpectRefusal(const grpc::Status& status, const std::string& who, const std::string& needed,
                   const std::string& method) {
  if (who.empty()) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED) << status.error_message();
    EXPECT_EQ(status.error_message(), "missing or invalid credentials");
  } else {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << status.error_message();
    EXPECT_EQ(status.error_message(),
              absl::StrCat("role ", who, " may not call ", method.substr(method.find('/') + 1),
                           "; needs ", needed));
  }
  if (!absl::StartsWith(method, "engram.v1.")) return;
  EXPECT_EQ(testing::Reason(status), who.empty() ? "INVALID_CREDENTIALS" : "ROLE_REQUIRED");
}

TEST_F(AuthTest, EveryMethodIsOpenToItsRolesAndNobodyElse) {
  struct Caller {
    std::string name;
    std::string role;  // "": nobody
    std::shared_ptr<grpc::Channel> channel;
  };
  std::vector<Caller> callers = {{"none", "", ChannelOf("")},
                                 {"bad", "", ChannelOf(std::string(64, '0'))}};
  for (const char* role : {"reader", "writer", "admin"}) {
    callers.push_back({role, role, ChannelOf(credentials_->Token(role))});
  }
  const std::set<std::string> methods = OfferedMethods();
  EXPECT_EQ(methods.size(), NeededRoles().size());
  for (const std::string& method : methods) {
    const auto needed = NeededRoles().find(method);
    ASSERT_NE(needed, NeededRoles().end()) << method << ": say here who may call it";
    for (const Caller& caller : callers) {
      SCOPED_TRACE(absl::StrCat(method, " by ", caller.name));
      const grpc::Status status = Call(caller.channel, method);
      const bool allowed = !caller.role.empty() && Rank(caller.role) >= Rank(needed->second);
      if (!allowed) {
        ExpectRefusal(status, caller.role, needed->second, method);
        continue;
      }
      EXPECT_NE(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
      EXPECT_NE(status.error_code(), grpc::StatusCode::PERMISSION_DENIED);
      EXPECT_NE(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
      EXPECT_NE(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
    }
  }
}

TEST_F(AuthTest, ACallerIsToldItsRole) {
  for (const char* role : {"reader", "writer", "admin"}) {
    const auto answer = testing::CallRaw(ChannelOf(credentials_->Token(role)),
                                         "/engram.v1.Admin/GetServerInfo", "");
    v1::ServerInfo facts;
    ASSERT_TRUE(facts.ParseFromString(answer.body)) << answer.status.error_message();
    EXPECT_EQ(facts.role(), role);
  }
}

TEST_F(AuthTest, UnknownMethodsTellAStrangerNothing) {
  for (const char* method : {"/engram.v1.Admin/Nothing", "/no.Such/Method", "/../../etc/passwd"}) {
    EXPECT_EQ(testing::CallRaw(ChannelOf(""), method, "").status.error_code(),
              grpc::StatusCode::UNAUTHENTICATED)
        << method;
    EXPECT_EQ(testing::CallRaw(stubs_->channel, method, "").status.error_code(),
              grpc::StatusCode::UNIMPLEMENTED)
        << method;
  }
}

TEST_F(AuthTest, RefusedCallsAreCountedAndTokensAreNeverWritten) {
  EXPECT_EQ(ListModels(ChannelOf("")).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  const std::string page = Get("/metrics", "");
  EXPECT_NE(page.find("engram_rpc_server_duration_seconds_count{method=\"engram.v1.Models/"
                            "ListModels\",code=\"UNAUTHENTICATED\"} 1"),
            std::string::npos);
  ASSERT_EQ(*server_->Drain(), 0) << server_->Output();
  for (const char* role : {"reader", "writer", "admin"}) {
    EXPECT_EQ(server_->Output().find(credentials_->Token(role)), std::string::npos) << role;
  }
  EXPECT_EQ(server_->Output().find("Bearer"), std::string::npos);
}

TEST_F(AuthTest, PagesAreServedOverTlsToThoseWhoMay) {
  const std::string token = "Authorization: Bearer " + credentials_->Token("reader");
  EXPECT_NE(Get("/readyz", "").find("200 OK"), std::string::npos);
  EXPECT_NE(Get("/v1/models", token + "\\r\\n").find("200 OK"), std::string::npos);
  EXPECT_NE(Get("/v1/models", "").find("401 Unauthorized"), std::string::npos);
  const auto plain = testing::HttpGet(server_->http_address(), "/readyz");
  EXPECT_FALSE(plain.ok()) << plain->code << ": an answer in the clear";
}

class BoundWriterTest : public AuthTest {
 protected:
  std::string Config() const override {
    return absl::StrReplaceAll(
        AuthTest::Config(),
        {{"\nauthentication {",
          "\nauthentication { bindings { writer: \"writer\" producers: \"sensor\" "
          "no_boundaries: true }"}});
  }
};

TEST_F(BoundWriterTest, LearnsWithoutTheRightToBoundariesAndMarksNone) {
  ToyModel(stubs_.get(), "toy", "owner").Create(ToySpec());
  const testing::Stubs writer(ChannelOf(credentials_->Token("writer")));
  const auto refused_as_such = [](const grpc::Status& status) {
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED) << status.error_message();
    EXPECT_EQ(testing::Reason(status), "BOUNDARIES_NOT_ALLOWED");
  };
  testing::LearnSession session(writer.channel);
  ASSERT_TRUE(session.Open("toy", "sensor"));
  v1::LearnMessage message;
  message.set_producer_sequence(1);
  *message.add_examples() = testing::ToyExample(testing::ToyShape(), 1, 1);
  ASSERT_TRUE(session.Write(message));
  message.Clear();
  message.set_producer_sequence(2);
  message.mutable_boundary();
  session.Write(message);
  v1::LearnAck merged;
  EXPECT_TRUE(session.ReadUntil(1, &merged)) << "what came before it is kept";
  EXPECT_EQ(merged.rejections_size(), 0);
  refused_as_such(session.Finish());

  v1::MarkBoundaryRequest mark;
  mark.set_model("toy");
  mark.set_producer("sensor");
  mark.set_producer_sequence(2);
  refused_as_such(
      testing::Call(*writer.learning, &v1::Learning::Stub::MarkBoundary, mark).status);
  // An admin ends the task that the writer could not, under the sequence that was not used up.
  const auto marked = testing::Call(*stubs_->learning, &v1::Learning::Stub::MarkBoundary, mark);
  EXPECT_TRUE(marked.ok()) << marked.status.error_message();
  EXPECT_EQ(marked->ended_task(), "task-1");
}

TEST_F(AuthTest, TheCommandCarriesItsCredentials) {
  const auto run = [this](const std::string& flags) {
    const auto finished = testing::RunToEnd(
        {"/bin/sh", "-c",
         absl::StrCat("exec ", testing::CommandBinary(), " --server ", server_->grpc_address(),
                      " --deadline 5 ", flags)},
        absl::Seconds(30), scratch_.path() + "/command." + std::to_string(++runs_));
    EXPECT_TRUE(finished.ok()) << finished.status();
    return finished.ok() ? *finished : testing::Finished{};
  };
  const std::string tls = " --tls_ca " + credentials_->File("ca.pem");
  const std::string reader = tls + " --token_file " + credentials_->File("reader.token");
  const std::string admin = tls + " --token_file " + credentials_->File("admin.token");
  EXPECT_EQ(run("model create toy --features 16" + admin).code, 0);
  const testing::Finished listed = run("model list" + reader);
  EXPECT_EQ(listed.code, 0) << listed.output;
  EXPECT_NE(listed.output.find("toy"), std::string::npos);
  const testing::Finished refused = run("model delete toy" + reader);
  EXPECT_EQ(refused.code, 1);
  EXPECT_NE(refused.output.find("PERMISSION_DENIED: role reader may not call DeleteModel"),
            std::string::npos)
      << refused.output;
  const testing::Finished nobody = run("model list" + tls);
  EXPECT_EQ(nobody.code, 1);
  EXPECT_NE(nobody.output.find("UNAUTHENTICATED"), std::string::npos) << nobody.output;
}

}  // namespace
}  // namespace engram::integration
