#include "tests/unit/client/fake_engram.h"

#include <zlib.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "storage/base/check.h"

namespace engram::client {

RetryOptions QuickRetry() {
  RetryOptions retry;
  retry.delay_first = absl::Milliseconds(1);
  retry.delay_max = absl::Milliseconds(20);
  return retry;
}

grpc::Status RichStatus(grpc::StatusCode code, const std::string& message,
                        const std::vector<const google::protobuf::Message*>& details) {
  google::rpc::Status rich;
  rich.set_code(code);
  rich.set_message(message);
  for (const google::protobuf::Message* detail : details) rich.add_details()->PackFrom(*detail);
  return grpc::Status(code, message, rich.SerializeAsString());
}

v1::LearnResponse FakeLearning::Welcome(const v1::LearnHello& hello, Position* position) {
  absl::MutexLock lock(&mu_);
  position->number = ++streams_;
  hellos_.push_back(hello);
  v1::LearnResponse response;
  v1::LearnWelcome* welcome = response.mutable_welcome();
  welcome->set_epoch(static_cast<uint64_t>(streams_));
  const bool forgets = script_.forget_from_stream > 0 && streams_ >= script_.forget_from_stream;
  welcome->set_last_producer_sequence(forgets ? 0 : script_.last_sequence);
  position->acked = script_.last_sequence;
  return response;
}

bool FakeLearning::Store(const v1::LearnMessage& message, Position* position) {
  absl::MutexLock lock(&mu_);
  const uint64_t sequence = message.producer_sequence();
  received_.push_back(sequence);
  ++position->messages;
  ++position->unacked_messages;
  position->ack.set_producer_sequence(sequence);
  if (sequence <= script_.last_sequence) {
    position->ack.set_duplicates(position->ack.duplicates() + 1);
  } else {
    ENGRAM_CHECK(sequence == script_.last_sequence + 1);
    script_.last_sequence = sequence;
    if (script_.reject.count(sequence) == 0) stored_.push_back(message);
  }
  if (script_.reject.count(sequence) > 0) {
    v1::Rejection* rejection = position->ack.add_rejections();
    rejection->set_producer_sequence(sequence);
    rejection->mutable_status()->set_code(grpc::StatusCode::INVALID_ARGUMENT);
    rejection->mutable_status()->set_message("features: expected 2 values");
  }
  return !(position->number == script_.cut_stream &&
           position->messages == static_cast<uint64_t>(script_.cut_after_messages));
}

void FakeLearning::SendAck(Position* position, Stream* stream) {
  v1::LearnResponse response;
  {
    absl::MutexLock lock(&mu_);
    position->ack.set_durable_sequence(stored_.size());
    position->ack.set_applied_sequence(stored_.size());
    *response.mutable_ack() = std::move(position->ack);
    position->ack.Clear();
    position->unacked_messages = 0;
  }
  stream->Write(response);
}

grpc::Status FakeLearning::End(const v1::LearnEnd& end, Position* position, Stream* stream) {
  {
    absl::MutexLock lock(&mu_);
    ends_.push_back(end);
    mu_.Await(absl::Condition(
        +[](bool* hold) { return !*hold; }, &script_.hold_acks));
  }
  if (end.message_count() != position->messages || end.crc32() != position->crc32) {
    return grpc::Status(grpc::StatusCode::DATA_LOSS, "end record does not match");
  }
  if (position->unacked_messages > 0) SendAck(position, stream);
  return grpc::Status::OK;
}

grpc::Status FakeLearning::Learn(grpc::ServerContext* context, Stream* stream) {
  v1::LearnRequest request;
  if (!stream->Read(&request)) return grpc::Status(grpc::StatusCode::ABORTED, "no hello");
  Position position;
  stream->Write(Welcome(request.hello(), &position));
  while (stream->Read(&request)) {
    if (request.has_end()) return End(request.end(), &position, stream);
    const std::string bytes = request.SerializeAsString();
    position.crc32 =
        static_cast<uint32_t>(crc32(position.crc32, reinterpret_cast<const Bytef*>(bytes.data()),
                                    static_cast<uInt>(bytes.size())));
    if (!Store(request.message(), &position)) {
      absl::MutexLock lock(&mu_);
      return script_.cut_status;
    }
    bool ack = false;
    {
      absl::MutexLock lock(&mu_);
      ack = !script_.hold_acks &&
            position.unacked_messages >= static_cast<uint64_t>(script_.ack_every);
    }
    if (ack) SendAck(&position, stream);
  }
  return grpc::Status(grpc::StatusCode::ABORTED, "stream ended without its end record");
}

grpc::Status FakeLearning::LearnBatch(grpc::ServerContext* context,
                                      const v1::LearnBatchRequest* request,
                                      v1::LearnBatchResponse* response) {
  absl::MutexLock lock(&mu_);
  batches_.push_back(*request);
  if (!batch_failures_.empty()) {
    const grpc::Status failure = batch_failures_.front();
    batch_failures_.erase(batch_failures_.begin());
    return failure;
  }
  response->set_first_sequence(1);
  response->set_duplicate(batches_.size() > 1);
  return grpc::Status::OK;
}

void FakeLearning::ReleaseAcks() {
  absl::MutexLock lock(&mu_);
  script_.hold_acks = false;
}

void FakeLearning::AwaitReceived(int messages) {
  absl::MutexLock lock(&mu_);
  const auto enough = [this, messages]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return received_.size() >= static_cast<size_t>(messages);
  };
  mu_.Await(absl::Condition(&enough));
}

