#include "server/weights_stream.h"

#include <zlib.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engram/v1/checkpoints.pb.h"
#include "engram/v1/model.pb.h"
#include "grpcpp/alarm.h"
#include "server/byte_buffer_messages.h"
#include "server/call_admission.h"
#include "server/errors.h"
#include "server/model_file.h"
#include "server/steady_alarm.h"
#include "storage/base/mutex.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using Reactor = grpc::ServerReadReactor<grpc::ByteBuffer>;
using Request = v1::CreateModelFromWeightsRequest;

constexpr std::chrono::milliseconds kRetryWhenOthersAreDone{1000};

// The two calls that bring a file. Their parts differ in form only: those of Import become the
// other's.
struct Upload {
  Rpc rpc;
  const char* message;  // what a frame is
  const char* first;    // the part that comes first
  bool (*parse)(const grpc::ByteBuffer& frame, Request* part);
  absl::Status (*complete)(v1::CreateModelRequest* request);
};

bool ParseImport(const grpc::ByteBuffer& frame, Request* part) {
  v1::ImportRequest import;
  part->Clear();
  if (!ParseMessage(frame, &import)) return false;
  if (import.has_header()) {
    part->mutable_create()->mutable_name()->swap(*import.mutable_header()->mutable_name());
    if (import.header().has_spec()) {
      part->mutable_create()->mutable_spec()->Swap(import.mutable_header()->mutable_spec());
    }
  } else if (import.has_chunk()) {
    part->mutable_chunk()->swap(*import.mutable_chunk());
  } else if (import.has_end()) {
    part->mutable_end()->Swap(import.mutable_end());
  }
  return true;
}

constexpr Upload kFromWeights = {
    Rpc::kCreateModelFromWeights, "CreateModelFromWeightsRequest", "create",
    [](const grpc::ByteBuffer& frame, Request* part) { return ParseMessage(frame, part); },
    [](v1::CreateModelRequest*) { return absl::OkStatus(); }};
constexpr Upload kImport = {Rpc::kImport, "ImportRequest", "header", ParseImport, CompleteImport};

class WeightsStream final : public Reactor,
                            public OpenCall,
                            public std::enable_shared_from_this<WeightsStream> {
 public:
  WeightsStream(const Edge& edge, const Upload& upload, WeightsBytes all_bytes,
                grpc::ByteBuffer* reply)
      : edge_(edge), upload_(upload), all_bytes_(std::move(all_bytes)), reply_(reply) {}

  void Open(const grpc::CallbackServerContext& context) {
    self_ = shared_from_this();
    ticket_ = edge_.gate->Enter(self_);
    const absl::StatusOr<Identity> caller = AdmitCall(edge_, upload_.rpc, context);
    if (!caller.ok()) return End(caller.status());
    entry_ = MakeAuditEntry(RowOf(upload_.rpc).name, &*caller, context.peer(), absl::OkStatus());
    Read();
  }

  void OnReadDone(bool ok) override;
  void OnCancel() override { End(absl::CancelledError("the client cancelled")); }
  // A model that is being made is made: its answer is on the way.
  void BeginDrain() override {
    {
      base::MutexLock lock(&mutex_);
      if (creating_) return;
    }
    End(CallGate::ShuttingDown());
  }
  void OnDone() override {
    edge_.gate->Leave(ticket_);
    const std::shared_ptr<WeightsStream> last = std::move(self_);
  }

 private:
  // Of one part; OK: the next may come.
  absl::Status Take(Request* part);
  absl::Status TakeCreate(v1::CreateModelRequest* create);
  absl::Status TakeChunk(const std::string& chunk);
  void StartCreating(const Request::End& end);
  absl::StatusOr<v1::Model> Create(const Request::End& end);

  void Read() ABSL_LOCKS_EXCLUDED(mutex_);
  void WatchRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnReadOverdue() ABSL_LOCKS_EXCLUDED(mutex_);
  // The first one wins.
  void End(const absl::StatusOr<v1::Model>& model) ABSL_LOCKS_EXCLUDED(mutex_);
  // What came of a whole file: recorded, whether or not the client still waits, then answered.
  void EndCreating(const absl::StatusOr<v1::Model>& model);
  void GiveBackBytes() { all_bytes_->fetch_sub(std::exchange(reserved_, 0)); }

  const Edge& edge_;
  const Upload& upload_;
  const WeightsBytes all_bytes_;
  const absl::Duration start_ = SteadyNow();
  std::shared_ptr<WeightsStream> self_;
  uint64_t ticket_ = 0;

  // Of the reading thread, then of the pool's.
  grpc::ByteBuffer frame_;
  int64_t parts_ = 0;
  int64_t reserved_ = 0;
  v1::CreateModelRequest request_;
  v1::AuditEntry entry_;

  base::Mutex mutex_;
  grpc::ByteBuffer* const reply_ ABSL_GUARDED_BY(mutex_);  // gRPC's once ended_
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool creating_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration read_start_ ABSL_GUARDED_BY(mutex_);
  bool alarm_set_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
};

