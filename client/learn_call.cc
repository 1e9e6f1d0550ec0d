#include "client/learn_call.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/status.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "storage/base/check.h"

namespace engram::client {
namespace {

constexpr char kMethod[] = "/engram.v1.Learning/Learn";

grpc::ByteBuffer ToBuffer(const engram::v1::LearnRequest& request) {
  const std::string bytes = request.SerializeAsString();
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

}  // namespace

LearnCall::LearnCall(std::shared_ptr<Connection> connection, LearnCallOwner* owner)
    : connection_(std::move(connection)), owner_(owner), stub_(connection_->channel()) {}

void LearnCall::Start(const engram::v1::LearnHello& hello) {
  engram::v1::LearnRequest request;
  *request.mutable_hello() = hello;
  connection_->Prepare(&context_);
  stub_.PrepareBidiStreamingCall(&context_, kMethod, grpc::StubOptions(), this);
  // Pump writes from threads of the producer: the hold keeps the call alive until the last read.
  AddHold();
  {
    base::MutexLock lock(&mu_);
    write_ = ToBuffer(request);
    writing_ = true;
    StartWrite(&write_);
  }
  StartRead(&read_);
  StartCall();
}

void LearnCall::Pump() {
  base::MutexLock lock(&mu_);
  PumpLocked();
}

void LearnCall::PumpLocked() {
  if (!open_ || writing_ || end_written_) return;
  PendingMessage message;
  switch (owner_->TakeNext(next_sequence_, &message)) {
    case LearnCallOwner::Next::kNothing:
      return;
    case LearnCallOwner::Next::kMessage:
      ++next_sequence_;
      ++messages_written_;
      crc32_written_ = CombineCrc32(crc32_written_, message);
      write_ = std::move(message.bytes);
      writing_ = true;
      StartWrite(&write_);
      return;
    case LearnCallOwner::Next::kEnd: {
      engram::v1::LearnRequest request;
      request.mutable_end()->set_message_count(messages_written_);
      request.mutable_end()->set_crc32(crc32_written_);
      write_ = ToBuffer(request);
      writing_ = true;
      end_written_ = true;
      StartWriteLast(&write_, grpc::WriteOptions());
      return;
    }
  }
}

void LearnCall::Cancel() { context_.TryCancel(); }

void LearnCall::OnWriteDone(bool ok) {
  base::MutexLock lock(&mu_);
  writing_ = false;
  // After a failed write the reads fail too, and bring the status.
  if (ok) PumpLocked();
}

void LearnCall::OnReadDone(bool ok) {
  if (!ok) {
    {
      base::MutexLock lock(&mu_);
      open_ = false;
    }
    RemoveHold();
    return;
  }
  engram::v1::LearnResponse response;
  const grpc::Status parsed =
      grpc::SerializationTraits<engram::v1::LearnResponse>::Deserialize(&read_, &response);
  const absl::Status taken =
      parsed.ok() ? Take(response) : absl::InternalError("the server sent no valid LearnResponse");
  if (!taken.ok()) FailHere(taken);
  StartRead(&read_);
}

absl::Status LearnCall::Take(const engram::v1::LearnResponse& response) {
  switch (response.kind_case()) {
    case engram::v1::LearnResponse::kWelcome: {
      const absl::StatusOr<uint64_t> first = owner_->OnWelcome(response.welcome());
      if (!first.ok()) return first.status();
      base::MutexLock lock(&mu_);
      if (welcomed_) return absl::InternalError("the server sent a second welcome");
      welcomed_ = true;
      open_ = true;
      next_sequence_ = *first;
      PumpLocked();
      return absl::OkStatus();
    }
    case engram::v1::LearnResponse::kAck:
      return owner_->OnAck(response.ack());
    case engram::v1::LearnResponse::KIND_NOT_SET:
      return absl::InternalError("the server sent an empty LearnResponse");
  }
  return absl::OkStatus();
}

void LearnCall::FailHere(const absl::Status& status) {
  {
    base::MutexLock lock(&mu_);
    open_ = false;
    if (local_error_.ok()) local_error_ = status;
  }
  Cancel();
}

void LearnCall::OnDone(const grpc::Status& status) {
  absl::Status outcome;
  {
    base::MutexLock lock(&mu_);
    outcome = local_error_.ok() ? FromGrpcStatus(status) : local_error_;
    if (outcome.ok() && !end_written_) {
      outcome = absl::InternalError("the server ended the stream before its end record");
    }
  }
  // The owner may destroy this call from here on.
  owner_->OnClosed(outcome);
}

}  // namespace engram::client