bool FakeLearning::ReceivesMoreThan(int messages, absl::Duration wait) {
  absl::MutexLock lock(&mu_);
  const auto more = [this, messages]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return received_.size() > static_cast<size_t>(messages);
  };
  return mu_.AwaitWithTimeout(absl::Condition(&more), wait);
}

std::vector<uint64_t> FakeLearning::received_sequences() const {
  absl::MutexLock lock(&mu_);
  return received_;
}

std::vector<v1::LearnMessage> FakeLearning::stored() const {
  absl::MutexLock lock(&mu_);
  return stored_;
}

std::vector<v1::LearnHello> FakeLearning::hellos() const {
  absl::MutexLock lock(&mu_);
  return hellos_;
}

std::vector<v1::LearnEnd> FakeLearning::ends() const {
  absl::MutexLock lock(&mu_);
  return ends_;
}

void FakeLearning::FailLearnBatchWith(std::vector<grpc::Status> statuses) {
  absl::MutexLock lock(&mu_);
  batch_failures_ = std::move(statuses);
}

std::vector<v1::LearnBatchRequest> FakeLearning::batches() const {
  absl::MutexLock lock(&mu_);
  return batches_;
}

grpc::Status FakeAdmin::ListStrategies(grpc::ServerContext* context,
                                       const v1::ListStrategiesRequest* request,
                                       v1::ListStrategiesResponse* response) {
  v1::StrategyDescription* strategy = response->add_strategies();
  strategy->set_name("ewc");
  strategy->set_family("regularisation");
  strategy->set_paper("Kirkpatrick et al. 2017");
  strategy->set_memory("2 floats a parameter");
  strategy->set_time("O(P) a step");
  strategy->add_parameters()->set_name("lambda");
  return grpc::Status::OK;
}

grpc::Status FakeModels::CreateModel(grpc::ServerContext* context,
                                     const v1::CreateModelRequest* request, v1::Model* response) {
  response->set_name(request->name());
  *response->mutable_spec() = request->spec();
  return grpc::Status::OK;
}