void WeightsStream::OnReadDone(bool ok) {
  {
    base::MutexLock lock(&mutex_);
    reading_ = false;
  }
  if (!ok) {
    GiveBackBytes();
    return End(WithReason(absl::StatusCode::kAborted, "NO_END",
                          absl::StrCat("stream ended without its end record after ",
                                       request_.weights().safetensors().size(),
                                       " bytes of weights; no model was made")));
  }
  ++parts_;
  Request part;
  absl::Status status =
      upload_.parse(frame_, &part)
          ? Take(&part)
          : absl::InvalidArgumentError(absl::StrCat("message ", parts_, " is not a valid ",
                                                    upload_.message, " (", frame_.Length(),
                                                    " bytes)"));
  frame_.Clear();
  if (!status.ok()) {
    GiveBackBytes();
    return End(status);
  }
  if (part.has_end()) return StartCreating(part.end());
  Read();
}

absl::Status WeightsStream::Take(Request* part) {
  const std::string field = absl::StrCat("message ", parts_);
  if (parts_ == 1 && !part->has_create()) {
    return BadField(field, absl::StrCat("expected `", upload_.first, "` first"));
  }
  switch (part->part_case()) {
    case Request::kCreate:
      if (parts_ > 1) {
        return BadField(field, absl::StrCat("a second `", upload_.first, "` in one stream"));
      }
      return TakeCreate(part->mutable_create());
    case Request::kChunk:
      return TakeChunk(part->chunk());
    case Request::kEnd:
      return absl::OkStatus();
    default:
      return BadField(field, absl::StrCat("neither ", upload_.first, ", chunk nor end"));
  }
}

absl::Status WeightsStream::TakeCreate(v1::CreateModelRequest* create) {
  ENGRAM_RETURN_IF_ERROR(CheckEnums(*create));
  if (!create->weights().safetensors().empty()) {
    return BadField("create.weights.safetensors", "must be empty: the file follows in chunks");
  }
  request_.Swap(create);
  request_.mutable_weights();
  return absl::OkStatus();
}

absl::Status WeightsStream::TakeChunk(const std::string& chunk) {
  const int64_t limit = CurrentConfig(edge_)->limits().weights_bytes();
  const auto size = static_cast<int64_t>(chunk.size());
  if (reserved_ + size > limit) {
    return OverLimit("weights_bytes",
                     absl::StrCat("weights: more than ", limit, " bytes, the limit"),
                     std::chrono::milliseconds(0));
  }
  reserved_ += size;
  if (all_bytes_->fetch_add(size) + size > limit) {
    return OverLimit("weights_bytes",
                     absl::StrCat("files on their way in exceed ", limit, " bytes together"),
                     kRetryWhenOthersAreDone);
  }
  request_.mutable_weights()->mutable_safetensors()->append(chunk);
  return absl::OkStatus();
}

