// The table of who may call what, against what the server really offers.
#include "server/rpc_table.h"

#include <sys/stat.h>

#include <fstream>
#include <regex>
#include <set>

#include "absl/strings/str_cat.h"
#include "engram/v1/config.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "server/authority.h"
#include "server/listener_credentials.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::testing {
namespace {

// The services that the listener says it has.
std::set<std::string> Services(const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  const auto stream = OpenRawStream(
      channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &context);
  stream->Write(ToBuffer(absl::string_view(":\x01*", 3)));  // list_services = "*"
  grpc::ByteBuffer reply;
  EXPECT_TRUE(stream->Read(&reply));
  stream->WritesDone();
  stream->Finish();
  const std::string bytes = FromBuffer(reply);
  static const std::regex name("[a-z][a-z0-9_]*(\\.[a-z0-9_]+)*\\.[A-Z][A-Za-z]+");
  std::set<std::string> names;
  for (std::sregex_iterator at(bytes.begin(), bytes.end(), name), end; at != end; ++at) {
    names.insert(at->str());
  }
  return names;
}

TEST(RpcTableTest, EveryMethodOfEveryServiceHasARowAndNoOther) {
  EdgeRig rig;
  std::set<std::string> offered;
  for (const std::string& service : Services(rig.channel())) {
    const auto* descriptor =
        google::protobuf::DescriptorPool::generated_pool()->FindServiceByName(service);
    if (descriptor == nullptr) {
      // Debian links no descriptor of it.
      EXPECT_EQ(service, "grpc.health.v1.Health") << "what methods has it?";
      offered.insert({"grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch"});
      continue;
    }
    for (int i = 0; i < descriptor->method_count(); ++i) {
      offered.insert(absl::StrCat(service, "/", descriptor->method(i)->name()));
    }
  }
  std::set<std::string> rows;
  for (const server::RpcRow& row : server::kRpcs) rows.insert(std::string(row.name));
  for (const server::AccessRow& row : server::kListenerRpcs) rows.insert(std::string(row.name));
  EXPECT_EQ(offered, rows) << "what is offered, and the rows of rpc_table.h";
}

// Answers any method, as a service would that somebody registered and forgot in the table.
class Forgotten final : public grpc::CallbackGenericService {
 public:
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    ++calls;
    class Over final : public grpc::ServerGenericBidiReactor {
     public:
      Over() { Finish(grpc::Status::OK); }
      void OnDone() override { delete this; }
    };
    return new Over();
  }
  int calls = 0;
};

TEST(RpcTableTest, AMethodWithoutARowIsRefusedBeforeItsHandler) {
  ScratchFolder scratch;
  const std::string tokens = scratch.path() + "/tokens";
  // The SHA-256 of "t".
  std::ofstream(tokens)
      << "admin a e3b98a4da31a127d4bde6e43033f66ba274cab0eb7eb1c70ec41402bf6273dd8\n";
  ASSERT_EQ(chmod(tokens.c_str(), 0600), 0);
  EdgeRig rig;
  server::Edge edge = rig.edge();
  edge.config.mutable_authentication()->set_token_file(tokens);
  const auto authority = server::Authority::Make(edge.config);
  ASSERT_TRUE(authority.ok()) << authority.status();
  edge.authority = authority->get();
  const auto credentials = server::MakeListenerCredentials("127.0.0.1:0", edge);
  ASSERT_TRUE(credentials.ok()) << credentials.status();
  Forgotten forgotten;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", *credentials, &port);
  builder.RegisterCallbackGenericService(&forgotten);
  const auto server = builder.BuildAndStart();
  const auto channel =
      grpc::CreateChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials());
  const auto call = [&channel](const char* method, bool with_token) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
    if (with_token) context.AddMetadata("authorization", "Bearer t");
    const auto stream = OpenRawStream(channel, method, &context);
    stream->WritesDone();
    return stream->Finish().error_code();
  };
  EXPECT_EQ(call("/engram.v1.Admin/Forgotten", true), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(call("/inference.GRPCInferenceService/ModelStreamInfer", true),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(call("/engram.v1.Admin/Forgotten", false), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(forgotten.calls, 0);
  EXPECT_EQ(call("/engram.v1.Models/ListModels", true), grpc::StatusCode::OK);
  EXPECT_EQ(forgotten.calls, 1) << "the opponent itself works";
  server->Shutdown(std::chrono::system_clock::now());
}

}  // namespace
}  // namespace engram::testing
