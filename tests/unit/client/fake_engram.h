// A server for tests of the client: real gRPC on a free port, a Learning service whose faults are
// scripted, and the few other calls that verbs need.
//
// Threading: safe from any thread. Ownership: owns the gRPC server. Bounds: keeps every message.
// Failure: aborts when the port cannot be bound.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/connection.h"
#include "engram/v1/admin.grpc.pb.h"
#include "engram/v1/checkpoints.grpc.pb.h"
#include "engram/v1/learning.grpc.pb.h"
#include "engram/v1/model.grpc.pb.h"
#include "grpcpp/server.h"

namespace engram::client {

// What the fake does; shared by all its streams.
struct LearnScript {
  // Acks are sent only while this is false.
  bool hold_acks = false;
  // One ack for so many messages.
  int ack_every = 1;
  // Stream number (from 1) that ends with `cut_status` after it stored so many messages, unacked.
  int cut_stream = 0;
  int cut_after_messages = 0;
  grpc::Status cut_status = grpc::Status(grpc::StatusCode::UNAVAILABLE, "cut");
  // Sequences that are answered with INVALID_ARGUMENT.
  std::set<uint64_t> reject;
  // Last producer sequence before the first stream.
  uint64_t last_sequence = 0;
  // Streams from this number on claim to hold less than was acked.
  int forget_from_stream = 0;
};

class FakeLearning : public v1::Learning::Service {
 public:
  explicit FakeLearning(LearnScript script) : script_(std::move(script)) {}

  grpc::Status Learn(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<v1::LearnResponse, v1::LearnRequest>* stream) override;
  grpc::Status LearnBatch(grpc::ServerContext* context, const v1::LearnBatchRequest* request,
                          v1::LearnBatchResponse* response) override;

  // Also acks what was held.
  void ReleaseAcks();
  void AwaitReceived(int messages);
  // Whether more than that many messages arrive within `wait`.
  bool ReceivesMoreThan(int messages, absl::Duration wait);

  // Of every message received, repeats included, in order.
  std::vector<uint64_t> received_sequences() const;
  // Applied once each, in order.
  std::vector<v1::LearnMessage> stored() const;
  std::vector<v1::LearnHello> hellos() const;
  std::vector<v1::LearnEnd> ends() const;
  // What LearnBatch answers first; each status once.
  void FailLearnBatchWith(std::vector<grpc::Status> statuses);
  std::vector<v1::LearnBatchRequest> batches() const;

 private:
  using Stream = grpc::ServerReaderWriter<v1::LearnResponse, v1::LearnRequest>;

  // Of one stream.
  struct Position {
    int number = 0;
    uint64_t messages = 0;
    uint32_t crc32 = 0;
    uint64_t acked = 0;
    uint64_t unacked_messages = 0;
    v1::LearnAck ack;
  };

  v1::LearnResponse Welcome(const v1::LearnHello& hello, Position* position);
  // Returns false when the script cuts the stream here.
  bool Store(const v1::LearnMessage& message, Position* position);
  void SendAck(Position* position, Stream* stream);
  grpc::Status End(const v1::LearnEnd& end, Position* position, Stream* stream);

  mutable absl::Mutex mu_;
  LearnScript script_ ABSL_GUARDED_BY(mu_);
  int streams_ ABSL_GUARDED_BY(mu_) = 0;
  std::vector<uint64_t> received_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::LearnMessage> stored_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::LearnHello> hellos_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::LearnEnd> ends_ ABSL_GUARDED_BY(mu_);
  std::vector<grpc::Status> batch_failures_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::LearnBatchRequest> batches_ ABSL_GUARDED_BY(mu_);
};

class FakeAdmin : public v1::Admin::Service {
 public:
  grpc::Status ListStrategies(grpc::ServerContext* context,
                              const v1::ListStrategiesRequest* request,
                              v1::ListStrategiesResponse* response) override;
};

// Knows one model, "digits". What is made from weights says their size and text in its spec.
class FakeModels : public v1::Models::Service {
 public:
  grpc::Status CreateModel(grpc::ServerContext* context, const v1::CreateModelRequest* request,
                           v1::Model* response) override;
  grpc::Status CreateModelFromWeights(
      grpc::ServerContext* context, grpc::ServerReader<v1::CreateModelFromWeightsRequest>* reader,
      v1::Model* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                        v1::Model* response) override;
};

// Exports "model" in two chunks: as it is, or damaged under way when the checkpoint is called
// "garbled" or "cut". What is imported says its size in its spec.
class FakeCheckpoints : public v1::Checkpoints::Service {
 public:
  grpc::Status Export(grpc::ServerContext* context, const v1::ExportRequest* request,
                      grpc::ServerWriter<v1::ExportResponse>* writer) override;
  grpc::Status Import(grpc::ServerContext* context, grpc::ServerReader<v1::ImportRequest>* reader,
                      v1::Model* response) override;
};

class FakeEngram {
 public:
  explicit FakeEngram(LearnScript script = {});
  ~FakeEngram();

  // Cuts every connection, forgets nothing, and listens again on the same port.
  void Restart();

  FakeLearning& learning() { return learning_; }
  std::string target() const;
  // With short delays between tries.
  std::shared_ptr<Connection> Connect() const;

 private:
  void Listen(int port);

  FakeLearning learning_;
  FakeAdmin admin_;
  FakeModels models_;
  FakeCheckpoints checkpoints_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

// Tries without delays worth noticing.
RetryOptions QuickRetry();

// A gRPC status with google.rpc details.
grpc::Status RichStatus(grpc::StatusCode code, const std::string& message,
                        const std::vector<const google::protobuf::Message*>& details);

}  // namespace engram::client
