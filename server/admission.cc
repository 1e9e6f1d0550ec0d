#include "server/admission.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/lineage.h"
#include "server/message_check.h"
#include "server/names.h"
#include "server/spec_options.h"
#include "server/tune_plan.h"
#include "storage/base/check.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr int kRollbacksMax = 4096;
constexpr std::chrono::milliseconds kRetryAfter{100};
constexpr size_t kReplaceRecords = 1024;
constexpr size_t kReplaceBytes = 4 << 20;

int64_t ExampleCount(const v1::LearnMessage& message) { return message.examples_size(); }

}  // namespace

// A message on its way in.
struct Admission::Prepared {
  std::string producer;
  uint64_t epoch = 0;
  v1::LearnMessage message;  // canonical
  std::vector<storage::NewRecord> records;
  uint64_t content_hash = 0;
  absl::Status verdict;  // of the checks that need no state
};

Admission::Admission(AdmissionOptions options, storage::SampleLog* log)
    : options_(std::move(options)), log_(log) {}

absl::Status Admission::Open(StreamState head) {
  ENGRAM_ASSIGN_OR_RETURN(auto stored, log_->Producers(options_.uid));
  base::MutexLock lock(&mutex_);
  producers_.clear();
  for (storage::ProducerState& state : stored) {
    auto producer = std::make_unique<Producer>();
    producer->epoch = state.epoch;
    producer->last_sequence = state.last_sequence;
    producer->last_seen_ms = state.last_seen_ms;
    producers_[state.producer] = std::move(producer);
  }
  SetHead(std::move(head));
  open_ = true;
  return absl::OkStatus();
}

bool Admission::Replace(StreamState head, uint64_t through) {
  base::MutexLock lock(&mutex_);
  const uint64_t durable = log_->DurableSequence(options_.uid);
  if (log_->AssignedSequence(options_.uid) != durable) return false;
  while (through < durable) {
    const auto records = log_->Read(options_.uid, through + 1, kReplaceRecords, kReplaceBytes);
    if (!records.ok() || records->empty()) return false;
    for (const storage::LogRecord& record : *records) {
      const auto kind = static_cast<RecordKind>(record.kind);
      if (!head.Apply(kind, record.payload, record.sequence).ok()) return false;
      through = record.sequence;
    }
  }
  head.TakeReleases(head_);  // also those that are applied and not published yet
  SetHead(std::move(head));
  return true;
}

void Admission::Close(absl::Status why) {
  base::MutexLock lock(&mutex_);
  closed_ = std::move(why);
}

absl::Status Admission::CheckOpen() const {
  if (!closed_.ok() || open_) return closed_;
  return NotYet("recovering", kRetryAfter);
}

void Admission::SetHead(StreamState head) {
  head_ = std::move(head);
  head_.mutable_proto()->clear_quarantine();  // the trainer's
  spec_ = std::make_shared<const v1::ModelSpec>(head_.spec());
  interleaved_ = InterleavedTasks(*spec_);
}

std::shared_ptr<const v1::ModelSpec> Admission::spec() const {
  base::MutexLock lock(&mutex_);
  return spec_;
}

std::string Admission::current_task() const {
  base::MutexLock lock(&mutex_);
  return head_.proto().tasks_size() == 0 ? std::string() : head_.current_task().name();
}

void Admission::Hello(const v1::LearnHello& hello, OnWelcome done) {
  if (!IsName(hello.producer())) return done(BadField("producer", NotAName(hello.producer())));
  auto welcome = std::make_shared<v1::LearnWelcome>();
  auto answer = std::make_shared<OnWelcome>(std::move(done));
  absl::Status status = [&]() -> absl::Status {
    base::MutexLock lock(&mutex_);
    ENGRAM_RETURN_IF_ERROR(CheckOpen());
    ENGRAM_ASSIGN_OR_RETURN(Producer * producer, FindProducer(hello.producer()));
    const uint64_t last = producer->last_sequence;
    const uint64_t claimed = hello.last_acked_sequence();
    if (claimed > std::max(last, options_.losses->Acknowledged(hello.producer()))) {
      ForgetUnused(hello.producer());
      LockLearning(hello, last, answer);
      return absl::OkStatus();
    }
    const absl::Status unlocked = options_.losses->CheckOpen();
    if (!unlocked.ok()) {
      ForgetUnused(hello.producer());
      return unlocked;
    }
    // After an acknowledged loss the producer goes on behind what it holds acks for.
    const uint64_t skipped_to = claimed > last ? claimed : 0;
    storage::Submission submission;
    submission.model = options_.uid;
    submission.mark =
        storage::ProducerMark{hello.producer(), producer->epoch + 1, skipped_to, 0};
    welcome->set_epoch(producer->epoch + 1);
    welcome->set_last_producer_sequence(std::max(last, claimed));
    auto submitted = log_->Submit(std::move(submission), [self = shared_from_this(), welcome,
                                                        answer, skipped_to,
                                                        producer_name = hello.producer()](
                                                           const absl::Status& durable) {
      if (!durable.ok()) return (*answer)(self->FromLog(durable));
      if (skipped_to > 0) self->options_.losses->Forget(producer_name);
      welcome->set_durable_sequence(self->log_->DurableSequence(self->options_.uid));
      (*answer)(*welcome);
    });
    if (!submitted.ok()) {
      ForgetUnused(hello.producer());
      return FromLog(submitted.status());
    }
    ++producer->epoch;
    producer->last_sequence = std::max(last, skipped_to);
    producer->last_seen_ms = absl::ToUnixMillis(options_.clock->Anchored());
    return absl::OkStatus();
  }();
  if (!status.ok()) (*answer)(status);
}

