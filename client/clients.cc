#include "client/clients.h"

#include <openssl/evp.h>
#include <zlib.h>

#include <array>
#include <iterator>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/unary_call.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

// Binds a stub's method and its request to the form that UnaryCall repeats.
template <typename Response, typename Stub, typename Request>
absl::StatusOr<Response> Call(const Connection& connection, Stub* stub,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                              const Request& request, Repeat repeat, absl::Duration deadline) {
  return UnaryCall<Response>(connection, repeat, deadline,
                             [&](grpc::ClientContext* context, Response* response) {
                               return (stub->*method)(context, request, response);
                             });
}

template <typename Response, typename Stub, typename Request>
absl::StatusOr<Response> Call(const Connection& connection, Stub* stub,
                              grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                                           Response*),
                              const Request& request, Repeat repeat) {
  return Call<Response>(connection, stub, method, request, repeat,
                        connection.options().unary_deadline);
}

// Of a file in chunks: a message well below the server's limit, and a link worth waiting for.
constexpr size_t kChunkBytes = 1 << 20;
constexpr int64_t kSlowestBytesPerSecond = 256 << 10;

void LimitUpload(const Connection& connection, absl::string_view file,
                 grpc::ClientContext* context) {
  connection.Prepare(context);
  const auto bytes = static_cast<int64_t>(file.size());
  context->set_deadline(absl::ToChronoTime(absl::Now() + connection.options().unary_deadline +
                                           absl::Seconds(bytes / kSlowestBytesPerSecond)));
}

// `part` opens the stream; the file follows in chunks, then how long it is and its CRC-32.
template <typename Part>
absl::Status Upload(Part part, absl::string_view file, grpc::ClientWriter<Part>* writer) {
  // A write that fails means that the server has answered: Finish says what.
  bool open = writer->Write(part);
  for (size_t at = 0; open && at < file.size(); at += kChunkBytes) {
    const absl::string_view chunk = file.substr(at, kChunkBytes);
    part.set_chunk(chunk.data(), chunk.size());
    open = writer->Write(part);
  }
  if (open) {
    part.mutable_end()->set_bytes(static_cast<int64_t>(file.size()));
    part.mutable_end()->set_crc32(static_cast<uint32_t>(
        crc32_z(0, reinterpret_cast<const unsigned char*>(file.data()), file.size())));
    writer->Write(part);
    writer->WritesDone();
  }
  return FromGrpcStatus(writer->Finish());
}

absl::StatusOr<std::string> Sha256Hex(absl::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    return absl::InternalError("SHA-256 cannot be computed");
  }
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), size});
}

absl::Status CheckWhole(const ExportedFile& file) {
  if (file.header.bytes() != static_cast<int64_t>(file.bytes.size())) {
    return absl::DataLossError(absl::StrCat("the file came with ", file.bytes.size(),
                                            " bytes, the server announced ", file.header.bytes(),
                                            "; export it again"));
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::string sha256, Sha256Hex(file.bytes));
  if (sha256 == file.header.sha256()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the file came with SHA-256 ", sha256,
                                          ", the server announced ", file.header.sha256(),
                                          "; export it again"));
}

template <typename Element>
std::vector<Element> ToVector(google::protobuf::RepeatedPtrField<Element>* elements) {
  return std::vector<Element>(std::make_move_iterator(elements->begin()),
                              std::make_move_iterator(elements->end()));
}

}  // namespace

ModelsClient::ModelsClient(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)), stub_(v1::Models::NewStub(connection_->channel())) {}

absl::StatusOr<v1::Model> ModelsClient::Create(const std::string& name,
                                               const v1::ModelSpec& spec) const {
  v1::CreateModelRequest request;
  request.set_name(name);
  *request.mutable_spec() = spec;
  return Call(*connection_, stub_.get(), &v1::Models::Stub::CreateModel, request,
              Repeat::kWhenAsked);
}

absl::StatusOr<v1::Model> ModelsClient::CreateFromWeights(const std::string& name,
                                                          const v1::ModelSpec& spec,
                                                          v1::PretrainedWeights::Scope scope,
                                                          absl::string_view file) const {
  grpc::ClientContext context;
  LimitUpload(*connection_, file, &context);
  v1::Model model;
  const auto writer = stub_->CreateModelFromWeights(&context, &model);
  v1::CreateModelFromWeightsRequest part;
  part.mutable_create()->set_name(name);
  *part.mutable_create()->mutable_spec() = spec;
  part.mutable_create()->mutable_weights()->set_scope(scope);
  ENGRAM_RETURN_IF_ERROR(Upload(std::move(part), file, writer.get()));
  return model;
}

