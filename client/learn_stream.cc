#include "client/learn_stream.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "client/learn_call.h"
#include "client/learn_window.h"
#include "client/status.h"
#include "storage/base/mutex.h"

namespace engram::client {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

// Whether a new connection may mend what ended this one.
bool IsMendable(const absl::Status& status) {
  if (IsRetryable(status, /*repeatable=*/true)) return true;
  if (status.code() != absl::StatusCode::kAborted) return false;
  const std::string reason = ReasonOf(status);
  return reason != "SEQUENCE_GAP" && reason != "STALE_EPOCH";
}

}  // namespace

// Owns the window and the thread that keeps a connection open. Lock order: send_mu_, then a
// LearnCall's own, then mu_; so nothing calls into a LearnCall with mu_ held.
class LearnStream::Core : public LearnCallOwner {
 public:
  Core(std::shared_ptr<Connection> connection, LearnStreamOptions options);
  ~Core() override;

  absl::Status AwaitWelcome();
  absl::StatusOr<uint64_t> Send(engram::v1::LearnMessage* message);
  absl::Status Flush();
  absl::StatusOr<LearnProgress> Finish();
  LearnProgress progress() const;

  absl::StatusOr<uint64_t> OnWelcome(const engram::v1::LearnWelcome& welcome) override;
  absl::Status OnAck(const engram::v1::LearnAck& ack) override;
  Next TakeNext(uint64_t sequence, PendingMessage* message) override;
  void OnClosed(const absl::Status& status) override;

 private:
  void KeepConnected();
  absl::Status RunOneCall();
  bool WaitToReconnect(const absl::Status& status, Backoff* backoff);
  absl::Status Outcome(const absl::Status& closed) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  engram::v1::LearnHello Hello() const;
  void CountRejections(const engram::v1::LearnAck& ack) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  bool IsOver() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return final_.has_value(); }
  bool IsOpenedOrOver() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return opened_ || IsOver(); }
  bool IsDrainedOrOver() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return window_.empty() || IsOver();
  }
  bool IsClosed() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return closed_.has_value(); }
  bool IsWelcomedOrClosed() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return welcomed_ || stopping_ || IsClosed();
  }
  bool IsClosedOrStopping() const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return stopping_ || IsClosed();
  }
  bool IsStopping() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stopping_; }

  using State = bool (Core::*)() const;
  void WaitUntil(State reached) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // False when the time ran out first.
  bool WaitUntil(State reached, absl::Duration longest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::shared_ptr<Connection> connection_;
  const LearnStreamOptions options_;

  // Orders producers: numbering, serialising and pushing are one step for the others.
  base::Mutex send_mu_;
  mutable base::Mutex mu_ ABSL_ACQUIRED_AFTER(send_mu_);
  // Any of the states below changed.
  base::CondVar changed_;
  LearnWindow window_ ABSL_GUARDED_BY(mu_);
  LearnProgress progress_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<LearnCall> call_ ABSL_GUARDED_BY(mu_);
  // The first welcome was seen.
  bool opened_ ABSL_GUARDED_BY(mu_) = false;
  // The current call: its welcome, its end.
  bool welcomed_ ABSL_GUARDED_BY(mu_) = false;
  absl::optional<absl::Status> closed_ ABSL_GUARDED_BY(mu_);
  bool finishing_ ABSL_GUARDED_BY(mu_) = false;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  // How the stream ended.
  absl::optional<absl::Status> final_ ABSL_GUARDED_BY(mu_);
  // Since when nothing went forward.
  absl::optional<SteadyTime> stuck_since_ ABSL_GUARDED_BY(mu_);
  int calls_made_ ABSL_GUARDED_BY(mu_) = 0;

  std::thread keeper_;
};

LearnStream::Core::Core(std::shared_ptr<Connection> connection, LearnStreamOptions options)
    : connection_(std::move(connection)),
      options_(std::move(options)),
      window_(options_.window_messages, options_.window_bytes),
      keeper_([this] { KeepConnected(); }) {}