void Admission::LockLearning(const v1::LearnHello& hello, uint64_t last,
                             const std::shared_ptr<OnWelcome>& answer) {
  v1::Loss loss;
  loss.set_producer(hello.producer());
  loss.set_client_sequence(hello.last_acked_sequence());
  loss.set_server_sequence(last);
  loss.set_found_time_ms(absl::ToUnixMillis(options_.clock->Now()));
  const absl::Status ahead = WithReason(absl::StatusCode::kDataLoss, "ACK_AHEAD",
                                        absl::StrCat("client holds ack ", loss.client_sequence(),
                                                     ", server has ", last),
                                        "lastSequence", absl::StrCat(last));
  options_.losses->Lock(std::move(loss), [answer, ahead] { (*answer)(ahead); });
}

void Admission::Learn(const std::string& producer, uint64_t epoch, v1::LearnMessage message,
                      OnAccepted done) {
  if (!IsName(producer)) return done(BadField("producer", NotAName(producer)));
  if (message.producer_sequence() == 0 ||
      message.producer_sequence() == std::numeric_limits<uint64_t>::max()) {
    return done(BadField("producer_sequence", absl::StrCat("counts from 1, got ",
                                                           message.producer_sequence())));
  }
  const std::shared_ptr<const v1::ModelSpec> spec = this->spec();
  Prepared prepared;
  prepared.producer = producer;
  prepared.epoch = epoch;
  prepared.message = std::move(message);
  Canonicalise(&prepared.message);
  if (spec != nullptr) {
    prepared.verdict = CheckMessage(prepared.message, *spec, options_.model,
                                    options_.limits->examples_per_message());
  }
  prepared.records = ToRecords(prepared.message);
  prepared.content_hash = ContentHash(prepared.records);
  auto answer = AdmitLocked(&prepared, &done);
  if (answer.has_value()) done(*std::move(answer));
}

absl::optional<absl::StatusOr<Accepted>> Admission::AdmitLocked(Prepared* message,
                                                                OnAccepted* done) {
  base::MutexLock lock(&mutex_);
  absl::Status open = CheckOpen();
  if (open.ok()) open = options_.losses->CheckOpen();
  if (!open.ok()) return absl::StatusOr<Accepted>(open);
  auto found = FindProducer(message->producer);
  if (!found.ok()) return absl::StatusOr<Accepted>(found.status());
  Producer* producer = *found;
  absl::Status turn = CheckTurn(*producer, *message);
  if (!turn.ok()) {
    ForgetUnused(message->producer);
    return absl::StatusOr<Accepted>(std::move(turn));
  }
  if (message->message.producer_sequence() <= producer->last_sequence &&
      !MayReplace(*producer, *message) && !ENGRAM_BUG("bug.dedupe_dropped")) {
    return AnswerRepeat(producer, message, done);
  }
  if (message->verdict.ok()) message->verdict = CheckState(message->message);
  absl::Status submitted = Submit(producer, message, *done);
  if (submitted.ok()) return absl::nullopt;
  ForgetUnused(message->producer);
  return absl::StatusOr<Accepted>(FromLog(submitted));
}

absl::StatusOr<Admission::Producer*> Admission::FindProducer(const std::string& name) {
  auto it = producers_.find(name);
  if (it != producers_.end()) return it->second.get();
  if (static_cast<int64_t>(producers_.size()) >= options_.limits->producers()) {
    return OverLimit("producers",
                     absl::StrCat("producer limit ", options_.limits->producers(), " (model \"",
                                  options_.model,
                                  "\"): use a name again, or raise limits.producers"),
                     std::chrono::milliseconds(0));
  }
  return (producers_[name] = std::make_unique<Producer>()).get();
}