grpc::Status FakeModels::CreateModelFromWeights(
    grpc::ServerContext* /*context*/, grpc::ServerReader<v1::CreateModelFromWeightsRequest>* reader,
    v1::Model* response) {
  v1::CreateModelFromWeightsRequest part;
  if (!reader->Read(&part) || !part.has_create()) {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "create: expected first");
  }
  const v1::CreateModelRequest create = part.create();
  std::string file;
  int chunks = 0;
  while (reader->Read(&part) && part.has_chunk()) {
    file += part.chunk();
    ++chunks;
  }
  const auto crc = static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(file.data()), file.size()));
  if (!part.has_end() || part.end().crc32() != crc ||
      part.end().bytes() != static_cast<int64_t>(file.size())) {
    return grpc::Status(grpc::StatusCode::DATA_LOSS, "end does not match");
  }
  if (file == "hostile") {
    return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "weights: hostile");
  }
  response->set_name(create.name());
  *response->mutable_spec() = create.spec();
  response->mutable_spec()->mutable_weights()->set_scope(create.weights().scope());
  response->mutable_spec()->mutable_weights()->set_bytes(part.end().bytes());
  response->mutable_spec()->mutable_weights()->set_sha256(absl::StrCat(chunks, " chunks"));
  return grpc::Status::OK;
}

grpc::Status FakeModels::GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                                  v1::Model* response) {
  if (request->name() == "digits") {
    response->set_name(request->name());
    return grpc::Status::OK;
  }
  google::rpc::ResourceInfo missing;
  missing.set_resource_type("model");
  missing.set_resource_name(request->name());
  return RichStatus(grpc::StatusCode::NOT_FOUND, "no such model", {&missing});
}

grpc::Status FakeCheckpoints::Export(grpc::ServerContext* /*context*/,
                                     const v1::ExportRequest* request,
                                     grpc::ServerWriter<v1::ExportResponse>* writer) {
  v1::ExportResponse part;
  part.mutable_header()->set_bytes(5);
  // Of "model".
  part.mutable_header()->set_sha256(
      "9372c470eeadd5ecd9c3c74c2b3cb633f8e2f2fad799250a0f70d652b6b825e4");
  writer->Write(part);
  part.set_chunk("mod");
  writer->Write(part);
  if (request->checkpoint() == "cut") return grpc::Status::OK;
  part.set_chunk(request->checkpoint() == "garbled" ? "es" : "el");
  writer->Write(part);
  return grpc::Status::OK;
}

grpc::Status FakeCheckpoints::Import(grpc::ServerContext* /*context*/,
                                     grpc::ServerReader<v1::ImportRequest>* reader,
                                     v1::Model* response) {
  v1::ImportRequest part;
  int64_t bytes = 0;
  while (reader->Read(&part)) {
    if (part.has_header()) response->set_name(part.header().name());
    bytes += static_cast<int64_t>(part.chunk().size());
    if (part.has_end() && part.end().bytes() == bytes) {
      response->mutable_spec()->mutable_weights()->set_bytes(bytes);
    }
  }
  return grpc::Status::OK;
}

FakeEngram::FakeEngram(LearnScript script) : learning_(std::move(script)) { Listen(0); }

FakeEngram::~FakeEngram() {
  learning_.ReleaseAcks();
  server_->Shutdown(std::chrono::system_clock::now());
}

void FakeEngram::Listen(int port) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(),
                           &port_);
  builder.RegisterService(&learning_);
  builder.RegisterService(&admin_);
  builder.RegisterService(&models_);
  builder.RegisterService(&checkpoints_);
  server_ = builder.BuildAndStart();
  ENGRAM_CHECK(server_ != nullptr);
}

void FakeEngram::Restart() {
  server_->Shutdown(std::chrono::system_clock::now());
  server_->Wait();
  server_.reset();
  Listen(port_);
}

std::string FakeEngram::target() const { return absl::StrCat("127.0.0.1:", port_); }

std::shared_ptr<Connection> FakeEngram::Connect() const {
  ConnectionOptions options;
  options.target = target();
  options.retry = QuickRetry();
  auto connection = Connection::Open(options);
  ENGRAM_CHECK(connection.ok());
  return *std::move(connection);
}

}  // namespace engram::client
