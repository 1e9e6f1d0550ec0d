#include "server/weights_stream.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engram/v1/model.pb.h"
#include "grpcpp/alarm.h"
#include "server/byte_buffer_messages.h"
#include "server/call_admission.h"
#include "server/errors.h"
#include "server/steady_alarm.h"
#include "storage/base/mutex.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using Reactor = grpc::ServerReadReactor<grpc::ByteBuffer>;

class WeightsStream final : public Reactor,
                            public OpenCall,
                            public std::enable_shared_from_this<WeightsStream> {
 public:
  WeightsStream(const Edge& edge, Rpc rpc, WeightsBytes all_bytes, grpc::ByteBuffer* reply)
      : edge_(edge), upload_(rpc, std::move(all_bytes)), reply_(reply) {}

  void Open(const grpc::CallbackServerContext& context) {
    self_ = shared_from_this();
    ticket_ = edge_.gate->Enter(self_);
    const absl::StatusOr<Identity> caller = AdmitCall(edge_, upload_.rpc(), context);
    if (!caller.ok()) return End(caller.status());
    entry_ = MakeAuditEntry(RowOf(upload_.rpc()).name, &*caller, context.peer(), absl::OkStatus());
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
  void StartCreating();
  absl::StatusOr<v1::Model> Create();

  void Read() ABSL_LOCKS_EXCLUDED(mutex_);
  void WatchRead() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnReadOverdue() ABSL_LOCKS_EXCLUDED(mutex_);
  // The first one wins.
  void End(const absl::StatusOr<v1::Model>& model) ABSL_LOCKS_EXCLUDED(mutex_);
  // What came of a whole file: recorded, whether or not the client still waits, then answered.
  void EndCreating(const absl::StatusOr<v1::Model>& model);

  const Edge& edge_;
  const absl::Duration start_ = SteadyNow();
  std::shared_ptr<WeightsStream> self_;
  uint64_t ticket_ = 0;

  // Of the reading thread, then of the pool's.
  grpc::ByteBuffer frame_;
  WeightsUpload upload_;
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
    const size_t size = upload_.request().weights().safetensors().size();
    upload_.Drop();
    return End(WithReason(absl::StatusCode::kAborted, "NO_END",
                          absl::StrCat("stream ended without its end record after ", size,
                                       " bytes of weights; no model was made")));
  }
  const absl::StatusOr<bool> is_end =
      upload_.Take(frame_, CurrentConfig(edge_)->limits().weights_bytes());
  frame_.Clear();
  if (!is_end.ok()) {
    upload_.Drop();
    return End(is_end.status());
  }
  if (*is_end) return StartCreating();
  Read();
}

void WeightsStream::StartCreating() {
  {
    base::MutexLock lock(&mutex_);
    if (ended_) return upload_.Drop();
    creating_ = true;
  }
  const absl::Status queued = edge_.pool->Run([self = shared_from_this()] {
    const absl::StatusOr<v1::Model> model = self->Create();
    self->entry_.set_model(Echo(self->upload_.request().name()));
    self->upload_.Drop();
    self->EndCreating(model);
  });
  if (queued.ok()) return;
  upload_.Drop();
  End(queued);
}

absl::StatusOr<v1::Model> WeightsStream::Create() {
  ENGRAM_RETURN_IF_ERROR(upload_.Complete());
  return edge_.host->Create(upload_.request());
}

void WeightsStream::Read() {
  base::MutexLock lock(&mutex_);
  if (ended_) return upload_.Drop();
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
  edge_.rpcs->Observe(upload_.rpc(), model.status().code(),
                      absl::ToDoubleSeconds(SteadyNow() - start_));
  Finish(ToGrpcStatus(model.status()));
}

}  // namespace

Reactor* StartWeightsStream(const Edge& edge, Rpc rpc, const grpc::CallbackServerContext& context,
                            WeightsBytes bytes, grpc::ByteBuffer* reply) {
  auto stream = std::make_shared<WeightsStream>(edge, rpc, std::move(bytes), reply);
  stream->Open(context);
  return stream.get();
}

}  // namespace engram::server
