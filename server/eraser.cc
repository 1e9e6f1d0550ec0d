#include "server/eraser.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/lineage.h"
#include "server/log_walk.h"
#include "server/logging.h"
#include "server/stream_state.h"
#include "storage/base/status_macros.h"
#include "storage/sha256.h"

namespace engram::server {
namespace {

using storage::CheckpointRow;

constexpr size_t kNameBytes = 128;
constexpr size_t kRewriteRecords = 1024;
// The row of the erasure under way.
constexpr absl::string_view kUnderWay = "";

using Selector = v1::EraseRequest::SelectorCase;

const std::string& NameOf(const v1::EraseRequest& request) {
  switch (request.selector_case()) {
    case Selector::kExampleId:
      return request.example_id();
    case Selector::kProducer:
      return request.producer();
    default:  // nothing that is set: empty
      return request.subject_id();
  }
}

absl::string_view FieldOf(const v1::EraseRequest& request) {
  switch (request.selector_case()) {
    case Selector::kExampleId:
      return "example_id";
    case Selector::kProducer:
      return "producer";
    default:
      return "subject_id";
  }
}

// Whether the example itself says it. Producers are named by the record only.
bool Names(const v1::EraseRequest& request, const v1::Example& example) {
  return (request.has_example_id() ? example.id() : example.subject_id()) == NameOf(request);
}

// The words are those of receipts that are stored.
std::string DigestOf(const v1::EraseRequest& request) {
  absl::string_view word = FieldOf(request);
  if (word == "example_id") word = "id";
  if (word == "subject_id") word = "subject";
  return storage::Sha256Hex(absl::StrCat(word, ":", NameOf(request)));
}

bool HoldsExample(const storage::LogRecord& record) {
  return record.kind == static_cast<uint8_t>(RecordKind::kExample) ||
         record.kind == static_cast<uint8_t>(RecordKind::kReleased);
}

bool Holds(const internal::Erasure& erasure, uint64_t sequence) {
  return std::binary_search(erasure.sequences().begin(), erasure.sequences().end(), sequence);
}

// Whether the state of a checkpoint comes from an erased example.
bool HasLearned(const internal::Erasure& erasure, const CheckpointRow& row) {
  for (const storage::ExemplarKey& member : row.members) {
    if (Holds(erasure, member.sequence)) return true;
  }
  const auto state = StreamState::Parse(row.stream_state);
  if (!state.ok()) return true;
  for (const uint64_t sequence : erasure.sequences()) {
    if (sequence > row.applied) break;
    if (UndoneBy(state->proto().rewinds(), sequence) == 0) return true;
  }
  return false;
}

absl::StatusOr<storage::RewrittenRecord> Tombstone(const storage::LogRecord& record) {
  internal::ReleasedExample released;
  const bool is_released = record.kind == static_cast<uint8_t>(RecordKind::kReleased);
  if (!(is_released ? released.ParseFromString(record.payload)
                    : released.mutable_example()->ParseFromString(record.payload))) {
    return absl::DataLossError(absl::StrCat("log record ", record.sequence,
                                            ": not a valid example"));
  }
  const v1::Example& example = released.example();
  internal::ErasedRecord erased;
  erased.set_released(is_released);
  erased.set_split(example.split());
  erased.set_payload_bytes(static_cast<int64_t>(record.payload.size()));
  erased.set_task(example.task());
  return storage::RewrittenRecord{record.sequence, static_cast<uint8_t>(RecordKind::kErased),
                                  erased.SerializeAsString()};
}

}  // namespace

absl::Status CheckSelector(const v1::EraseRequest& request) {
  const std::string& name = NameOf(request);
  if (name.empty()) {
    return BadField("selector",
                    "would match everything: give an example_id, a subject_id or a producer that "
                    "is not empty");
  }
  if (name.size() <= kNameBytes) return absl::OkStatus();
  return BadField(FieldOf(request),
                  absl::StrCat("at most ", kNameBytes, " bytes, got ", name.size()));
}

absl::StatusOr<absl::optional<internal::Erasure>> Eraser::Interrupted() const {
  ENGRAM_ASSIGN_OR_RETURN(const auto row,
                          context_->store->catalog().FindErasure(context_->uid, kUnderWay));
  if (!row.has_value()) return absl::optional<internal::Erasure>();
  internal::Erasure erasure;
  if (erasure.ParseFromString(*row)) return absl::optional<internal::Erasure>(std::move(erasure));
  return absl::DataLossError("the row of an erasure does not parse");
}

absl::Status Eraser::Store(const internal::Erasure& erasure) {
  return context_->store->catalog().PutErasure(context_->uid, kUnderWay,
                                               erasure.SerializeAsString());
}

absl::StatusOr<internal::Erasure> Eraser::Begin(const v1::EraseRequest& request,
                                                uint64_t applied) {
  internal::Erasure erasure;
  erasure.set_selector(DigestOf(request));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<uint64_t> found, Find(request));
  if (found.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(
        const auto row, context_->store->catalog().FindErasure(context_->uid, erasure.selector()));
    if (row.has_value() && !erasure.ParseFromString(*row)) {
      return absl::DataLossError("the receipt of an erasure does not parse");
    }
    if (!row.has_value()) erasure.mutable_receipt()->set_data(v1::EraseResponse::NOTHING_FOUND);
    erasure.set_phase(internal::Erasure::DONE);
    return erasure;
  }
  erasure.set_applied(applied);
  erasure.mutable_sequences()->Add(found.begin(), found.end());
  v1::EraseResponse* receipt = erasure.mutable_receipt();
  receipt->set_erased_examples(static_cast<int64_t>(found.size()));
  receipt->set_first_sequence(found.front());
  receipt->set_last_sequence(found.back());
  receipt->set_request_time_ms(absl::ToUnixMillis(context_->clock->Now()));
  ENGRAM_RETURN_IF_ERROR(Store(erasure));
  return erasure;
}

