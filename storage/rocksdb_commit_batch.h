// One group commit in the making: the records of many submissions, their producer rows and the
// positions for the index, as one RocksDB write. Private to RocksDbSampleLog.
//
// Threading: the committer thread only. Ownership: keeps its buffers from commit to commit, so that
// a payload is copied once on its way to RocksDB.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "rocksdb/write_batch.h"
#include "storage/log_index.h"
#include "storage/log_rows.h"
#include "storage/rocksdb_engine.h"
#include "storage/sample_log.h"

namespace engram::storage {

struct PendingSubmission {
  Submission submission;
  std::vector<uint32_t> payload_crcs;  // one a record, summed on the submitting thread
  std::vector<std::pair<size_t, NameDigests>> names;  // by record, ascending: those that have any
  Sequence first = 0;
  int64_t bytes = 0;  // counted against the queue's limit
  OnDurable on_durable;
};

// What a commit does to one model's log.
struct LogProgress {
  LogPosition tail;
  LogPosition last_indexed;
  std::vector<LogPosition> indexed;  // new positions, in order
};

class CommitBatch {
 public:
  explicit CommitBatch(RocksDbEngine* engine) : engine_(engine) {}

  // Starts a commit at `now_ms`. `progress` holds the tail of every model that will be added.
  void Begin(int64_t now_ms, std::map<ModelUid, LogProgress> progress);
  void Add(const PendingSubmission& pending);
  // One synced write of all that was added. The caller has asked the disk for room.
  absl::Status Write();

  const std::map<ModelUid, LogProgress>& progress() const { return progress_; }
  uint64_t records() const { return records_; }
  uint64_t payload_bytes() const { return payload_bytes_; }

 private:
  void AddRecord(ModelUid model, const LogPosition& position, const NewRecord& record,
                 absl::string_view producer, uint32_t payload_crc);
  void AddNames(ModelUid model, Sequence sequence, const NameDigests& names);
  void AddMark(const PendingSubmission& pending);
  void AddIndexRow(ModelUid model, LogProgress* progress);

  RocksDbEngine* const engine_;
  rocksdb::WriteBatch batch_;
  std::string header_;
  int64_t now_ms_ = 0;
  uint64_t records_ = 0;
  uint64_t payload_bytes_ = 0;
  std::map<ModelUid, LogProgress> progress_;
  std::map<std::string, ProducerRow> producers_;  // by key: only the last of a commit is written
};

}  // namespace engram::storage
