// Examples between two cuts: read from the log, not yet applied. A cut is a pure function of the
// log: batch_size examples that are trained on, or a bound on what may wait, or a record of another
// kind. A tombstone of an erased example takes the place that the example had, and is not trained
// on. An example out of quarantine is one like any other, which no draw holds out.
//
// Threading: one thread.
// Failure: DATA_LOSS for a record that does not parse or has not the model's feature count.
// Bounds: 4 096 examples or 64 MiB, of payload or as float32, whichever comes first (held-out rows
//   wait here too).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "engram/v1/model.pb.h"
#include "server/held_out_sets.h"
#include "server/stream_state.h"
#include "storage/sample_log.h"
#include "strategies/api/batch_view.h"

namespace engram::server {

class BatchStage {
 public:
  // The view has senders if the spec caps their share of a memory.
  explicit BatchStage(const v1::ModelSpec& spec)
      : feature_count_(spec.feature_count()), names_senders_(spec.has_max_sender_share()) {}

  absl::Status Add(const storage::LogRecord& record, const StreamState& state);
  // The next record would belong to the next batch. Nothing to train on: nothing to wait for.
  bool CutDue(int64_t batch_size) const;

  // That wait for a step, tombstones among them.
  int64_t train_rows() const { return train_rows_; }
  bool empty() const { return used_ == 0; }
  uint64_t last_sequence() const { return staged_[used_ - 1].sequence; }

  // Applies everything staged to `state` and the held-out sets; what is left to do is Train(view),
  // if it has rows. The view lives until the next Add or Clear.
  strategies::BatchView Cut(StreamState* state, HeldOutSets* held_out);
  // Of the view's rows: the sequence that one out of quarantine had before, else 0.
  const std::vector<uint64_t>& released() const { return released_; }
  // The view without the rows that are not `kept`; it lives as long.
  strategies::BatchView Keep(const std::vector<bool>& kept);
  // Forgets what is staged.
  void Clear();

 private:
  struct Staged {
    v1::Example example;  // reused: its buffers keep their capacity
    uint64_t sequence = 0;
    uint64_t sender = 0;
    uint64_t released = 0;  // the sequence it had before
    bool held_out = false;
    bool erased = false;  // of the example only the task is set
  };

  absl::Status ReadExample(const storage::LogRecord& record, Staged* staged, int64_t* bytes) const;
  absl::Status ReadRelease(const storage::LogRecord& record, Staged* staged, int64_t* bytes) const;
  absl::Status CheckFeatures(const storage::LogRecord& record, const Staged& staged) const;
  absl::Status Read(const storage::LogRecord& record, const StreamState& state, Staged* staged,
                    int64_t* bytes) const;
  strategies::BatchView View() const;
  absl::Status ReadTombstone(const storage::LogRecord& record, const StreamState& state,
                             Staged* staged, int64_t* bytes) const;

  // Of the record's producer; a message's records follow each other.
  uint64_t SenderOf(const storage::LogRecord& record);

  const int64_t feature_count_;
  const bool names_senders_;
  std::string last_producer_;
  uint64_t last_sender_ = 0;
  std::vector<Staged> staged_;
  size_t used_ = 0;
  int64_t train_rows_ = 0;
  int64_t erased_rows_ = 0;  // of them
  int64_t bytes_ = 0;

  std::vector<float> features_;
  std::vector<float> weights_;
  std::vector<int32_t> classes_;
  std::vector<int32_t> tasks_;
  std::vector<uint64_t> sequences_;
  std::vector<uint64_t> senders_;
  std::vector<uint64_t> released_;
  bool weighted_ = false;
};

}  // namespace engram::server