LearnStream::Core::~Core() {
  {
    base::MutexLock lock(&mu_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  keeper_.join();
}

void LearnStream::Core::WaitUntil(State reached) {
  while (!(this->*reached)()) changed_.Wait(&mu_);
}

bool LearnStream::Core::WaitUntil(State reached, absl::Duration longest) {
  const SteadyTime deadline = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(longest);
  while (!(this->*reached)()) {
    const auto left = deadline - std::chrono::steady_clock::now();
    if (left <= left.zero()) return false;
    // Rounded up, so that the last wait does not spin.
    changed_.WaitFor(&mu_, std::chrono::duration_cast<std::chrono::milliseconds>(left) +
                               std::chrono::milliseconds(1));
  }
  return true;
}

absl::Status LearnStream::Core::AwaitWelcome() {
  base::MutexLock lock(&mu_);
  WaitUntil(&Core::IsOpenedOrOver);
  return opened_ ? absl::OkStatus() : *final_;
}

absl::StatusOr<uint64_t> LearnStream::Core::Send(engram::v1::LearnMessage* message) {
  base::MutexLock send_lock(&send_mu_);
  message->set_producer_sequence(progress().sent_sequence + 1);
  PendingMessage pending = SerialiseMessage(*message);
  const int size_max = connection_->options().send_message_bytes_max;
  if (pending.size > size_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("message of ", pending.size, " bytes exceeds ", size_max));
  }
  std::shared_ptr<LearnCall> call;
  {
    base::MutexLock lock(&mu_);
    while (!IsOver() && !window_.HasRoomFor(pending.size)) changed_.Wait(&mu_);
    if (IsOver() && !final_->ok()) return *final_;
    if (finishing_) return absl::FailedPreconditionError("the stream is finished");
    progress_.sent_sequence = pending.sequence;
    progress_.sent_examples += pending.examples;
    window_.Push(std::move(pending));
    call = call_;
  }
  if (call != nullptr) call->Pump();
  return message->producer_sequence();
}

absl::Status LearnStream::Core::Flush() {
  base::MutexLock lock(&mu_);
  WaitUntil(&Core::IsDrainedOrOver);
  return window_.empty() ? absl::OkStatus() : *final_;
}

absl::StatusOr<LearnProgress> LearnStream::Core::Finish() {
  std::shared_ptr<LearnCall> call;
  {
    base::MutexLock lock(&mu_);
    if (finishing_) return absl::FailedPreconditionError("the stream is finished");
    finishing_ = true;
    call = call_;
  }
  if (call != nullptr) call->Pump();
  base::MutexLock lock(&mu_);
  WaitUntil(&Core::IsOver);
  if (!final_->ok()) return *final_;
  return progress_;
}

LearnProgress LearnStream::Core::progress() const {
  base::MutexLock lock(&mu_);
  return progress_;
}

absl::StatusOr<uint64_t> LearnStream::Core::OnWelcome(const engram::v1::LearnWelcome& welcome) {
  base::MutexLock lock(&mu_);
  const uint64_t last = welcome.last_producer_sequence();
  const uint64_t acked = opened_ ? progress_.acked_sequence : options_.last_acked_sequence;
  if (last < acked) {
    return absl::DataLossError(absl::StrCat("producer \"", options_.producer, "\" holds ack ",
                                            acked, ", the server has ", last));
  }
  if (!opened_) {
    progress_.sent_sequence = last;
    progress_.acked_sequence = last;
  } else if (last > progress_.sent_sequence) {
    return absl::FailedPreconditionError(
        absl::StrCat("producer \"", options_.producer, "\" sent up to ", progress_.sent_sequence,
                     ", the server has ", last, ": another producer uses this name"));
  }
  progress_.epoch = welcome.epoch();
  progress_.durable_sequence = welcome.durable_sequence();
  progress_.applied_sequence = welcome.applied_sequence();
  opened_ = true;
  welcomed_ = true;
  changed_.NotifyAll();
  if (window_.empty()) stuck_since_.reset();
  // Also what the server already holds: its answer to a repeat says again which were rejected.
  return progress_.acked_sequence + 1;
}

void LearnStream::Core::CountRejections(const engram::v1::LearnAck& ack) {
  for (const auto& rejection : ack.rejections()) {
    const PendingMessage* rejected = window_.Find(rejection.producer_sequence());
    ++progress_.rejected_messages;
    if (rejected != nullptr) progress_.rejected_examples += rejected->examples;
  }
}

absl::Status LearnStream::Core::OnAck(const engram::v1::LearnAck& ack) {
  LearnProgress now;
  {
    base::MutexLock lock(&mu_);
    if (ack.producer_sequence() > progress_.sent_sequence) {
      return absl::InternalError(absl::StrCat("the server acked ", ack.producer_sequence(),
                                              ", sent were ", progress_.sent_sequence));
    }
    CountRejections(ack);
    if (ack.producer_sequence() > progress_.acked_sequence) {
      progress_.acked_examples += window_.AckThrough(ack.producer_sequence());
      progress_.acked_sequence = ack.producer_sequence();
      stuck_since_.reset();
      changed_.NotifyAll();
    }
    progress_.durable_sequence = std::max(progress_.durable_sequence, ack.durable_sequence());
    progress_.applied_sequence = ack.applied_sequence();
    progress_.duplicate_messages += static_cast<int64_t>(ack.duplicates());
    now = progress_;
  }
  if (options_.on_rejection) {
    for (const auto& rejection : ack.rejections()) options_.on_rejection(rejection);
  }
  if (options_.on_ack) options_.on_ack(now);
  return absl::OkStatus();
}

LearnCallOwner::Next LearnStream::Core::TakeNext(uint64_t sequence, PendingMessage* message) {
  base::MutexLock lock(&mu_);
  if (const PendingMessage* next = window_.Find(sequence)) {
    *message = *next;
    return Next::kMessage;
  }
  return finishing_ ? Next::kEnd : Next::kNothing;
}

void LearnStream::Core::OnClosed(const absl::Status& status) {
  base::MutexLock lock(&mu_);
  closed_ = status;
  changed_.NotifyAll();
}

engram::v1::LearnHello LearnStream::Core::Hello() const {
  base::MutexLock lock(&mu_);
  engram::v1::LearnHello hello;
  hello.set_model(options_.model);
  hello.set_producer(options_.producer);
  hello.set_last_acked_sequence(opened_ ? progress_.acked_sequence : options_.last_acked_sequence);
  return hello;
}

// Returns how the call ended.
absl::Status LearnStream::Core::RunOneCall() {
  const auto call = std::make_shared<LearnCall>(connection_, this);
  {
    base::MutexLock lock(&mu_);
    welcomed_ = false;
    closed_.reset();
    call_ = call;
    ++calls_made_;
  }
  call->Start(Hello());
  bool welcome_missed = false;
  {
    base::MutexLock lock(&mu_);
    welcome_missed = !WaitUntil(&Core::IsWelcomedOrClosed, options_.handshake_timeout);
    if (!welcome_missed) WaitUntil(&Core::IsClosedOrStopping);
  }
  // After the end this does nothing.
  call->Cancel();
  base::MutexLock lock(&mu_);
  WaitUntil(&Core::IsClosed);
  call_.reset();
  if (welcome_missed && !closed_->ok()) {
    return absl::UnavailableError(absl::StrCat("no welcome from ", connection_->options().target,
                                               " within ",
                                               absl::FormatDuration(options_.handshake_timeout)));
  }
  return Outcome(*closed_);
}

absl::Status LearnStream::Core::Outcome(const absl::Status& closed) const {
  if (!closed.ok() || window_.empty()) return closed;
  return absl::InternalError(absl::StrCat("the server finished the stream at ",
                                          progress_.acked_sequence, ", sent were ",
                                          progress_.sent_sequence));
}

// False when the stream is over.
bool LearnStream::Core::WaitToReconnect(const absl::Status& status, Backoff* backoff) {
  base::MutexLock lock(&mu_);
  if (status.ok() || stopping_ || !IsMendable(status)) return false;
  const SteadyTime now = std::chrono::steady_clock::now();
  if (!stuck_since_) {
    stuck_since_ = now;
    backoff->Reset();
  }
  if (!opened_ && calls_made_ >= options_.retry.attempts) return false;
  if (absl::FromChrono(now - *stuck_since_) > options_.give_up_after) return false;
  const absl::Duration delay = backoff->Next(RetryDelayOf(status));
  if (WaitUntil(&Core::IsStopping, delay)) return false;
  if (opened_) ++progress_.reconnects;
  return true;
}

void LearnStream::Core::KeepConnected() {
  Backoff backoff(options_.retry);
  absl::Status status;
  do {
    status = RunOneCall();
  } while (WaitToReconnect(status, &backoff));
  base::MutexLock lock(&mu_);
  final_ = status;
  changed_.NotifyAll();
}

LearnStream::LearnStream(std::shared_ptr<Core> core) : core_(std::move(core)) {}
LearnStream::~LearnStream() = default;

absl::StatusOr<std::unique_ptr<LearnStream>> LearnStream::Open(
    std::shared_ptr<Connection> connection, LearnStreamOptions options) {
  auto core = std::make_shared<Core>(std::move(connection), std::move(options));
  const absl::Status opened = core->AwaitWelcome();
  if (!opened.ok()) return opened;
  return std::unique_ptr<LearnStream>(new LearnStream(std::move(core)));
}

absl::StatusOr<uint64_t> LearnStream::Send(engram::v1::LearnMessage* message) {
  return core_->Send(message);
}

absl::StatusOr<uint64_t> LearnStream::SendBoundary(absl::string_view next_task) {
  engram::v1::LearnMessage message;
  message.mutable_boundary()->set_next_task(next_task.data(), next_task.size());
  return core_->Send(&message);
}

absl::Status LearnStream::Flush() { return core_->Flush(); }
absl::StatusOr<LearnProgress> LearnStream::Finish() { return core_->Finish(); }
LearnProgress LearnStream::progress() const { return core_->progress(); }

}  // namespace engram::client
