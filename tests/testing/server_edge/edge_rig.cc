#include "tests/testing/server_edge/edge_rig.h"

#include <utility>

#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "server/config.h"
#include "storage/base/check.h"

namespace engram::testing {

EdgeRig::EdgeRig(server::StreamLimits streams, v1::ServerConfig config)
    : quotas_(*server::CompleteConfig(config)) {
  strategies::StrategyHelp finetune;
  finetune.name = "finetune";
  finetune.parameters.push_back(
      {"lambda", strategies::ParameterKind::kNumber, 1.5, 0, 10, {}, true, "a weight"});
  strategies_.push_back(std::move(finetune));
  edge_.host = &host_;
  edge_.gate = &gate_;
  edge_.pool = &pool_;
  edge_.prediction_pool = &prediction_pool_;
  edge_.learning_pool = &learning_pool_;
  edge_.quotas = &quotas_;
  edge_.rpcs = &rpcs_;
  edge_.strategies = &strategies_;
  edge_.config = *server::CompleteConfig(std::move(config));
  edge_.fixed_info.set_version("0.0.1");
  edge_.streams = streams;
  auto server = server::GrpcServer::Start("127.0.0.1:0", edge_, &board_);
  ENGRAM_CHECK(server.ok());
  server_ = *std::move(server);
  gate_.Open();
  channel_ = grpc::CreateChannel(server_->address(), grpc::InsecureChannelCredentials());
}

EdgeRig::~EdgeRig() { server_->Drain(absl::ZeroDuration()); }

std::shared_ptr<FakeModel> EdgeRig::AddDigits(FakeModel::Commits commits, v1::Head::Kind head) {
  v1::ModelSpec spec;
  spec.set_feature_count(4);
  spec.set_max_abs_feature(100);
  spec.mutable_head()->set_kind(head);
  return digits_ = host_.Add(std::make_shared<FakeModel>("digits", spec, commits));
}

}  // namespace engram::testing
