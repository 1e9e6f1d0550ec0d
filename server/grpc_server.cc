#include "server/grpc_server.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/server_builder.h"
#include "server/config.h"
#include "server/listener_credentials.h"
#include "server/services.h"
#include "server/steady_alarm.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr size_t kMemoryQuotaBytes = 256 << 20;
constexpr int kSyncThreadsMax = 8;

struct IntegerArgument {
  const char* name;
  int value;
};

// Values of promises.md 3.2: each closes a way to hurt the server that was seen to work.
constexpr IntegerArgument kArguments[] = {
    {GRPC_ARG_ALLOW_REUSEPORT, 0},  // a second server on the port must fail, not share it
    {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 5000},
    {GRPC_ARG_MAX_METADATA_SIZE, 8192},
    {GRPC_ARG_KEEPALIVE_TIME_MS, 60000},
    {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000},
    {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0},
    {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 30000},
    {GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2},
    {GRPC_ARG_MAX_CONNECTION_IDLE_MS, 300000},
    {GRPC_ARG_ENABLE_CHANNELZ, 0},
};

void SetLimits(const v1::Limits& limits, grpc::ServerBuilder* builder) {
  for (const IntegerArgument& argument : kArguments) {
    builder->AddChannelArgument(argument.name, argument.value);
  }
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS,
                              static_cast<int>(limits.connection_calls()));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                              static_cast<int>(limits.connection_age_seconds() * 1000));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS,
                              static_cast<int>(limits.connection_grace_seconds() * 1000));
  builder->SetMaxReceiveMessageSize(static_cast<int>(limits.message_bytes()));
  builder->SetMaxSendMessageSize(static_cast<int>(limits.message_bytes()));
  // A compressed message would be inflated whole before any size limit looks at it.
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_GZIP, false);
  builder->SetCompressionAlgorithmSupportStatus(GRPC_COMPRESS_DEFLATE, false);
  grpc::ResourceQuota quota("engram");
  quota.Resize(kMemoryQuotaBytes);
  // Reflection alone is a synchronous service; everything else runs on callbacks.
  quota.SetMaxThreads(kSyncThreadsMax);
  builder->SetResourceQuota(quota);
  builder->SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder->SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<GrpcServer>> GrpcServer::Start(const std::string& listen,
                                                              const Edge& edge,
                                                              ServingBoard* board) {
  ENGRAM_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress("--listen", listen));
  ENGRAM_ASSIGN_OR_RETURN(const auto credentials, MakeListenerCredentials(listen, edge));
  std::unique_ptr<GrpcServer> made(new GrpcServer(edge, board));
  ENGRAM_ASSIGN_OR_RETURN(made->acceptor_,
                          ConnectionAcceptor::Listen(listen, address, edge.quotas));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(edge.config.limits(), &builder);
  using Connections = grpc::ServerBuilder::experimental_type::ExternalConnectionType;
  auto connections =
      builder.experimental().AddExternalConnectionAcceptor(Connections::FROM_FD, credentials);
  for (const auto make : {MakeModelsService, MakeLearningService, MakePredictionService,
                          MakeEvaluationService, MakeCheckpointsService, MakeAdminService,
                          MakeInferenceService}) {
    made->services_.push_back(make(edge));
    builder.RegisterService(made->services_.back().get());
  }
  made->server_ = builder.BuildAndStart();
  if (made->server_ == nullptr) {
    return absl::InternalError("gRPC: the server does not start");
  }
  board->Attach(made->server_->GetHealthCheckService());
  made->acceptor_->Serve(std::move(connections));
  return made;
}

std::shared_ptr<grpc::Channel> GrpcServer::OwnChannel() {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  return server_->InProcessChannel(arguments);
}

GrpcServer::~GrpcServer() { Drain(absl::ZeroDuration()); }

void GrpcServer::Drain(absl::Duration patience) {
  if (server_ == nullptr) return;
  edge_.gate->Drain();
  const absl::Duration end = SteadyNow() + patience;
  while (edge_.gate->OpenCalls() > 0 && SteadyNow() < end && !hurried()) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  acceptor_->Stop();
  // A moment for the last replies to leave; then whatever is open is cancelled.
  server_->Shutdown(SteadyIn(absl::Milliseconds(200)));
  server_->Wait();
  board_->Attach(nullptr);
  server_.reset();
}

}  // namespace engram::server
