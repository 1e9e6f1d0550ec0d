#include "tests/bench/end_to_end/loads.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/impl/codegen/client_unary_call.h"
#include "grpcpp/impl/codegen/rpc_method.h"
#include "storage/base/status_macros.h"
#include "tests/bench/end_to_end/opponents.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/process/stubs.h"

namespace engram::bench {
namespace {

constexpr uint64_t kAheadMax = 2048;    // examples ahead of the trainer
constexpr uint64_t kSteadyWindow = 16;  // messages in flight

absl::Status ToStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// The frames once, or as many as go out before `stop`.
absl::Status OnePass(const std::shared_ptr<grpc::Channel>& channel, const std::string& model,
                     const std::string& producer, const std::vector<Frame>& frames,
                     const std::atomic<bool>& stop, std::atomic<uint64_t>* applied) {
  const testing::Stubs stubs(channel);
  testing::LearnSession session(channel);
  if (!session.Open(model, producer)) return ToStatus(session.Finish());
  v1::LearnAck ack;
  for (size_t i = 0; i < frames.size() && !stop; ++i) {
    if (!session.WriteBuffer(frames[i].buffer, frames[i].crc)) return ToStatus(session.Finish());
    if (!session.ReadUntil(i > kSteadyWindow ? i - kSteadyWindow : 0, &ack)) {
      return ToStatus(session.Finish());
    }
    if (ack.durable_sequence() <= kAheadMax) continue;
    v1::WaitAppliedRequest wait;
    wait.set_model(model);
    wait.set_sequence(ack.durable_sequence() - kAheadMax);
    const auto waited = testing::Call(*stubs.learning, &v1::Learning::Stub::WaitApplied, wait);
    ENGRAM_RETURN_IF_ERROR(ToStatus(waited.status));
    *applied = waited->applied_sequence();
  }
  session.End();
  return ToStatus(session.Finish());
}

}  // namespace

absl::StatusOr<Latencies> PredictFor(const std::shared_ptr<grpc::Channel>& channel,
                                     const std::string& body, absl::Duration how_long,
                                     int* reply_bytes) {
  const grpc::internal::RpcMethod rpc("/engram.v1.Prediction/Predict",
                                      grpc::internal::RpcMethod::NORMAL_RPC, channel);
  const grpc::ByteBuffer request = testing::ToBuffer(body);
  Latencies latencies;
  const absl::Time end = absl::Now() + how_long;
  for (absl::Time began = absl::Now(); began < end;) {
    grpc::ClientContext context;
    grpc::ByteBuffer reply;
    ENGRAM_RETURN_IF_ERROR(
        ToStatus(grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
            channel.get(), rpc, &context, request, &reply)));
    const absl::Time now = absl::Now();
    latencies.Add(absl::ToDoubleSeconds(now - began));
    began = now;
    if (reply_bytes != nullptr) *reply_bytes = static_cast<int>(reply.Length());
  }
  return latencies;
}

absl::StatusOr<double> StreamAll(const std::shared_ptr<grpc::Channel>& channel,
                                 const std::string& model, const std::string& producer,
                                 const std::vector<Frame>& frames, uint64_t window) {
  testing::LearnSession session(channel);
  if (!session.Open(model, producer)) return ToStatus(session.Finish());
  const absl::Time began = absl::Now();
  v1::LearnAck ack;
  for (size_t i = 0; i < frames.size(); ++i) {
    const uint64_t sequence = i + 1;
    const uint64_t must_be_acked = sequence > window ? sequence - window : 0;
    if (!session.ReadUntil(must_be_acked, &ack)) return ToStatus(session.Finish());
    if (!session.WriteBuffer(frames[i].buffer, frames[i].crc)) return ToStatus(session.Finish());
  }
  if (!session.ReadUntil(frames.size(), &ack)) return ToStatus(session.Finish());
  const double seconds = absl::ToDoubleSeconds(absl::Now() - began);
  if (ack.rejections_size() > 0) return absl::InternalError("messages were rejected");
  session.End();
  ENGRAM_RETURN_IF_ERROR(ToStatus(session.Finish()));
  return seconds;
}

Load::Load(std::function<absl::Status(const std::atomic<bool>& stop)> run)
    : thread_([this, run = std::move(run)] { status_ = run(stop_); }) {}

void Load::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

absl::Status LearnSteadily(const std::string& address, const std::string& model,
                           const std::vector<Frame>& frames, const std::atomic<bool>& stop,
                           std::atomic<uint64_t>* applied) {
  const auto channel = ConnectTo(address);
  for (int pass = 0; !stop; ++pass) {
    const std::string producer =
        absl::StrCat("steady-", absl::ToUnixMicros(absl::Now()), "-", pass);
    ENGRAM_RETURN_IF_ERROR(OnePass(channel, model, producer, frames, stop, applied));
  }
  return absl::OkStatus();
}

absl::Status LearnAtPace(const std::string& address, double messages_per_second,
                         const std::vector<Frame>& frames, const std::atomic<bool>& stop) {
  testing::LearnSession session(ConnectTo(address));
  if (!session.Open("paced", "paced")) return ToStatus(session.Finish());
  const absl::Duration pause = absl::Seconds(1) / messages_per_second;
  v1::LearnAck ack;
  absl::Time next = absl::Now();
  for (uint64_t i = 0; !stop; ++i) {
    const Frame& frame = frames[i % frames.size()];
    if (!session.WriteBuffer(frame.buffer, frame.crc)) return ToStatus(session.Finish());
    if (!session.ReadUntil(i > kSteadyWindow ? i - kSteadyWindow : 0, &ack)) {
      return ToStatus(session.Finish());
    }
    next += pause;
    absl::SleepFor(next - absl::Now());
  }
  session.End();
  return ToStatus(session.Finish());
}

}  // namespace engram::bench
