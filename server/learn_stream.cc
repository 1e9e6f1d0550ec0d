#include "server/learn_stream.h"

#include <grpc/grpc.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "engram/v1/learning.pb.h"
#include "grpcpp/alarm.h"
#include "server/byte_buffer_messages.h"
#include "server/call_admission.h"
#include "server/errors.h"
#include "server/learn_acks.h"
#include "server/steady_alarm.h"
#include "storage/base/check.h"
#include "storage/base/failpoint.h"
#include "storage/base/mutex.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// A full queue is worth waiting for; a full disk or too many classes is the producer's to know.
bool IsFullQueue(const absl::Status& status) {
  return absl::IsResourceExhausted(status) && absl::StrContains(status.message(), "queue");
}

// Between two tries of a message that a quota holds up.
constexpr absl::Duration kLongestPause = absl::Seconds(1);

class LearnStream final : public Reactor,
                          public OpenCall,
                          public std::enable_shared_from_this<LearnStream> {
 public:
  LearnStream(const Edge& edge, grpc::CallbackServerContext* context)
      : edge_(edge), limits_(edge.streams), context_(context) {}

  void Open() {
    self_ = shared_from_this();
    ticket_ = edge_.gate->Enter(self_);
    base::MutexLock lock(&mutex_);
    absl::StatusOr<Identity> caller = AdmitCall(edge_, Rpc::kLearn, *context_);
    if (!caller.ok()) return Close(caller.status());
    caller_ = *std::move(caller);
    account_ = edge_.quotas->Of(caller_);
    absl::StatusOr<Hold> place = account_->HoldStream();
    if (!place.ok()) return Close(place.status());
    place_ = *std::move(place);
    phase_ = Phase::kHello;
    Read();
  }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override { Abandon(absl::CancelledError("the client cancelled")); }
  void BeginDrain() override;
  void OnDone() override;

 private:
  enum class Phase { kOpening, kHello, kGreeting, kLearning };

  // Frames; on gRPC's reading thread, one at a time, without the mutex.
  void OnFrame();
  void OnHello(const v1::LearnHello& hello);
  void OnEnd(const v1::LearnEnd& end);
  void Submit(v1::LearnMessage message);
  absl::StatusOr<Hold> Charge(const v1::LearnMessage& message);
  void OnRefused(const absl::Status& status, v1::LearnMessage message);
  void Retry();
  void CloseNow(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);

  // The model's answers, on any thread.
  void OnWelcome(const absl::StatusOr<v1::LearnWelcome>& welcome);
  void OnSettled(uint64_t learn_ticket, const absl::StatusOr<Accepted>& outcome);

  void Park(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Read() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReadIfRoom() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool OnlyRejected() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void PauseIfOnlyRejected() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Write(const v1::LearnResponse& response) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteAck() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AckSoon() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WatchWrite() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void OnWriteOverdue() ABSL_LOCKS_EXCLUDED(mutex_);
  // Stops reading and remembers why; ends the stream once nothing is on its way.
  void Close(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void EndIfIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The client is gone: nothing more can be told.
  void Abandon(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);

  template <typename Work>
  void After(absl::Duration pause, std::unique_ptr<grpc::Alarm>* alarm, Work work)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Edge& edge_;
  const StreamLimits& limits_;
  grpc::CallbackServerContext* const context_;
  const absl::Duration start_ = SteadyNow();
  std::shared_ptr<LearnStream> self_;
  uint64_t ticket_ = 0;
  Identity caller_;  // set before the first read
  std::shared_ptr<QuotaLedger::Account> account_;  // the caller's
  Hold place_;                                     // among the caller's streams
  uint64_t generation_ = 0;  // of the tokens; of the reading thread

  // Of the reading thread; handed over through mutex_ with each read.
  grpc::ByteBuffer frame_;
  uint64_t frames_ = 0;
  uint64_t messages_ = 0;
  uint32_t crc_ = 0;
  bool charged_ = false;                    // the message in frame_, to its caller's rate
  absl::optional<v1::LearnMessage> held_;  // it, refused by a quota before the model saw it
  std::shared_ptr<ModelRuntime> model_;
  std::string producer_;
  uint64_t epoch_ = 0;

  base::Mutex mutex_;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kOpening;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  // frame_ is being looked at: a read would replace it.
  bool parsing_ ABSL_GUARDED_BY(mutex_) = false;
  bool submitting_ ABSL_GUARDED_BY(mutex_) = false;
  // The message in frame_ met a full queue or a quota and waits for the retry alarm; since when in
  // all.
  bool parked_ ABSL_GUARDED_BY(mutex_) = false;
  absl::optional<absl::Duration> parked_since_ ABSL_GUARDED_BY(mutex_);
  absl::Status parked_status_ ABSL_GUARDED_BY(mutex_);
  bool pausing_ ABSL_GUARDED_BY(mutex_) = false;  // after a rejection
  LearnAcks acks_ ABSL_GUARDED_BY(mutex_);
  grpc::ByteBuffer writing_bytes_ ABSL_GUARDED_BY(mutex_);  // gRPC's while writing_
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Duration write_start_ ABSL_GUARDED_BY(mutex_);
  bool ack_alarm_set_ ABSL_GUARDED_BY(mutex_) = false;
  bool write_alarm_set_ ABSL_GUARDED_BY(mutex_) = false;
  absl::optional<absl::Status> closing_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::unique_ptr<grpc::Alarm> ack_alarm_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> write_alarm_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> retry_alarm_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<grpc::Alarm> pause_alarm_ ABSL_GUARDED_BY(mutex_);
};

// --- frames ---

void LearnStream::OnReadDone(bool ok) {
  {
    base::MutexLock lock(&mutex_);
    reading_ = false;
    if (closing_.has_value() || ended_) return EndIfIdle();
    if (!ok) {
      return Close(WithReason(absl::StatusCode::kAborted, "NO_END",
                              absl::StrCat("stream ended without its end record after ", messages_,
                                           " messages; durable_sequence=",
                                           model_ == nullptr ? 0 : model_->DurableSequence()),
                              "messages", absl::StrCat(messages_)));
    }
    parsing_ = true;
  }
  OnFrame();
}

void LearnStream::OnFrame() {
  ++frames_;
  const uint64_t generation = generation_;
  absl::Status allowed = StillAdmitted(edge_, Rpc::kLearn, *context_, &generation_);
  const bool told_anew = generation != generation_ && !producer_.empty();
  if (allowed.ok() && told_anew) allowed = AdmitProducer(edge_, caller_, producer_);
  if (!allowed.ok()) return CloseNow(allowed);
  v1::LearnRequest request;
  if (!ParseMessage(frame_, &request)) {
    return CloseNow(absl::InvalidArgumentError(absl::StrCat(
        "message ", frames_, " is not a valid LearnRequest (", frame_.Length(), " bytes)")));
  }
  const bool first = frames_ == 1;
  if (first != request.has_hello()) {
    return CloseNow(
        BadField(absl::StrCat("message ", frames_), first ? "expected the hello that opens a stream"
                                                          : "a second hello in one stream"));
  }
  if (first) return OnHello(request.hello());
  if (request.has_end()) return OnEnd(request.end());
  if (!request.has_message()) {
    return CloseNow(BadField(absl::StrCat("message ", frames_), "neither message nor end"));
  }
  const absl::Status its_own = AdmitMessage(edge_, caller_, request.message());
  if (!its_own.ok()) return CloseNow(its_own);
  ++messages_;
  crc_ = ExtendCrc32(crc_, frame_);
  charged_ = false;
  {
    base::MutexLock lock(&mutex_);
    parsing_ = false;
    submitting_ = true;
  }
  Submit(std::move(*request.mutable_message()));
}

void LearnStream::OnHello(const v1::LearnHello& hello) {
  const absl::Status bound = AdmitProducer(edge_, caller_, hello.producer());
  if (!bound.ok()) return CloseNow(bound);
  auto model = FindModel(edge_, hello.model());
  if (!model.ok()) return CloseNow(model.status());
  model_ = *std::move(model);
  producer_ = hello.producer();
  {
    base::MutexLock lock(&mutex_);
    parsing_ = false;
    phase_ = Phase::kGreeting;
  }
  model_->Hello(hello, [self = shared_from_this()](absl::StatusOr<v1::LearnWelcome> welcome) {
    self->OnWelcome(welcome);
  });
}

void LearnStream::OnEnd(const v1::LearnEnd& end) {
  absl::Status status;
  if (end.message_count() != messages_) {
    status = WithReason(absl::StatusCode::kDataLoss, "END_MISMATCH",
                        absl::StrCat("client sent ", end.message_count(),
                                     " messages, server received ", messages_));
  } else if (end.crc32() != crc_) {
    status = WithReason(absl::StatusCode::kDataLoss, "END_MISMATCH",
                        absl::StrCat("client sent bytes of CRC-32 ", absl::Hex(end.crc32()),
                                     ", server received ", absl::Hex(crc_)));
  }
  CloseNow(status);
}

// frame_ keeps the message until the next read, so that it can be tried again.
void LearnStream::Submit(v1::LearnMessage message) {
  const absl::StatusOr<Hold> room = Charge(message);
  if (room.ok()) {
    uint64_t learn_ticket = 0;
    {
      base::MutexLock lock(&mutex_);
      learn_ticket = acks_.Add(message.producer_sequence(), static_cast<int64_t>(frame_.Length()));
    }
    model_->Learn(producer_, epoch_, std::move(message),
                  [self = shared_from_this(), learn_ticket,
                   room = *room](absl::StatusOr<Accepted> outcome) {
                    self->OnSettled(learn_ticket, outcome);
                  });
  } else {
    OnRefused(room.status(), std::move(message));
  }
  base::MutexLock lock(&mutex_);
  submitting_ = false;
  if (parked_) {
    const absl::Duration pause = held_.has_value()
                                     ? absl::FromChrono(RetryDelay(parked_status_))
                                     : limits_.retry_pause;
    return After(std::min(pause, kLongestPause), &retry_alarm_,
                 [](LearnStream* self) { self->Retry(); });
  }
  ReadIfRoom();
  EndIfIdle();
}

// The rate once a message, however often it is tried.
absl::StatusOr<Hold> LearnStream::Charge(const v1::LearnMessage& message) {
  if (!charged_) ENGRAM_RETURN_IF_ERROR(ChargeRate(message, account_.get()));
  charged_ = true;
  return account_->HoldBytes(static_cast<int64_t>(frame_.Length()));
}

// Examples are waited for, which slows the producer to its rate. Too many boundaries are a mistake
// that its producer should see.
void LearnStream::OnRefused(const absl::Status& status, v1::LearnMessage message) {
  base::MutexLock lock(&mutex_);
  if (message.has_boundary() && !charged_) return Close(status);
  held_ = std::move(message);
  Park(status);
}

void LearnStream::Park(const absl::Status& status) {
  parked_ = true;
  parked_status_ = status;
  if (!parked_since_.has_value()) parked_since_ = SteadyNow();
}

void LearnStream::Retry() {
  {
    base::MutexLock lock(&mutex_);
    if (ended_) return;
    parked_ = false;
    const absl::Duration now = SteadyNow();
    const bool hopeless = now - parked_since_.value_or(now) > limits_.retry_patience;
    if (closing_.has_value() || hopeless) return Close(parked_status_);
    submitting_ = true;
  }
  if (held_.has_value()) {
    v1::LearnMessage message = *std::move(held_);
    held_.reset();
    return Submit(std::move(message));
  }
  v1::LearnRequest request;
  ENGRAM_CHECK(ParseMessage(frame_, &request));
  Submit(std::move(*request.mutable_message()));
}

void LearnStream::CloseNow(const absl::Status& status) {
  base::MutexLock lock(&mutex_);
  parsing_ = false;
  Close(status);
}

// --- the model's answers ---

void LearnStream::OnWelcome(const absl::StatusOr<v1::LearnWelcome>& welcome) {
  base::MutexLock lock(&mutex_);
  phase_ = Phase::kLearning;
  if (!welcome.ok()) return Close(welcome.status());
  if (closing_.has_value() || ended_) return EndIfIdle();
  epoch_ = welcome->epoch();
  v1::LearnResponse response;
  *response.mutable_welcome() = *welcome;
  Write(response);
  ReadIfRoom();
}

void LearnStream::OnSettled(uint64_t learn_ticket, const absl::StatusOr<Accepted>& outcome) {
  const uint64_t durable = model_->DurableSequence();
  base::MutexLock lock(&mutex_);
  if (!outcome.ok() && submitting_ && acks_.IsLast(learn_ticket) && IsFullQueue(outcome.status())) {
    acks_.RemoveLast();
    return Park(outcome.status());
  }
  parked_since_.reset();
  acks_.Settle(learn_ticket, outcome);
  if (!outcome.ok()) Close(outcome.status());
  if (ended_) return;
  // The last record of its commit has the durable sequence: nothing else is to be acked with it.
  const bool last_of_commit =
      acks_.in_flight() == 0 ||
      (outcome.ok() && outcome->count > 0 &&
       outcome->first_sequence + static_cast<uint64_t>(outcome->count) > durable);
  if (acks_.ready() && !writing_) last_of_commit ? WriteAck() : AckSoon();
  PauseIfOnlyRejected();
  ReadIfRoom();
  EndIfIdle();
}

// --- reading and writing ---

void LearnStream::Read() {
  reading_ = true;
  StartRead(&frame_);
}

void LearnStream::ReadIfRoom() {
  if (reading_ || parsing_ || submitting_ || parked_ || closing_.has_value() || ended_) return;
  if (phase_ != Phase::kLearning) return;
  const int64_t in_flight_max = acks_.latest_taken()
                                    ? limits_.unacked_messages
                                    : std::min(limits_.unacked_messages, limits_.rejected_in_row);
  if (acks_.bytes_in_flight() >= limits_.unacked_bytes ||
      static_cast<int64_t>(acks_.in_flight()) >= in_flight_max ||
      acks_.rejections_waiting() >= limits_.unacked_messages) {
    return;
  }
  if (pausing_ || (OnlyRejected() && acks_.in_flight() > 0)) return;
  Read();
}

bool LearnStream::OnlyRejected() const {
  return acks_.rejected_in_row() >= limits_.rejected_in_row;
}

void LearnStream::PauseIfOnlyRejected() {
  if (pausing_ || !OnlyRejected()) return;
  pausing_ = true;
  After(limits_.rejected_pause, &pause_alarm_, [](LearnStream* self) {
    base::MutexLock lock(&self->mutex_);
    self->pausing_ = false;
    self->ReadIfRoom();
  });
}

void LearnStream::Write(const v1::LearnResponse& response) {
  writing_ = true;
  write_start_ = SteadyNow();
  writing_bytes_ = ToBytes(response);
  StartWrite(&writing_bytes_);
  WatchWrite();
}

void LearnStream::WriteAck() {
  v1::LearnResponse response;
  *response.mutable_ack() = acks_.Take();
  response.mutable_ack()->set_durable_sequence(model_->DurableSequence());
  response.mutable_ack()->set_applied_sequence(model_->AppliedSequence());
  ENGRAM_FAILPOINT("ack.before_send");
  Write(response);
}

void LearnStream::AckSoon() {
  if (ack_alarm_set_) return;
  ack_alarm_set_ = true;
  After(limits_.ack_pause, &ack_alarm_, [](LearnStream* self) {
    base::MutexLock lock(&self->mutex_);
    self->ack_alarm_set_ = false;
    if (self->acks_.ready() && !self->writing_ && !self->ended_) self->WriteAck();
  });
}

void LearnStream::OnWriteDone(bool ok) {
  if (!ok) return Abandon(absl::CancelledError("the client went away"));
  ENGRAM_FAILPOINT("ack.after_send");
  base::MutexLock lock(&mutex_);
  writing_ = false;
  if (ended_) return;
  if (acks_.ready()) WriteAck();
  ReadIfRoom();
  EndIfIdle();
}

// One alarm follows many writes: when it goes off it looks how old the current one is.
void LearnStream::WatchWrite() {
  if (write_alarm_set_) return;
  write_alarm_set_ = true;
  After(write_start_ + limits_.write_patience - SteadyNow(), &write_alarm_,
        [](LearnStream* self) { self->OnWriteOverdue(); });
}

void LearnStream::OnWriteOverdue() {
  base::MutexLock lock(&mutex_);
  write_alarm_set_ = false;
  if (ended_ || !writing_) return;
  if (SteadyNow() - write_start_ < limits_.write_patience) return WatchWrite();
  // A status sent the ordinary way would queue behind the ack that nobody reads.
  const std::string text =
      absl::StrCat("acks were not read for ", absl::FormatDuration(limits_.write_patience));
  grpc_call_cancel_with_status(context_->c_call(), GRPC_STATUS_RESOURCE_EXHAUSTED, text.c_str(),
                               nullptr);
  End(absl::ResourceExhaustedError(text));
}

// --- the end ---

void LearnStream::Close(const absl::Status& status) {
  if (!closing_.has_value() || closing_->ok()) closing_ = status;
  EndIfIdle();
}

void LearnStream::EndIfIdle() {
  if (!closing_.has_value() || ended_ || writing_ || parsing_ || submitting_ || parked_) return;
  if (acks_.in_flight() > 0 || phase_ == Phase::kGreeting) return;
  if (acks_.ready()) return WriteAck();
  End(*closing_);
}

void LearnStream::End(const absl::Status& status) {
  if (ended_) return;
  ended_ = true;
  edge_.rpcs->Observe(Rpc::kLearn, status.code(), absl::ToDoubleSeconds(SteadyNow() - start_));
  Finish(ToGrpcStatus(status));
}

void LearnStream::Abandon(const absl::Status& status) {
  base::MutexLock lock(&mutex_);
  End(status);
}

void LearnStream::BeginDrain() {
  base::MutexLock lock(&mutex_);
  if (phase_ != Phase::kOpening) Close(CallGate::ShuttingDown());
}

void LearnStream::OnDone() {
  place_.reset();
  edge_.gate->Leave(ticket_);
  const std::shared_ptr<LearnStream> last = std::move(self_);
}

// Alarms hold the stream weakly: what has ended is not kept for a timer.
template <typename Work>
void LearnStream::After(absl::Duration pause, std::unique_ptr<grpc::Alarm>* alarm, Work work) {
  *alarm = std::make_unique<grpc::Alarm>();
  (*alarm)->Set(SteadyIn(pause),
                [weak = weak_from_this(), work](bool rang) {
                  const std::shared_ptr<LearnStream> self = weak.lock();
                  if (rang && self != nullptr) work(self.get());
                });
}

}  // namespace

Reactor* StartLearnStream(const Edge& edge, grpc::CallbackServerContext* context) {
  auto stream = std::make_shared<LearnStream>(edge, context);
  stream->Open();
  return stream.get();
}

}  // namespace engram::server
