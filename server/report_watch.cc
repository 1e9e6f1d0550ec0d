#include "server/report_watch.h"

#include <deque>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engram/v1/evaluation.pb.h"
#include "server/byte_buffer_messages.h"
#include "server/errors.h"
#include "server/unary_call.h"
#include "storage/base/mutex.h"

namespace engram::server {
namespace {

using Reactor = grpc::ServerWriteReactor<grpc::ByteBuffer>;

class ReportWatch final : public Reactor, public OpenCall {
 public:
  ReportWatch(const Edge& edge, const grpc::CallbackServerContext& context)
      : edge_(edge), context_(context) {}

  void Open(std::shared_ptr<ReportWatch> self, const grpc::ByteBuffer& bytes) {
    self_ = std::move(self);
    ticket_ = edge_.gate->Enter(self_);
    v1::WatchReportRequest request;
    absl::Status status =
        server::Open(edge_, Rpc::kWatchReport, context_, bytes, &request).status();
    if (status.ok()) {
      auto model = FindModel(edge_, request.model());
      status = model.status();
      if (model.ok()) model_ = *std::move(model);
    }
    if (!status.ok()) return End(status);
    StartSendInitialMetadata();
    watch_ = model_->Watch([this](const v1::ReportEvent& event) { Queue(event); });
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
    // No event runs once Unwatch has returned: only then may this go.
    if (model_ != nullptr) model_->Unwatch(watch_);
    edge_.gate->Leave(ticket_);
    const std::shared_ptr<ReportWatch> last = std::move(self_);
  }

 private:
  void Queue(const v1::ReportEvent& event) {
    bool overflow = false;
    absl::Status allowed;
    {
      base::MutexLock lock(&mutex_);
      allowed = StillAdmitted(edge_, Rpc::kWatchReport, context_, &generation_);
      overflow = static_cast<int64_t>(queue_.size()) >= edge_.streams.watch_events;
      if (!overflow && allowed.ok()) {
        queue_.push_back(ToBytes(event));
        WriteNext();
      }
    }
    if (!allowed.ok()) return End(allowed);
    if (overflow) {
      End(OverLimit("watch",
                    absl::StrCat("the watcher lags ", edge_.streams.watch_events, " events behind"),
                    std::chrono::seconds(1)));
    }
  }

  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || ended_ || queue_.empty()) return;
    writing_ = true;
    current_.Swap(&queue_.front());
    queue_.pop_front();
    StartWrite(&current_);
  }

  void End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      base::MutexLock lock(&mutex_);
      if (ended_) return;
      ended_ = true;
    }
    edge_.rpcs->Observe(Rpc::kWatchReport, status.code(),
                        absl::ToDoubleSeconds(SteadyNow() - start_));
    Finish(ToGrpcStatus(status));
  }

  const Edge& edge_;
  const grpc::CallbackServerContext& context_;
  const absl::Duration start_ = SteadyNow();
  std::shared_ptr<ReportWatch> self_;
  std::shared_ptr<ModelRuntime> model_;
  uint64_t watch_ = 0;
  uint64_t ticket_ = 0;
  grpc::ByteBuffer current_;  // gRPC's while writing_
  base::Mutex mutex_;
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;  // of the tokens
  std::deque<grpc::ByteBuffer> queue_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

Reactor* StartReportWatch(const Edge& edge, const grpc::CallbackServerContext& context,
                          const grpc::ByteBuffer& request) {
  auto watch = std::make_shared<ReportWatch>(edge, context);
  ReportWatch* const reactor = watch.get();
  reactor->Open(std::move(watch), request);
  return reactor;
}

}  // namespace engram::server