void Admission::ForgetUnused(const std::string& name) {
  auto it = producers_.find(name);
  if (it == producers_.end()) return;
  const Producer& producer = *it->second;
  if (producer.epoch == 0 && producer.last_sequence == 0 && producer.in_flight.empty()) {
    producers_.erase(it);
  }
}

absl::Status Admission::CheckTurn(const Producer& producer, const Prepared& message) const {
  if (message.epoch != 0 && message.epoch != producer.epoch) {
    return WithReason(absl::StatusCode::kAborted, "STALE_EPOCH",
                      absl::StrCat("stream taken over by epoch ", producer.epoch), "epoch",
                      absl::StrCat(producer.epoch));
  }
  const uint64_t expected = producer.last_sequence + 1;
  if (message.message.producer_sequence() <= expected) return absl::OkStatus();
  return WithReason(absl::StatusCode::kAborted, "SEQUENCE_GAP",
                    absl::StrCat("expected sequence ", expected, ", got ",
                                 message.message.producer_sequence()),
                    "expectedSequence", absl::StrCat(expected));
}

// The last message of a producer, if it was rejected, may be mended and sent again.
bool Admission::MayReplace(const Producer& producer, const Prepared& message) const {
  if (message.message.producer_sequence() != producer.last_sequence) return false;
  if (!producer.in_flight.empty()) {
    return !producer.in_flight.back()->accepted.rejection.ok();
  }
  auto stored = log_->FindMessage(options_.uid, message.producer, producer.last_sequence);
  return stored.ok() && stored->has_value() && (*stored)->count == 0;
}

absl::optional<absl::StatusOr<Accepted>> Admission::AnswerRepeat(Producer* producer,
                                                                 Prepared* message,
                                                                 OnAccepted* done) {
  const uint64_t sequence = message->message.producer_sequence();
  for (const auto& in_flight : producer->in_flight) {
    if (in_flight->sequence != sequence || in_flight->content_hash != message->content_hash) {
      continue;
    }
    in_flight->waiting.push_back(std::move(*done));
    options_.statistics->duplicate_examples += ExampleCount(message->message);
    return absl::nullopt;
  }
  auto answer = AnswerStoredRepeat(*message);
  if (answer.ok()) {
    if (answer->rejection.ok()) {
      options_.statistics->duplicate_examples += ExampleCount(message->message);
    } else {
      NoteRejection(message->producer, message->message, answer->rejection);
    }
  }
  return answer;
}

absl::StatusOr<Accepted> Admission::AnswerStoredRepeat(const Prepared& message) const {
  const uint64_t sequence = message.message.producer_sequence();
  ENGRAM_ASSIGN_OR_RETURN(auto stored,
                          log_->FindMessage(options_.uid, message.producer, sequence));
  Accepted accepted;
  accepted.duplicate = true;
  // Within the window and not stored: on its way, with other content.
  const uint64_t window_end = sequence + storage::SampleLog::kProducerWindow;
  const bool in_flight_differs =
      !stored.has_value() && window_end > producers_.at(message.producer)->last_sequence;
  if (in_flight_differs || (stored.has_value() && stored->content_hash != message.content_hash)) {
    accepted.duplicate = false;
    accepted.rejection = WithReason(
        absl::StatusCode::kAlreadyExists, "PAYLOAD_MISMATCH",
        absl::StrCat("sequence ", sequence, " already stored with a different payload"),
        "sequence", absl::StrCat(sequence));
    return accepted;
  }
  if (!stored.has_value()) return accepted;  // older than the window: unchecked
  if (stored->count == 0) {
    accepted.rejection =
        !message.verdict.ok()
            ? message.verdict
            : WithReason(absl::StatusCode::kFailedPrecondition, "REJECTED_BEFORE",
                         absl::StrCat("sequence ", sequence,
                                      " was rejected when it came; send it as a new message"));
    return accepted;
  }
  accepted.first_sequence = stored->first;
  accepted.count = stored->count;
  if (!message.message.has_boundary()) return accepted;
  auto records = log_->Read(options_.uid, stored->first, 1, 1 << 20);
  internal::BoundaryRecord boundary;
  if (records.ok() && !records->empty() && boundary.ParseFromString(records->front().payload)) {
    accepted.ended_task = boundary.ended_task();
    accepted.next_task = boundary.next_task();
  }
  return accepted;
}

