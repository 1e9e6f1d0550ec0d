// The log: one ordered, gap-free sequence of opaque records per model. The log is the truth.
//
// One committer thread writes everything that was submitted during the last sync (at most
// `commit_bytes_max`) in one synced write, dedupe rows included; there is no linger.
//
// Threading: every method from any thread. Submit never blocks on I/O; callbacks run on the
//   committer thread, in sequence order per model, and must not block.
// Failure: a failed write or sync is sticky: it and every later Submit answer FAILED_PRECONDITION
//   "storage is read-only: ..." until the process restarts; Read goes on. What failed may still be
//   there after a restart: producers resend, the dedupe rows sort it out.
// Bounds: bytes waiting for the committer are at most `queue_bytes_max`; beyond it
//   RESOURCE_EXHAUSTED, nothing stored. Below `disk_reserve_bytes` of free disk likewise; what was
//   accepted just before waits for room, and is RESOURCE_EXHAUSTED only if the log closes first.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "storage/types.h"

namespace engram::storage {

struct LogRecord {
  Sequence sequence = 0;
  uint8_t kind = 0;  // meaning is the caller's; 1..127
  std::string payload;
  // Of the message that it came with; empty: of none, or format 1 wrote it.
  std::string producer = {};
};

struct NewRecord {
  uint8_t kind = 0;
  std::string payload;
  // What the record can be found by later (FindNamed); empty: not at all. Kept as digests only.
  std::string id = {};
  std::string subject = {};
  // Whom LogRecord names; empty: the mark's producer, if there is one.
  std::string producer = {};
};

enum class RecordName : uint8_t { kId = 'i', kSubject = 's' };

// What comes in a record's place.
struct RewrittenRecord {
  Sequence sequence = 0;
  uint8_t kind = 0;
  std::string payload;
};

// What a producer's message leaves behind for idempotency; stored in the same write as its records.
struct ProducerMark {
  std::string producer;
  uint64_t epoch = 0;
  uint64_t sequence = 0;      // the producer's own; 0: only the epoch changes (a hello)
  uint64_t content_hash = 0;  // of a rejected message too, with no records
};

struct Submission {
  ModelUid model = 0;
  std::vector<NewRecord> records;  // may be empty when there is a mark
  absl::optional<ProducerMark> mark;
};

// A producer's durable state.
struct ProducerState {
  std::string producer;
  uint64_t epoch = 0;
  uint64_t last_sequence = 0;
  int64_t last_seen_ms = 0;
};

// One of a producer's last 1 024 messages.
struct ProducerMessage {
  uint64_t sequence = 0;
  Sequence first = 0;  // first log sequence; 0 when count is 0
  uint32_t count = 0;
  uint64_t content_hash = 0;
};

using OnDurable = std::function<void(const absl::Status&)>;

class SampleLog {
 public:
  static constexpr uint64_t kProducerWindow = 1024;

  virtual ~SampleLog() = default;

  // Makes a model known (an empty log) or opens its stored one. Idempotent.
  virtual absl::Status Open(ModelUid model) = 0;
  // Removes every record, dedupe row and mark of a model.
  virtual absl::Status Remove(ModelUid model) = 0;

  // Gives the records the next sequences, in the order of the calls, and queues them. Returns the
  // first sequence (the next one when `records` is empty). `on_durable` runs exactly once if and
  // only if this returns OK.
  virtual absl::StatusOr<Sequence> Submit(Submission submission, OnDurable on_durable) = 0;

  // Last sequence that is durable. Never falls.
  virtual Sequence DurableSequence(ModelUid model) const = 0;
  // Last sequence given out, durable or on its way.
  virtual Sequence AssignedSequence(ModelUid model) const = 0;

  // Durable records from `from` on, in order, gap-free, at most `max_records` and about
  // `max_bytes`. Empty at the end. OUT_OF_RANGE below the trim mark; DATA_LOSS on a gap or a
  // record that fails its checksum, naming the sequence.
  virtual absl::StatusOr<std::vector<LogRecord>> Read(ModelUid model, Sequence from,
                                                      size_t max_records,
                                                      size_t max_bytes) const = 0;

  // Forgets records up to and including `up_to`. The mark is stored; reads always seek to it.
  virtual absl::Status Trim(ModelUid model, Sequence up_to) = 0;
  virtual Sequence TrimMark(ModelUid model) const = 0;
  // Highest sequence s <= limit such that dropping (mark, s] leaves at least `keep_bytes` of log
  // and every record younger than `keep_seconds`. For retention.
  virtual Sequence TrimCandidate(ModelUid model, Sequence limit, int64_t keep_seconds,
                                 int64_t keep_bytes, int64_t now_ms) const = 0;

  // The sequences of records of this name, ascending. Names outlive their record's trim until
  // TrimNames.
  virtual absl::StatusOr<std::vector<Sequence>> FindNamed(ModelUid model, RecordName kind,
                                                          absl::string_view name) const = 0;
  // The last record whose names were not noted, because format 1 did not; 0 = none.
  virtual absl::StatusOr<Sequence> UnnamedThrough(ModelUid model) const = 0;
  // Forgets the names of trimmed records, besides those that `keep` returns; it is asked only when
  // there are any.
  virtual absl::Status TrimNames(ModelUid model,
                                 const std::function<std::vector<Sequence>()>& keep) = 0;
  // Forgets the names of these records.
  virtual absl::Status RemoveNames(ModelUid model, absl::Span<const Sequence> sequences) = 0;
  // Puts others in the place of durable records that are not trimmed, all or none of them, in one
  // synced write. They keep sequence and time and lose their producer; what they held is in no file
  // any more after Store::Purge.
  virtual absl::Status Rewrite(ModelUid model, absl::Span<const RewrittenRecord> records) = 0;

  virtual absl::StatusOr<std::vector<ProducerState>> Producers(ModelUid model) const = 0;
  // One of the last 1 024 messages of a producer, or nullopt when older or never seen.
  virtual absl::StatusOr<absl::optional<ProducerMessage>> FindMessage(ModelUid model,
                                                                      absl::string_view producer,
                                                                      uint64_t sequence) const = 0;
  virtual absl::Status RemoveProducer(ModelUid model, absl::string_view producer) = 0;

  // OK, or why the log is read-only.
  virtual absl::Status Health() const = 0;
};

}  // namespace engram::storage
