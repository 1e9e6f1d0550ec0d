#include "server/export_stream.h"

#include <grpc/grpc.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engram/v1/checkpoints.pb.h"
#include "grpcpp/alarm.h"
#include "server/byte_buffer_messages.h"
#include "server/errors.h"
#include "server/steady_alarm.h"
#include "server/unary_call.h"
#include "storage/base/mutex.h"

namespace engram::server {
namespace {

using Reactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;

constexpr size_t kChunkBytes = 1 << 20;
constexpr std::chrono::milliseconds kRetryWhenOthersAreSent{1000};

class ExportStream final : public Reactor,
                           public OpenCall,
                           public std::enable_shared_from_this<ExportStream> {
 public:
  ExportStream(const Edge& edge, grpc::CallbackServerContext* context, ExportBytes all_bytes)
      : edge_(edge), context_(context), all_bytes_(std::move(all_bytes)) {}
  // By then the pool has done its part, too.
  ~ExportStream() override { all_bytes_->fetch_sub(reserved_); }

  void Open(const grpc::ByteBuffer& bytes) {
    self_ = shared_from_this();
    ticket_ = edge_.gate->Enter(self_);
    v1::ExportRequest request;
    absl::Status status = server::Open(edge_, Rpc::kExport, *context_, bytes, &request).status();
    if (status.ok()) status = CheckEnums(request);
    if (status.ok()) {
      status = edge_.pool->Run([self = shared_from_this(), request] { self->Make(request); });
    }
    if (!status.ok()) End(status);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the client went away"));
    base::MutexLock lock(&mutex_);
    writing_ = false;
    WriteNext();
  }

  void OnCancel() override { End(absl::CancelledError("the client cancelled")); }
  void BeginDrain() override { End(CallGate::ShuttingDown()); }

  void OnDone() override {
    edge_.gate->Leave(ticket_);
    const std::shared_ptr<ExportStream> last = std::move(self_);
  }

 private:
  void Make(const v1::ExportRequest& request) {
    {
      base::MutexLock lock(&mutex_);
      if (ended_) return;
    }
    auto file = [&]() -> absl::StatusOr<ModelFile> {
      ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.model()));
      ENGRAM_ASSIGN_OR_RETURN(ModelFile made, model->Export(request));
      ENGRAM_RETURN_IF_ERROR(Reserve(made.header.bytes()));
      return made;
    }();
    if (!file.ok()) return End(file.status());
    v1::ExportResponse first;
    first.mutable_header()->Swap(&file->header);
    base::MutexLock lock(&mutex_);
    if (ended_) return;
    bytes_ = std::move(file->bytes);
    Write(first);
  }

  absl::Status Reserve(int64_t size) {
    const int64_t limit = CurrentConfig(edge_)->limits().weights_bytes();
    if (size > limit) {
      const std::string text =
          absl::StrCat("the file has ", size, " bytes, limits.weights_bytes is ", limit);
      return OverLimit("weights_bytes", text, std::chrono::milliseconds(0));
    }
    reserved_ = size;
    if (all_bytes_->fetch_add(size) + size <= limit) return absl::OkStatus();
    return OverLimit("weights_bytes",
                     absl::StrCat("files on their way out exceed ", limit, " bytes together"),
                     kRetryWhenOthersAreSent);
  }

  void Write(const v1::ExportResponse& part) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    current_ = ToBytes(part);
    writing_ = true;
    write_start_ = SteadyNow();
    WatchWrite();
    StartWrite(&current_);
  }

  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (ended_) return;
    if (sent_ == bytes_.size()) return EndLocked(absl::OkStatus());
    v1::ExportResponse part;
    const size_t size = std::min(kChunkBytes, bytes_.size() - sent_);
    part.set_chunk(bytes_.substr(sent_, size));
    sent_ += size;
    Write(part);
  }

  // One alarm follows many writes: when it goes off it looks how old the current one is.
  void WatchWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (alarm_set_) return;
    alarm_set_ = true;
    alarm_ = std::make_unique<grpc::Alarm>();
    alarm_->Set(SteadyIn(write_start_ + edge_.streams.write_patience - SteadyNow()),
                [weak = weak_from_this()](bool rang) {
                  const std::shared_ptr<ExportStream> self = weak.lock();
                  if (rang && self != nullptr) self->OnWriteOverdue();
                });
  }

  void OnWriteOverdue() {
    base::MutexLock lock(&mutex_);
    alarm_set_ = false;
    if (ended_ || !writing_) return;
    if (SteadyNow() - write_start_ < edge_.streams.write_patience) return WatchWrite();
    // A status sent the ordinary way would queue behind the chunk that nobody reads.
    const std::string text = absl::StrCat("the file was not read for ",
                                          absl::FormatDuration(edge_.streams.write_patience));
    grpc_call_cancel_with_status(context_->c_call(), GRPC_STATUS_RESOURCE_EXHAUSTED, text.c_str(),
                                 nullptr);
    EndLocked(absl::ResourceExhaustedError(text));
  }

  void End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    base::MutexLock lock(&mutex_);
    EndLocked(status);
  }

  // The first one wins.
  void EndLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (ended_) return;
    ended_ = true;
    edge_.rpcs->Observe(Rpc::kExport, status.code(), absl::ToDoubleSeconds(SteadyNow() - start_));
    Finish(ToGrpcStatus(status));
  }

  const Edge& edge_;
  grpc::CallbackServerContext* const context_;  // gRPC's once ended_
  const ExportBytes all_bytes_;
  const absl::Duration start_ = SteadyNow();
  std::shared_ptr<ExportStream> self_;
  uint64_t ticket_ = 0;
  int64_t reserved_ = 0;  // of the pool's thread

  base::Mutex mutex_;
  grpc::ByteBuffer current_;  // gRPC's while writing_
  std::string bytes_ ABSL_GUARDED_BY(mutex_);
  size_t sent_ ABSL_GUARDED_BY(mutex_) = 0;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration write_start_ ABSL_GUARDED_BY(mutex_);
  bool alarm_set_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

Reactor* StartExportStream(const Edge& edge, grpc::CallbackServerContext* context,
                           ExportBytes bytes, const grpc::ByteBuffer& request) {
  auto stream = std::make_shared<ExportStream>(edge, context, std::move(bytes));
  stream->Open(request);
  return stream.get();
}

}  // namespace engram::server