// A boundary's record says more than the client did.
void Admission::NameTasks(Prepared* message, Accepted* accepted) const {
  internal::BoundaryRecord record;
  record.set_ended_task(head_.current_task().name());
  record.set_next_task(message->message.boundary().next_task().empty()
                           ? head_.DefaultNextTask()
                           : message->message.boundary().next_task());
  accepted->ended_task = record.ended_task();
  accepted->next_task = record.next_task();
  message->records.front().payload = record.SerializeAsString();
}

absl::Status Admission::Submit(Producer* producer, Prepared* message, OnAccepted done) {
  auto in_flight = std::make_shared<InFlight>();
  in_flight->sequence = message->message.producer_sequence();
  in_flight->content_hash = message->content_hash;
  Accepted& accepted = in_flight->accepted;
  accepted.rejection = message->verdict;
  if (!accepted.rejection.ok()) {
    message->records.clear();
  } else if (message->message.has_boundary()) {
    NameTasks(message, &accepted);
  }
  accepted.count = static_cast<int64_t>(message->records.size());
  storage::Submission submission;
  submission.model = options_.uid;
  submission.records = std::move(message->records);
  submission.mark = storage::ProducerMark{message->producer, producer->epoch, in_flight->sequence,
                                          message->content_hash};
  const absl::Duration started = options_.clock->Monotonic();
  const std::string boundary =
      accepted.next_task.empty() ? std::string() : submission.records.front().payload;
  ENGRAM_ASSIGN_OR_RETURN(
      const uint64_t first,
      log_->Submit(std::move(submission),
                   [self = shared_from_this(), name = message->producer, in_flight,
                    started](const absl::Status& status) {
                     self->Finish(name, in_flight, started, status);
                   }));
  in_flight->waiting.push_back(std::move(done));
  producer->in_flight.push_back(in_flight);
  producer->last_sequence = in_flight->sequence;
  producer->last_seen_ms = absl::ToUnixMillis(options_.clock->Anchored());
  if (accepted.count == 0) {
    NoteRejection(message->producer, message->message, accepted.rejection);
    return absl::OkStatus();
  }
  accepted.first_sequence = first;
  if (!boundary.empty()) return head_.Apply(RecordKind::kBoundary, boundary, first);
  for (int i = 0; i < message->message.examples_size(); ++i) {
    const v1::Example& example = message->message.examples(i);
    head_.ApplyExample(example.label(), example.task(),
                       head_.IsHeldOut(example.split(), first + i));
  }
  return absl::OkStatus();
}

void Admission::Finish(const std::string& producer, const std::shared_ptr<InFlight>& message,
                       absl::Duration started, const absl::Status& status) {
  std::vector<OnAccepted> waiting;
  Accepted accepted;
  {
    base::MutexLock lock(&mutex_);
    auto& in_flight = producers_.at(producer)->in_flight;
    in_flight.erase(std::find(in_flight.begin(), in_flight.end(), message));
    waiting.swap(message->waiting);
    accepted = message->accepted;
    // For good: and a repeat of what failed, which is not stored, is no mismatch.
    if (absl::IsFailedPrecondition(status) && closed_.ok()) closed_ = FromLog(status);
  }
  ModelStatistics& statistics = *options_.statistics;
  if (status.ok()) {
    statistics.append_seconds.Observe(
        absl::ToDoubleSeconds(options_.clock->Monotonic() - started));
    if (accepted.ended_task.empty()) statistics.accepted_examples += accepted.count;
    options_.on_durable();
  }
  for (OnAccepted& done : waiting) {
    if (status.ok()) {
      done(accepted);
    } else {
      done(FromLog(status));
    }
    accepted.duplicate = true;
  }
}

void Admission::SubmitFlush(uint64_t head) {
  base::MutexLock lock(&mutex_);
  if (log_->AssignedSequence(options_.uid) != head) return;
  storage::Submission submission;
  submission.model = options_.uid;
  submission.records.push_back({static_cast<uint8_t>(RecordKind::kFlush), ""});
  // A refusal is no loss: the trainer asks again.
  (void)log_->Submit(std::move(submission),
                     [wake = options_.on_durable](const absl::Status& status) {
                       if (status.ok()) wake();
                     });
}

absl::Status Admission::SubmitConfiguration(
    v1::ModelSpec spec, std::function<void(uint64_t, const absl::Status&)> on_durable) {
  base::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(CheckOpen());
  ENGRAM_RETURN_IF_ERROR(CheckLiveChange(head_.spec(), spec));
  ENGRAM_RETURN_IF_ERROR(CheckNextTune(head_.proto(), spec));
  internal::ConfigurationRecord record;
  *record.mutable_spec() = std::move(spec);
  return SubmitRecord(record, std::move(on_durable));
}