absl::StatusOr<std::vector<uint64_t>> Eraser::Find(const v1::EraseRequest& request) const {
  if (request.has_producer()) return FindSent(request.producer());
  const auto kind =
      request.has_example_id() ? storage::RecordName::kId : storage::RecordName::kSubject;
  ENGRAM_ASSIGN_OR_RETURN(
      std::vector<uint64_t> found,
      context_->store->log().FindNamed(context_->uid, kind, NameOf(request)));
  ENGRAM_RETURN_IF_ERROR(FindUnnamed(request, &found));
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

// Producers have no index: all of the log is read. Rows and exemplars whose record is trimmed say
// not who sent them, and are not found; nor is what format 1 stored.
absl::StatusOr<std::vector<uint64_t>> Eraser::FindSent(const std::string& producer) const {
  std::vector<uint64_t> found;
  ENGRAM_RETURN_IF_ERROR(
      ForEachRecord(*context_, 1, kLogEnd, [&](const storage::LogRecord& record) {
        if (HoldsExample(record) && record.producer == producer) found.push_back(record.sequence);
        return absl::OkStatus();
      }));
  return found;
}

// What format 1 stored has no index: it is read. An exemplar whose record it had trimmed says not
// whose it is, and is not found.
absl::Status Eraser::FindUnnamed(const v1::EraseRequest& request,
                                 std::vector<uint64_t>* found) const {
  ENGRAM_ASSIGN_OR_RETURN(const uint64_t through,
                          context_->store->log().UnnamedThrough(context_->uid));
  if (through == 0) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(
      ForEachRecord(*context_, 1, through, [&](const storage::LogRecord& record) {
        v1::Example example;
        if (record.kind == static_cast<uint8_t>(RecordKind::kExample) &&
            example.ParseFromString(record.payload) && Names(request, example)) {
          found->push_back(record.sequence);
        }
        return absl::OkStatus();
      }));
  return context_->store->held_out().ForEach(context_->uid, [&](storage::HeldOutRow row) {
    internal::HeldOutExample stored;
    if (row.sequence <= through && stored.ParseFromString(row.payload) &&
        Names(request, stored.example())) {
      found->push_back(row.sequence);
    }
    return true;
  });
}

absl::Status Eraser::Remove(internal::Erasure* erasure) {
  if (erasure->phase() != internal::Erasure::FOUND || erasure->sequences().empty()) {
    return absl::OkStatus();
  }
  ENGRAM_RETURN_IF_ERROR(Bury(*erasure));
  ENGRAM_ASSIGN_OR_RETURN(const auto rewinds, ForgetLabels(erasure->sequences(0)));
  // What is decided is stored before it is acted on: a checkpoint that is gone decides nothing.
  if (erasure->receipt().weights() == v1::EraseResponse::WEIGHTS_UNSPECIFIED) {
    ENGRAM_RETURN_IF_ERROR(Decide(rewinds, erasure));
    ENGRAM_RETURN_IF_ERROR(Store(*erasure));
  }
  const std::vector<uint64_t> sequences(erasure->sequences().begin(), erasure->sequences().end());
  ENGRAM_ASSIGN_OR_RETURN(const int64_t held_out, held_out_->Erase(sequences));
  erasure->mutable_receipt()->set_erased_held_out(
      std::max(held_out, erasure->receipt().erased_held_out()));
  ENGRAM_RETURN_IF_ERROR(context_->store->log().RemoveNames(context_->uid, sequences));
  if (erasure->rebuild()) ENGRAM_RETURN_IF_ERROR(DeleteCheckpoints(*erasure, ""));
  erasure->set_phase(internal::Erasure::REMOVED);
  return Store(*erasure);
}

// Puts tombstones in the log, as far as it reaches back.
absl::Status Eraser::Bury(const internal::Erasure& erasure) {
  storage::SampleLog& log = context_->store->log();
  const uint64_t mark = log.TrimMark(context_->uid);
  std::vector<storage::RewrittenRecord> tombstones;
  for (const uint64_t sequence : erasure.sequences()) {
    if (sequence <= mark) continue;
    ENGRAM_ASSIGN_OR_RETURN(const auto records, log.Read(context_->uid, sequence, 1, 1));
    if (records.empty()) {
      return absl::DataLossError(absl::StrCat("the log lacks record ", sequence));
    }
    if (!HoldsExample(records[0])) continue;
    ENGRAM_ASSIGN_OR_RETURN(auto tombstone, Tombstone(records[0]));
    tombstones.push_back(std::move(tombstone));
    if (tombstones.size() < kRewriteRecords) continue;
    ENGRAM_RETURN_IF_ERROR(log.Rewrite(context_->uid, tombstones));
    tombstones.clear();
  }
  return tombstones.empty() ? absl::OkStatus() : log.Rewrite(context_->uid, tombstones);
}

// A rollback record holds the labels of the state it went back to, erased ones among them. Nobody
// needs them: the state is in the checkpoint, or comes by again in the replay.
absl::StatusOr<std::vector<Eraser::LoggedRewind>> Eraser::ForgetLabels(uint64_t first) {
  std::vector<LoggedRewind> rewinds;
  std::vector<storage::RewrittenRecord> rewritten;
  ENGRAM_RETURN_IF_ERROR(
      ForEachRecord(*context_, 1, kLogEnd, [&](const storage::LogRecord& record) -> absl::Status {
        if (record.kind != static_cast<uint8_t>(RecordKind::kRollback)) return absl::OkStatus();
        internal::RollbackRecord rollback;
        if (!rollback.ParseFromString(record.payload)) {
          return absl::DataLossError(
              absl::StrCat("log record ", record.sequence, ": not a valid rollback"));
        }
        rewinds.push_back({record.sequence, rollback.checkpoint(), rollback.restored_sequence()});
        if (rollback.restored_sequence() < first) return absl::OkStatus();
        rollback.mutable_stream_state()->clear_labels();
        rewritten.push_back({record.sequence, record.kind, rollback.SerializeAsString()});
        return absl::OkStatus();
      }));
  if (!rewritten.empty()) {
    ENGRAM_RETURN_IF_ERROR(context_->store->log().Rewrite(context_->uid, rewritten));
  }
  return rewinds;
}

// Whether there is a state before the first example from which everything later can be learned
// again, and what that does to the checkpoints.
absl::Status Eraser::Decide(const std::vector<LoggedRewind>& rewinds, internal::Erasure* erasure) {
  ENGRAM_ASSIGN_OR_RETURN(const auto rows, checkpoints_->List());
  std::vector<const CheckpointRow*> clean;
  std::set<uint64_t> exemplars;
  for (const CheckpointRow& row : rows) {
    if (!HasLearned(*erasure, row)) clean.push_back(&row);
    for (const storage::ExemplarKey& member : row.members) {
      if (Holds(*erasure, member.sequence)) exemplars.insert(member.sequence);
    }
  }
  const auto loads = [&](const std::string& id) {
    return std::any_of(clean.begin(), clean.end(), [&](const CheckpointRow* row) {
      return row->id == id && checkpoints_->Load(*row).ok();
    });
  };
  // As Trainer::CanReplayFrom will see it.
  const auto replayable = [&](uint64_t applied) {
    return std::all_of(rewinds.begin(), rewinds.end(), [&](const LoggedRewind& rewind) {
      return rewind.record <= applied || rewind.restored >= applied || loads(rewind.checkpoint);
    });
  };
  const uint64_t mark = context_->store->log().TrimMark(context_->uid);
  absl::optional<uint64_t> from;
  for (const CheckpointRow* row : clean) {
    if (row->applied < mark || from.has_value()) break;
    if (replayable(row->applied) && checkpoints_->Load(*row).ok()) from = row->applied;
  }
  if (!from.has_value() && mark == 0 && replayable(0)) from = 0;
  erasure->set_rebuild(from.has_value());
  for (const CheckpointRow& row : rows) {
    if (!from.has_value() || row.label.empty() || row.applied <= *from) continue;
    if (!HasLearned(*erasure, row)) continue;
    internal::Erasure::Remake* remake = erasure->add_remakes();
    remake->set_applied(row.applied);
    remake->set_label(row.label);
  }
  v1::EraseResponse* receipt = erasure->mutable_receipt();
  receipt->set_data(v1::EraseResponse::DATA_REMOVED);
  receipt->set_weights(from.has_value() ? v1::EraseResponse::WEIGHTS_REBUILT
                                        : v1::EraseResponse::WEIGHTS_NOT_REBUILT);
  receipt->set_rebuilt_from(from.value_or(0));
  receipt->set_erased_exemplars(static_cast<int64_t>(exemplars.size()));
  receipt->set_deleted_checkpoints(static_cast<int64_t>(rows.size() - clean.size()));
  return absl::OkStatus();
}

absl::Status Eraser::DeleteCheckpoints(const internal::Erasure& erasure,
                                       const std::string& besides) {
  ENGRAM_ASSIGN_OR_RETURN(const auto rows, checkpoints_->List());
  for (const CheckpointRow& row : rows) {
    if (row.id == besides || !HasLearned(erasure, row)) continue;
    ENGRAM_RETURN_IF_ERROR(checkpoints_->DeleteErased(row.id));
    Log(LogLevel::kInfo, "checkpoint_erased",
        {{"model", context_->name}, {"checkpoint", row.id}, {"applied", row.applied}});
  }
  return absl::OkStatus();
}

absl::Status Eraser::Finish(internal::Erasure* erasure, const std::string& clean_checkpoint) {
  if (!erasure->rebuild()) ENGRAM_RETURN_IF_ERROR(DeleteCheckpoints(*erasure, clean_checkpoint));
  ENGRAM_RETURN_IF_ERROR(checkpoints_->SweepPayloads());
  const std::vector<uint64_t> sequences(erasure->sequences().begin(), erasure->sequences().end());
  ENGRAM_RETURN_IF_ERROR(context_->store->Purge(context_->uid, sequences));
  erasure->set_phase(internal::Erasure::DONE);
  erasure->clear_sequences();
  erasure->clear_remakes();
  erasure->mutable_receipt()->set_done_time_ms(absl::ToUnixMillis(context_->clock->Now()));
  storage::ModelCatalog& catalog = context_->store->catalog();
  ENGRAM_RETURN_IF_ERROR(
      catalog.PutErasure(context_->uid, erasure->selector(), erasure->SerializeAsString()));
  return catalog.RemoveErasure(context_->uid, kUnderWay);
}

}  // namespace engram::server