void WeightsStream::StartCreating(const Request::End& end) {
  {
    base::MutexLock lock(&mutex_);
    if (ended_) return GiveBackBytes();
    creating_ = true;
  }
  const absl::Status queued = edge_.pool->Run([self = shared_from_this(), end] {
    const absl::StatusOr<v1::Model> model = self->Create(end);
    self->entry_.set_model(Echo(self->request_.name()));
    self->request_.Clear();
    self->GiveBackBytes();
    self->EndCreating(model);
  });
  if (queued.ok()) return;
  GiveBackBytes();
  End(queued);
}

absl::StatusOr<v1::Model> WeightsStream::Create(const Request::End& end) {
  const std::string& file = request_.weights().safetensors();
  const auto size = static_cast<int64_t>(file.size());
  if (end.bytes() != size) {
    return WithReason(
        absl::StatusCode::kDataLoss, "END_MISMATCH",
        absl::StrCat("client sent ", end.bytes(), " bytes of weights, server received ", size));
  }
  const auto crc = static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(file.data()), file.size()));
  if (end.crc32() != crc) {
    return WithReason(absl::StatusCode::kDataLoss, "END_MISMATCH",
                      absl::StrCat("client sent weights of CRC-32 ", absl::Hex(end.crc32()),
                                   ", server received ", absl::Hex(crc)));
  }
  ENGRAM_RETURN_IF_ERROR(upload_.complete(&request_));
  return edge_.host->Create(request_);
}

void WeightsStream::Read() {
  base::MutexLock lock(&mutex_);
  if (ended_) return GiveBackBytes();
  reading_ = true;
  read_start_ = SteadyNow();
  WatchRead();
  StartRead(&frame_);
}

// One alarm follows many reads: when it goes off it looks how old the current one is.
void WeightsStream::WatchRead() {
  if (alarm_set_) return;
  alarm_set_ = true;
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(SteadyIn(read_start_ + edge_.streams.part_patience - SteadyNow()),
              [weak = weak_from_this()](bool rang) {
                const std::shared_ptr<WeightsStream> self = weak.lock();
                if (rang && self != nullptr) self->OnReadOverdue();
              });
}

void WeightsStream::OnReadOverdue() {
  {
    base::MutexLock lock(&mutex_);
    alarm_set_ = false;
    if (ended_ || !reading_) return;
    if (SteadyNow() - read_start_ < edge_.streams.part_patience) return WatchRead();
  }
  End(absl::DeadlineExceededError(
      absl::StrCat("no part of the weights came for ",
                   absl::FormatDuration(edge_.streams.part_patience), "; no model was made")));
}

void WeightsStream::EndCreating(const absl::StatusOr<v1::Model>& model) {
  if (edge_.audit == nullptr) return End(model);
  SetOutcome(model.status(), &entry_);
  edge_.audit->Append(entry_, [self = shared_from_this(), model] { self->End(model); });
}

void WeightsStream::End(const absl::StatusOr<v1::Model>& model) {
  base::MutexLock lock(&mutex_);
  if (ended_) return;
  ended_ = true;
  if (model.ok()) {
    grpc::ByteBuffer bytes = ToBytes(*model);
    reply_->Swap(&bytes);
  }
  edge_.rpcs->Observe(upload_.rpc, model.status().code(),
                      absl::ToDoubleSeconds(SteadyNow() - start_));
  Finish(ToGrpcStatus(model.status()));
}

}  // namespace

Reactor* StartWeightsStream(const Edge& edge, Rpc rpc, const grpc::CallbackServerContext& context,
                            WeightsBytes bytes, grpc::ByteBuffer* reply) {
  const Upload& upload = rpc == Rpc::kImport ? kImport : kFromWeights;
  auto stream = std::make_shared<WeightsStream>(edge, upload, std::move(bytes), reply);
  stream->Open(context);
  return stream.get();
}

}  // namespace engram::server