absl::Status Admission::SubmitTuneEnd(
    uint64_t id, int32_t candidate,
    std::function<void(uint64_t, const absl::Status&)> on_durable) {
  base::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(CheckOpen());
  const v1::Tune& tune = head_.spec().tune();
  if (!head_.TuneIsOpen() || tune.id() != id) {
    return WrongState("TUNE", absl::StrCat(id), "this tune has ended");
  }
  internal::ConfigurationRecord record;
  *record.mutable_spec() =
      candidate == 0 ? head_.spec() : tune.candidates(candidate - 1).spec();
  record.mutable_spec()->clear_tune();
  record.set_candidate(candidate);
  return SubmitRecord(record, std::move(on_durable));
}

uint64_t Admission::next_tune() const {
  base::MutexLock lock(&mutex_);
  return head_.proto().tunes() + 1;
}

absl::Status Admission::SubmitRecord(
    const internal::ConfigurationRecord& record,
    std::function<void(uint64_t, const absl::Status&)> on_durable) {
  storage::Submission submission;
  submission.model = options_.uid;
  submission.records.push_back(
      {static_cast<uint8_t>(RecordKind::kConfiguration), record.SerializeAsString()});
  const uint64_t sequence = log_->AssignedSequence(options_.uid) + 1;
  auto submitted = log_->Submit(
      std::move(submission), [self = shared_from_this(), sequence,
                              done = std::move(on_durable)](const absl::Status& status) {
        done(sequence, self->FromLog(status));
      });
  if (!submitted.ok()) return FromLog(submitted.status());
  ENGRAM_CHECK(*submitted == sequence);  // nobody else submits for this model
  StreamState head = head_;
  head.ApplyConfiguration(record);
  SetHead(std::move(head));
  return absl::OkStatus();
}

absl::StatusOr<RollbackPlan> Admission::Rollback(const std::string& checkpoint_id,
                                                 uint64_t restored_sequence,
                                                 const StreamState& checkpoint,
                                                 storage::OnDurable on_durable) {
  base::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(CheckOpen());
  RollbackPlan plan;
  plan.record = log_->AssignedSequence(options_.uid) + 1;
  if (restored_sequence >= plan.record) {
    return BadField("checkpoint", absl::StrCat("its sequence ", restored_sequence,
                                               " lies beyond the log's head ", plan.record - 1));
  }
  if (head_.proto().rewinds_size() >= kRollbacksMax) {
    return OverLimit("rollbacks", absl::StrCat("rollback limit ", kRollbacksMax),
                     std::chrono::milliseconds(0));
  }
  plan.dropped_examples =
      DroppedBy(head_.proto().rewinds(), head_.proto().train_examples(), restored_sequence,
                checkpoint.proto().train_examples());
  plan.after = head_.RolledBackTo(checkpoint, restored_sequence, plan.record);
  if (on_durable == nullptr) return plan;
  internal::RollbackRecord record;
  record.set_checkpoint(checkpoint_id);
  record.set_restored_sequence(restored_sequence);
  record.set_dropped_examples(plan.dropped_examples);
  *record.mutable_stream_state() = plan.after.proto();
  record.mutable_stream_state()->clear_quarantine();  // the checkpoint has it
  storage::Submission submission;
  submission.model = options_.uid;
  submission.records.push_back(
      {static_cast<uint8_t>(RecordKind::kRollback), record.SerializeAsString()});
  auto submitted = log_->Submit(std::move(submission), std::move(on_durable));
  if (!submitted.ok()) return FromLog(submitted.status());
  ENGRAM_CHECK(*submitted == plan.record);  // nobody else submits for this model
  SetHead(plan.after);
  return plan;
}

void Admission::ExpireProducers(absl::Duration idle) {
  const int64_t before_ms = absl::ToUnixMillis(options_.clock->Anchored() - idle);
  base::MutexLock lock(&mutex_);
  for (auto it = producers_.begin(); it != producers_.end();) {
    auto current = it++;
    const Producer& producer = *current->second;
    if (!producer.in_flight.empty() || producer.last_seen_ms >= before_ms) continue;
    if (log_->RemoveProducer(options_.uid, current->first).ok()) producers_.erase(current);
  }
}

// The log's own statuses lack the details of the wire.
absl::Status Admission::FromLog(const absl::Status& status) const {
  if (absl::IsResourceExhausted(status)) {
    return OverLimit("log", status.message(), kRetryAfter);
  }
  if (absl::IsFailedPrecondition(status)) {
    return WrongState("STORAGE", options_.model, status.message());
  }
  return status;
}

}  // namespace engram::server