absl::StatusOr<v1::Model> ModelsClient::Get(const std::string& name) const {
  v1::GetModelRequest request;
  request.set_name(name);
  return Call(*connection_, stub_.get(), &v1::Models::Stub::GetModel, request, Repeat::kAlways);
}

absl::StatusOr<std::vector<v1::Model>> ModelsClient::List() const {
  ENGRAM_ASSIGN_OR_RETURN(auto response,
                          Call(*connection_, stub_.get(), &v1::Models::Stub::ListModels,
                               v1::ListModelsRequest(), Repeat::kAlways));
  return ToVector(response.mutable_models());
}

absl::StatusOr<v1::UpdateModelResponse> ModelsClient::Update(const std::string& name,
                                                             const v1::ModelSpec& spec) const {
  v1::UpdateModelRequest request;
  request.set_name(name);
  *request.mutable_spec() = spec;
  return Call(*connection_, stub_.get(), &v1::Models::Stub::UpdateModel, request,
              Repeat::kWhenAsked);
}

absl::StatusOr<v1::UpdateModelResponse> ModelsClient::Promote(const std::string& name) const {
  v1::UpdateModelRequest request;
  request.set_name(name);
  request.set_promote(true);
  return Call(*connection_, stub_.get(), &v1::Models::Stub::UpdateModel, request,
              Repeat::kWhenAsked);
}

absl::Status ModelsClient::Delete(const std::string& name) const {
  v1::DeleteModelRequest request;
  request.set_name(name);
  return Call(*connection_, stub_.get(), &v1::Models::Stub::DeleteModel, request,
              Repeat::kWhenAsked)
      .status();
}

absl::StatusOr<v1::Model> ModelsClient::Pause(const std::string& name) const {
  v1::PauseTrainingRequest request;
  request.set_name(name);
  return Call(*connection_, stub_.get(), &v1::Models::Stub::PauseTraining, request,
              Repeat::kAlways);
}

absl::StatusOr<v1::Model> ModelsClient::Resume(const std::string& name) const {
  v1::ResumeTrainingRequest request;
  request.set_name(name);
  return Call(*connection_, stub_.get(), &v1::Models::Stub::ResumeTraining, request,
              Repeat::kAlways);
}

LearningClient::LearningClient(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)), stub_(v1::Learning::NewStub(connection_->channel())) {}

absl::StatusOr<v1::LearnBatchResponse> LearningClient::LearnBatch(
    const v1::LearnBatchRequest& request) const {
  return Call(*connection_, stub_.get(), &v1::Learning::Stub::LearnBatch, request, Repeat::kAlways);
}

absl::StatusOr<v1::MarkBoundaryResponse> LearningClient::MarkBoundary(
    const v1::MarkBoundaryRequest& request) const {
  return Call(*connection_, stub_.get(), &v1::Learning::Stub::MarkBoundary, request,
              Repeat::kAlways);
}

absl::StatusOr<v1::EraseResponse> LearningClient::Erase(const v1::EraseRequest& request,
                                                        absl::Duration patience) const {
  return Call(*connection_, stub_.get(), &v1::Learning::Stub::Erase, request, Repeat::kAlways,
              patience);
}

absl::StatusOr<v1::WaitAppliedResponse> LearningClient::WaitApplied(const std::string& model,
                                                                    uint64_t sequence,
                                                                    bool evaluated,
                                                                    absl::Duration deadline) const {
  v1::WaitAppliedRequest request;
  request.set_model(model);
  request.set_sequence(sequence);
  request.set_evaluated(evaluated);
  return Call(*connection_, stub_.get(), &v1::Learning::Stub::WaitApplied, request, Repeat::kAlways,
              deadline);
}

PredictionClient::PredictionClient(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)), stub_(v1::Prediction::NewStub(connection_->channel())) {}

absl::StatusOr<v1::PredictResponse> PredictionClient::Predict(
    const v1::PredictRequest& request) const {
  return Call(*connection_, stub_.get(), &v1::Prediction::Stub::Predict, request, Repeat::kAlways);
}

