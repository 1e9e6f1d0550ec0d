// The whole edge in this process: a real gRPC server on a free port in front of a fake host.
//
// Threading: the test's thread. Ownership: everything; the destructor drains.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "grpcpp/channel.h"
#include "server/edge.h"
#include "server/grpc_server.h"
#include "server/serving_board.h"
#include "tests/testing/server_edge/fake_host.h"

namespace engram::testing {

class EdgeRig {
 public:
  // `config` may lack what has a default.
  explicit EdgeRig(server::StreamLimits streams = {}, v1::ServerConfig config = {});
  ~EdgeRig();

  // "digits": 4 features, inline commits unless told otherwise.
  std::shared_ptr<FakeModel> AddDigits(FakeModel::Commits commits = FakeModel::Commits::kInline,
                                       v1::Head::Kind head = v1::Head::GROWING);
  const std::shared_ptr<FakeModel>& digits() const { return digits_; }
  const std::string& address() const { return server_->address(); }
  FakeHost& host() { return host_; }
  server::Edge& edge() { return edge_; }
  server::ServingBoard& board() { return board_; }
  server::GrpcServer& server() { return *server_; }
  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }

 private:
  FakeHost host_;
  std::shared_ptr<FakeModel> digits_;
  server::ServingBoard board_;
  server::CallGate gate_;
  server::RpcStatistics rpcs_;
  server::CallPool pool_{"limits.waiting_calls", 2, 64};
  server::CallPool prediction_pool_{"limits.waiting_predictions", 2, 64};
  server::CallPool learning_pool_{"limits.waiting_calls", 2, 64};
  server::QuotaLedger quotas_;
  std::vector<strategies::StrategyHelp> strategies_;
  server::Edge edge_;
  std::unique_ptr<server::GrpcServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

}  // namespace engram::testing
