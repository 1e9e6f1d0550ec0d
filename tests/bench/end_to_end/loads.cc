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

SteadyLearner::SteadyLearner(const std::string& address, std::string model,
                             const std::vector<Frame>* frames)
    : model_(std::move(model)), frames_(frames) {
  thread_ = std::thread([this, address] { Run(address); });
}

SteadyLearner::~SteadyLearner() { Stop(); }

void SteadyLearner::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void SteadyLearner::Run(const std::string& address) {
  const auto channel = ConnectTo(address);
  for (int pass = 0; !stop_ && status_.ok(); ++pass) status_ = OnePass(channel, pass);
}

absl::Status SteadyLearner::OnePass(const std::shared_ptr<grpc::Channel>& channel, int pass) {
  const testing::Stubs stubs(channel);
  const std::string producer = absl::StrCat("steady-", absl::ToUnixMicros(absl::Now()), "-", pass);
  testing::LearnSession session(channel);
  if (!session.Open(model_, producer)) return ToStatus(session.Finish());
  v1::LearnAck ack;
  for (size_t i = 0; i < frames_->size() && !stop_; ++i) {
    const Frame& frame = (*frames_)[i];
    if (!session.WriteBuffer(frame.buffer, frame.crc)) return ToStatus(session.Finish());
    if (!session.ReadUntil(i > kSteadyWindow ? i - kSteadyWindow : 0, &ack))
      return ToStatus(session.Finish());
    if (ack.durable_sequence() <= kAheadMax) continue;
    v1::WaitAppliedRequest wait;
    wait.set_model(model_);
    wait.set_sequence(ack.durable_sequence() - kAheadMax);
    const auto waited = testing::Call(*stubs.learning, &v1::Learning::Stub::WaitApplied, wait);
    ENGRAM_RETURN_IF_ERROR(ToStatus(waited.status));
    applied_ = waited->applied_sequence();
  }
  session.End();
  return ToStatus(session.Finish());
}

PacedLearner::PacedLearner(const std::string& address, double messages_per_second,
                           const std::vector<Frame>* frames)
    : pause_(absl::Seconds(1) / messages_per_second), frames_(frames) {
  thread_ = std::thread([this, address] { status_ = Run(address); });
}

PacedLearner::~PacedLearner() { Stop(); }

void PacedLearner::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

absl::Status PacedLearner::Run(const std::string& address) {
  testing::LearnSession session(ConnectTo(address));
  if (!session.Open("paced", "paced")) return ToStatus(session.Finish());
  v1::LearnAck ack;
  absl::Time next = absl::Now();
  for (uint64_t i = 0; !stop_; ++i) {
    const Frame& frame = (*frames_)[i % frames_->size()];
    if (!session.WriteBuffer(frame.buffer, frame.crc)) return ToStatus(session.Finish());
    if (!session.ReadUntil(i > kSteadyWindow ? i - kSteadyWindow : 0, &ack))
      return ToStatus(session.Finish());
    next += pause_;
    absl::SleepFor(next - absl::Now());
  }
  session.End();
  return ToStatus(session.Finish());
}

}  // namespace engram::bench