EvaluationClient::EvaluationClient(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)), stub_(v1::Evaluation::NewStub(connection_->channel())) {}

absl::StatusOr<v1::Report> EvaluationClient::GetReport(const std::string& model) const {
  v1::GetReportRequest request;
  request.set_model(model);
  return Call(*connection_, stub_.get(), &v1::Evaluation::Stub::GetReport, request,
              Repeat::kAlways);
}

absl::StatusOr<v1::EvaluateResponse> EvaluationClient::Evaluate(
    const v1::EvaluateRequest& request) const {
  return Call(*connection_, stub_.get(), &v1::Evaluation::Stub::Evaluate, request, Repeat::kAlways);
}

absl::Status EvaluationClient::WatchReport(
    const std::string& model, const std::function<bool(const v1::ReportEvent&)>& on_event) const {
  grpc::ClientContext context;
  connection_->Prepare(&context);
  v1::WatchReportRequest request;
  request.set_model(model);
  const auto reader = stub_->WatchReport(&context, request);
  v1::ReportEvent event;
  while (reader->Read(&event)) {
    if (on_event(event)) continue;
    context.TryCancel();
    while (reader->Read(&event)) {
    }
    reader->Finish();
    return absl::OkStatus();
  }
  return FromGrpcStatus(reader->Finish());
}

CheckpointsClient::CheckpointsClient(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)), stub_(v1::Checkpoints::NewStub(connection_->channel())) {}

absl::StatusOr<v1::Checkpoint> CheckpointsClient::Create(const v1::CreateCheckpointRequest& request,
                                                         absl::Duration deadline) const {
  return Call(*connection_, stub_.get(), &v1::Checkpoints::Stub::CreateCheckpoint, request,
              Repeat::kWhenAsked, deadline);
}

absl::StatusOr<std::vector<v1::Checkpoint>> CheckpointsClient::List(
    const std::string& model) const {
  v1::ListCheckpointsRequest request;
  request.set_model(model);
  ENGRAM_ASSIGN_OR_RETURN(auto response,
                          Call(*connection_, stub_.get(), &v1::Checkpoints::Stub::ListCheckpoints,
                               request, Repeat::kAlways));
  return ToVector(response.mutable_checkpoints());
}

absl::StatusOr<v1::Checkpoint> CheckpointsClient::Get(const std::string& model,
                                                      const std::string& id) const {
  v1::GetCheckpointRequest request;
  request.set_model(model);
  request.set_id(id);
  return Call(*connection_, stub_.get(), &v1::Checkpoints::Stub::GetCheckpoint, request,
              Repeat::kAlways);
}

absl::Status CheckpointsClient::Delete(const std::string& model, const std::string& id) const {
  v1::DeleteCheckpointRequest request;
  request.set_model(model);
  request.set_id(id);
  return Call(*connection_, stub_.get(), &v1::Checkpoints::Stub::DeleteCheckpoint, request,
              Repeat::kWhenAsked)
      .status();
}

absl::StatusOr<v1::RollbackResponse> CheckpointsClient::Rollback(
    const v1::RollbackRequest& request) const {
  return Call(*connection_, stub_.get(), &v1::Checkpoints::Stub::Rollback, request,
              request.dry_run() ? Repeat::kAlways : Repeat::kWhenAsked);
}

absl::StatusOr<ExportedFile> CheckpointsClient::Export(const v1::ExportRequest& request,
                                                       absl::Duration deadline) const {
  grpc::ClientContext context;
  connection_->Prepare(&context);
  context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  const auto reader = stub_->Export(&context, request);
  ExportedFile file;
  v1::ExportResponse part;
  while (reader->Read(&part)) {
    if (part.has_header()) file.header = part.header();
    file.bytes.append(part.chunk());
  }
  ENGRAM_RETURN_IF_ERROR(FromGrpcStatus(reader->Finish()));
  ENGRAM_RETURN_IF_ERROR(CheckWhole(file));
  return file;
}

absl::StatusOr<v1::Model> CheckpointsClient::Import(const v1::ImportRequest::Header& header,
                                                    absl::string_view file) const {
  grpc::ClientContext context;
  LimitUpload(*connection_, file, &context);
  v1::Model model;
  const auto writer = stub_->Import(&context, &model);
  v1::ImportRequest part;
  *part.mutable_header() = header;
  ENGRAM_RETURN_IF_ERROR(Upload(std::move(part), file, writer.get()));
  return model;
}

