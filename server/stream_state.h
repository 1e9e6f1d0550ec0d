// What the log says about the stream up to some record: labels and their class indexes, tasks and
// their columns, counts, the spec in force. A pure function of the records, used twice: by
// admission at the log's head, by the trainer at its applied sequence.
//
// Rules: a label gets the next class index when the first TRAIN example with it is trained on;
// held-out rows create none. A task gets the next column when any record names it first. Labels in
// the spec have classes from the start.
//
// Threading: a value; copies are independent.
// Failure: Apply answers DATA_LOSS for a payload that does not parse; the state is then unchanged.
// Bounds: at most spec.max_classes labels; callers keep tasks and rollbacks within their limits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engram/internal/records.pb.h"
#include "server/model_runtime.h"
#include "server/record_kind.h"

namespace engram::server {

// What the learner's steps summed up to; travels with the state through checkpoints and rollbacks.
struct StepCounters {
  double prequential_correct = 0;  // faded sum of hits, test-then-train
  double prequential_weight = 0;   // faded sum of examples
  int64_t prequential_examples = 0;
  int64_t prequential_hits = 0;  // unfaded
  int64_t steps = 0;
  int64_t skipped_batches = 0;
};

class StreamState {
 public:
  struct ExampleRole {
    int32_t task = 0;
    int32_t class_index = -1;  // -1: held out
  };
  struct BoundaryRole {
    int32_t ended_task = 0;
    int32_t next_task = 0;
  };

  StreamState() = default;
  // Before the first record. `spec` is completed.
  static StreamState Fresh(const v1::ModelSpec& spec);
  static absl::StatusOr<StreamState> Parse(absl::string_view bytes);
  explicit StreamState(internal::StreamState proto);

  const internal::StreamState& proto() const { return proto_; }
  const v1::ModelSpec& spec() const { return proto_.spec(); }
  const internal::StreamState::Task& current_task() const {
    return proto_.tasks(proto_.current_task());
  }

  // Split, or the fixed draw of spec.held_out_fraction.
  bool IsHeldOut(v1::Split split, uint64_t sequence) const;
  int32_t FindClass(const v1::Label& label) const;            // -1: none
  int32_t FindTask(absl::string_view name) const;             // -1: none; "" is the current one
  // What an unnamed next task is called.
  std::string DefaultNextTask() const;

  ExampleRole ApplyExample(const v1::Label& label, absl::string_view task, bool held_out);
  // An example out of quarantine, as the record at `sequence`. No draw holds it out.
  ExampleRole ApplyReleased(const internal::ReleasedExample& record, uint64_t sequence);
  // Those since the state was made or rolled back, besides what was forgotten: the record that the
  // example of a sequence came back as, 0 = none.
  uint64_t ReleasedAs(uint64_t sequence) const;
  void ForgetReleases(uint64_t through);
  void TakeReleases(const StreamState& from) { releases_ = from.releases_; }
  // All that a tombstone does: its task gets a column.
  void NameTask(absl::string_view task) { TaskColumn(task); }
  BoundaryRole ApplyBoundary(const internal::BoundaryRecord& record);
  void ApplyConfiguration(const internal::ConfigurationRecord& record);
  void ApplyRollback(const internal::RollbackRecord& record);
  // Any record, by its bytes.
  absl::Status Apply(RecordKind kind, absl::string_view payload, uint64_t sequence);

  // This state (the log's head) after a rollback at `record` to a checkpoint's state: labels,
  // counts, current task and spec are the checkpoint's; columns, rollbacks and how many tunes there
  // were stay known.
  StreamState RolledBackTo(const StreamState& checkpoint, uint64_t restored_sequence,
                           uint64_t record) const;

  // The names for a snapshot's numbers.
  std::shared_ptr<const StreamView> View() const;
  // Changes whenever View() would.
  int64_t view_revision() const { return view_revision_; }

  StepCounters Counters() const;
  void SetCounters(const StepCounters& counters);

  // A tune of the spec in force is under way.
  bool TuneIsOpen() const { return proto_.spec().has_tune(); }
  // For tune_state.h, whose functions keep what the trainer knows of the tune.
  internal::StreamState* mutable_proto() { return &proto_; }

 private:
  int32_t TaskColumn(absl::string_view name);
  void Index();
  void IndexLabel(const v1::Label& label, int32_t index);

  internal::StreamState proto_;
  absl::flat_hash_map<int64_t, int32_t> number_classes_;
  absl::flat_hash_map<std::string, int32_t> text_classes_;
  absl::flat_hash_map<std::string, int32_t> task_columns_;
  absl::flat_hash_set<std::pair<int32_t, int32_t>> task_classes_;  // task column, class index
  absl::flat_hash_map<uint64_t, uint64_t> releases_;
  int64_t view_revision_ = 0;
};

}  // namespace engram::server