AdminClient::AdminClient(std::shared_ptr<Connection> connection)
    : connection_(std::move(connection)), stub_(v1::Admin::NewStub(connection_->channel())) {}

absl::StatusOr<v1::ServerInfo> AdminClient::GetServerInfo() const {
  return Call(*connection_, stub_.get(), &v1::Admin::Stub::GetServerInfo,
              v1::GetServerInfoRequest(), Repeat::kAlways);
}

absl::StatusOr<std::vector<v1::StrategyDescription>> AdminClient::ListStrategies() const {
  ENGRAM_ASSIGN_OR_RETURN(auto response,
                          Call(*connection_, stub_.get(), &v1::Admin::Stub::ListStrategies,
                               v1::ListStrategiesRequest(), Repeat::kAlways));
  return ToVector(response.mutable_strategies());
}

absl::StatusOr<std::vector<v1::Limit>> AdminClient::GetLimits() const {
  ENGRAM_ASSIGN_OR_RETURN(auto response,
                          Call(*connection_, stub_.get(), &v1::Admin::Stub::GetLimits,
                               v1::GetLimitsRequest(), Repeat::kAlways));
  return ToVector(response.mutable_limits());
}

absl::StatusOr<v1::Backup> AdminClient::CreateBackup(const std::string& name,
                                                     absl::Duration deadline) const {
  v1::CreateBackupRequest request;
  request.set_name(name);
  return Call(*connection_, stub_.get(), &v1::Admin::Stub::CreateBackup, request,
              Repeat::kWhenAsked, deadline);
}

absl::StatusOr<v1::ReloadConfigResponse> AdminClient::ReloadConfig() const {
  return Call(*connection_, stub_.get(), &v1::Admin::Stub::ReloadConfig,
              v1::ReloadConfigRequest(), Repeat::kAlways);
}

absl::StatusOr<std::vector<v1::Loss>> AdminClient::AcknowledgeLoss(
    const std::string& model, const std::string& producer) const {
  v1::AcknowledgeLossRequest request;
  request.set_model(model);
  request.set_producer(producer);
  ENGRAM_ASSIGN_OR_RETURN(auto response,
                          Call(*connection_, stub_.get(), &v1::Admin::Stub::AcknowledgeLoss,
                               request, Repeat::kWhenAsked));
  return ToVector(response.mutable_acknowledged());
}

absl::StatusOr<std::vector<v1::AuditEntry>> AdminClient::ListAudit(int32_t limit,
                                                                   uint64_t before_number) const {
  v1::ListAuditRequest request;
  request.set_limit(limit);
  request.set_before_number(before_number);
  ENGRAM_ASSIGN_OR_RETURN(auto response,
                          Call(*connection_, stub_.get(), &v1::Admin::Stub::ListAudit, request,
                               Repeat::kAlways));
  return ToVector(response.mutable_entries());
}

absl::StatusOr<v1::ListQuarantinedResponse> AdminClient::ListQuarantined(
    const v1::ListQuarantinedRequest& request) const {
  return Call(*connection_, stub_.get(), &v1::Admin::Stub::ListQuarantined, request,
              Repeat::kAlways);
}

absl::StatusOr<v1::ReleaseQuarantinedResponse> AdminClient::ReleaseQuarantined(
    const v1::ReleaseQuarantinedRequest& request) const {
  return Call(*connection_, stub_.get(), &v1::Admin::Stub::ReleaseQuarantined, request,
              Repeat::kWhenAsked);
}

absl::StatusOr<v1::ListRejectedResponse> AdminClient::ListRejected(
    const v1::ListRejectedRequest& request) const {
  return Call(*connection_, stub_.get(), &v1::Admin::Stub::ListRejected, request,
              Repeat::kAlways);
}

absl::StatusOr<v1::BlameResponse> AdminClient::Blame(const v1::BlameRequest& request,
                                                     absl::Duration deadline) const {
  return Call(*connection_, stub_.get(), &v1::Admin::Stub::Blame, request, Repeat::kAlways,
              deadline);
}

}  // namespace engram::client
