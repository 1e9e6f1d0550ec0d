#include "server/checkpoint_keeper.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/errors.h"
#include "server/logging.h"
#include "server/stream_state.h"
#include "server/tune_state.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using storage::CheckpointRow;
using storage::ExemplarKey;
using strategies::MemberKey;

// Memories of one learner; the bits above them are its space.
constexpr int kMemoryBits = 8;
constexpr std::chrono::milliseconds kRetryWhenThereIsRoom{10000};

ExemplarKey ToStored(const MemberKey& key) { return {key.memory, key.sequence, key.revision}; }
MemberKey FromStored(const ExemplarKey& key) { return {key.memory, key.sequence, key.revision}; }

MemberKey IntoSpace(MemberKey key, uint32_t space) {
  ENGRAM_CHECK(key.memory < (1u << kMemoryBits) && space < (1u << (32 - kMemoryBits)));
  key.memory |= space << kMemoryBits;
  return key;
}

MemberKey OutOfSpace(MemberKey key) {
  key.memory &= (1u << kMemoryBits) - 1;
  return key;
}

// The candidates' tensors lie behind the model's.
absl::StatusOr<RestorableLearner> Split(std::string tensors, const internal::StreamState& state) {
  RestorableLearner learner;
  size_t at = tensors.size();
  for (const int64_t bytes : state.tune().saved_bytes()) {
    if (bytes < 0 || static_cast<size_t>(bytes) > at) {
      return absl::DataLossError("stored learners are shorter than their stream state says");
    }
    at -= static_cast<size_t>(bytes);
  }
  size_t next = at;
  for (const int64_t bytes : state.tune().saved_bytes()) {
    learner.shadows.emplace_back().saved.tensors =
        tensors.substr(next, static_cast<size_t>(bytes));
    next += static_cast<size_t>(bytes);
  }
  tensors.resize(at);
  learner.saved.tensors = std::move(tensors);
  return learner;
}

// Whose exemplars lie in a space: the model's own, or a candidate's.
RestorableLearner& OwnerOf(uint32_t space, const internal::StreamState& state,
                           RestorableLearner* loaded) {
  if (space == state.memory_space()) return *loaded;
  for (size_t i = 0; i < loaded->shadows.size(); ++i) {
    const auto candidate = static_cast<int32_t>(i + 1);
    if (MemorySpaceOf(state.tune().report().id(), candidate) == space) return loaded->shadows[i];
  }
  return *loaded;
}

// What the store answers, with the details of the surface.
absl::Status Detailed(const absl::Status& status, absl::string_view checkpoint) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return BadField("checkpoint", absl::StrCat(status.message(), ", got \"", Echo(checkpoint),
                                                 "\""));
    case absl::StatusCode::kAlreadyExists:
      return AlreadyExists("checkpoint", checkpoint);
    case absl::StatusCode::kFailedPrecondition:
      return WrongState("CHECKPOINT", checkpoint, status.message());
    case absl::StatusCode::kOutOfRange:
      return OverLimit("checkpoints", status.message(), std::chrono::milliseconds(0));
    case absl::StatusCode::kResourceExhausted:
      return OverLimit("checkpoints", status.message(), kRetryWhenThereIsRoom);
    case absl::StatusCode::kDataLoss:
      return WithReason(status.code(), "CHECKSUM", status.message());
    default:
      return status;
  }
}

}  // namespace

absl::Status CheckpointKeeper::Open() {
  ENGRAM_ASSIGN_OR_RETURN(const auto keys, context_->store->episodic().Keys(context_->uid));
  base::MutexLock lock(&mutex_);
  durable_.clear();
  for (const ExemplarKey& key : keys) durable_.insert(FromStored(key));
  return absl::OkStatus();
}

absl::StatusOr<RestorableLearner> Capture(const strategies::Learner& learner) {
  RestorableLearner captured;
  ENGRAM_ASSIGN_OR_RETURN(captured.saved, learner.Save([](const MemberKey&) { return false; }));
  absl::flat_hash_map<MemberKey, std::string*> bytes;
  for (auto& payload : captured.saved.new_payloads) bytes[payload.key] = &payload.bytes;
  for (const MemberKey& key : captured.saved.members) {
    captured.payloads.push_back({key, *bytes.at(key)});
  }
  captured.saved.new_payloads.clear();
  return captured;
}

// Appends a learner's tensors, members and new payloads to what is saved.
absl::Status CheckpointKeeper::SaveOne(const SpacedLearner& one, Pending* pending) {
  const auto is_durable = [this, &one](const MemberKey& key) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return durable_.contains(IntoSpace(key, one.memory_space));
  };
  ENGRAM_ASSIGN_OR_RETURN(auto saved, one.learner->Save(is_durable));
  storage::NewCheckpoint& row = pending->row;
  if (row.tensors.empty()) {
    row.tensors = std::move(saved.tensors);
  } else {
    row.tensors.append(saved.tensors);
  }
  for (const MemberKey& key : saved.members) {
    row.members.push_back(ToStored(IntoSpace(key, one.memory_space)));
  }
  for (auto& payload : saved.new_payloads) {
    payload.key = IntoSpace(payload.key, one.memory_space);
    pending->new_payloads.push_back(std::move(payload));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<CheckpointKeeper::Pending>> CheckpointKeeper::Save(
    const std::vector<SpacedLearner>& learners, uint64_t applied,
    internal::StreamState stream_state, std::string label, bool automatic) {
  auto pending = std::make_shared<Pending>();
  pending->started = context_->clock->Monotonic();
  base::MutexLock lock(&mutex_);
  if (stream_state.has_tune()) stream_state.mutable_tune()->clear_saved_bytes();
  for (size_t i = 0; i < learners.size(); ++i) {
    const size_t before = pending->row.tensors.size();
    if (learners[i].learner != nullptr) {
      ENGRAM_RETURN_IF_ERROR(SaveOne(learners[i], pending.get()));
    }
    if (i == 0) continue;
    stream_state.mutable_tune()->add_saved_bytes(
        static_cast<int64_t>(pending->row.tensors.size() - before));
  }
  pending->row.label = std::move(label);
  pending->row.automatic = automatic;
  pending->row.applied = applied;
  pending->row.compute = context_->compute_fingerprint;
  pending->row.stream_state = stream_state.SerializeAsString();
  on_their_way_.push_back(pending->row.members);
  pending->on_its_way = std::prev(on_their_way_.end());
  return pending;
}

absl::StatusOr<CheckpointRow> CheckpointKeeper::Write(Pending* pending) {
  std::vector<std::pair<ExemplarKey, std::string>> payloads;
  payloads.reserve(pending->new_payloads.size());
  for (auto& payload : pending->new_payloads) {
    payloads.emplace_back(ToStored(payload.key), std::move(payload.bytes));
  }
  pending->new_payloads.clear();
  const std::string label = pending->row.label;
  const absl::Status stored = context_->store->episodic().Put(context_->uid, payloads);
  absl::StatusOr<CheckpointRow> row =
      stored.ok() ? context_->store->checkpoints().Put(context_->uid, std::move(pending->row))
                  : absl::StatusOr<CheckpointRow>(stored);
  base::MutexLock lock(&mutex_);
  on_their_way_.erase(pending->on_its_way);
  if (!row.ok()) return Detailed(row.status(), label);
  for (const auto& payload : payloads) durable_.insert(FromStored(payload.first));
  ModelStatistics& statistics = *context_->statistics;
  statistics.last_checkpoint_bytes = row->bytes;
  statistics.checkpoint_seconds.Observe(
      absl::ToDoubleSeconds(context_->clock->Monotonic() - pending->started));
  return row;
}

absl::StatusOr<CheckpointRow> CheckpointKeeper::Alias(const std::string& source_id,
                                                      uint64_t applied,
                                                      std::string stream_state) {
  return context_->store->checkpoints().PutAlias(context_->uid, source_id, applied,
                                                 std::move(stream_state));
}

absl::StatusOr<RestorableLearner> CheckpointKeeper::Load(const CheckpointRow& row) const {
  auto tensors = context_->store->checkpoints().Load(context_->uid, row);
  if (absl::IsFailedPrecondition(tensors.status())) {
    return WrongState("CHECKPOINT", row.id,
                      absl::StrCat("checkpoint ", row.id, ": ", tensors.status().message()));
  }
  if (!tensors.ok()) return Detailed(tensors.status(), row.id);
  ENGRAM_ASSIGN_OR_RETURN(const StreamState state, StreamState::Parse(row.stream_state));
  ENGRAM_ASSIGN_OR_RETURN(auto payloads,
                          context_->store->episodic().Read(context_->uid, row.members));
  ENGRAM_ASSIGN_OR_RETURN(RestorableLearner loaded, Split(*std::move(tensors), state.proto()));
  for (size_t i = 0; i < row.members.size(); ++i) {
    const MemberKey key = FromStored(row.members[i]);
    RestorableLearner& owner = OwnerOf(key.memory >> kMemoryBits, state.proto(), &loaded);
    owner.saved.members.push_back(OutOfSpace(key));
    owner.payloads.push_back({owner.saved.members.back(), std::move(payloads[i])});
  }
  return loaded;
}

absl::StatusOr<CheckpointRow> CheckpointKeeper::Find(absl::string_view id) const {
  const auto row = context_->store->checkpoints().Find(context_->uid, id);
  if (row.ok()) return row;
  if (!absl::IsNotFound(row.status())) return Detailed(row.status(), id);
  ENGRAM_ASSIGN_OR_RETURN(const auto rows, List());
  return NotFound("checkpoint", id,
                  absl::StrJoin(rows, ", ", [](std::string* out, const CheckpointRow& one) {
                    absl::StrAppend(out, one.id);
                  }));
}

absl::StatusOr<std::vector<CheckpointRow>> CheckpointKeeper::List() const {
  return context_->store->checkpoints().List(context_->uid);
}

void CheckpointKeeper::Pin(const std::string& id) {
  base::MutexLock lock(&mutex_);
  pins_.insert(id);
}

absl::StatusOr<CheckpointRow> CheckpointKeeper::FindAndPin(absl::string_view id) {
  base::MutexLock lock(&rows_mutex_);
  auto row = Find(id);
  if (row.ok()) Pin(row->id);
  return row;
}

void CheckpointKeeper::Unpin(const std::string& id) {
  base::MutexLock lock(&mutex_);
  auto pin = pins_.find(id);
  if (pin != pins_.end()) pins_.erase(pin);
}

bool CheckpointKeeper::MayDelete(const CheckpointRow& row, const std::vector<CheckpointRow>& rows,
                                 std::string* why) const {
  {
    base::MutexLock lock(&mutex_);
    if (pins_.count(row.id) > 0) {
      *why = absl::StrCat("checkpoint ", row.id, " is pinned: a rollback to it is being recorded");
      return false;
    }
  }
  const uint64_t mark = context_->store->log().TrimMark(context_->uid);
  for (const CheckpointRow& other : rows) {
    if (other.id != row.id && other.applied >= mark) return true;
  }
  *why = absl::StrCat("checkpoint ", row.id, " is the only valid checkpoint");
  return false;
}

absl::Status CheckpointKeeper::Delete(absl::string_view id) {
  base::MutexLock lock(&rows_mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const CheckpointRow row, Find(id));
  ENGRAM_ASSIGN_OR_RETURN(const auto rows, List());
  std::string why;
  if (!MayDelete(row, rows, &why)) return WrongState("CHECKPOINT", row.id, why);
  sweep_due_ = true;
  return context_->store->checkpoints().Delete(context_->uid, row.id);
}

absl::Status CheckpointKeeper::DeleteErased(const std::string& id) {
  base::MutexLock lock(&rows_mutex_);
  sweep_due_ = true;
  return context_->store->checkpoints().Delete(context_->uid, id);
}

void CheckpointKeeper::Tend(int64_t keep_automatic, const HeldOutSets& held_out) {
  bool sweep = false;
  {
    base::MutexLock lock(&rows_mutex_);
    DropSurplus(keep_automatic);
    TrimLog();
    std::swap(sweep, sweep_due_);
  }
  if (sweep) {
    const absl::Status swept = SweepPayloads();
    if (!swept.ok()) {
      Log(LogLevel::kWarning, "payloads_not_swept",
          {{"model", context_->name}, {"status", swept}});
    }
  }
  TrimNames(held_out);
}

void CheckpointKeeper::TrimNames(const HeldOutSets& held_out) {
  const absl::Status trimmed = context_->store->log().TrimNames(context_->uid, [&] {
    std::vector<uint64_t> keep = held_out.Sequences();
    base::MutexLock lock(&mutex_);
    for (const MemberKey& key : durable_) keep.push_back(key.sequence);
    return keep;
  });
  if (trimmed.ok()) return;
  Log(LogLevel::kWarning, "names_not_trimmed", {{"model", context_->name}, {"status", trimmed}});
}

void CheckpointKeeper::DropSurplus(int64_t keep_automatic) {
  auto rows = List();
  if (!rows.ok()) return;
  int64_t kept = 0;
  for (size_t i = 0; i < rows->size();) {  // newest first
    const CheckpointRow row = (*rows)[i];
    std::string why;
    if (!row.automatic || ++kept <= keep_automatic || !MayDelete(row, *rows, &why)) {
      ++i;
      continue;
    }
    const absl::Status deleted = context_->store->checkpoints().Delete(context_->uid, row.id);
    if (!deleted.ok()) {
      Log(LogLevel::kWarning, "checkpoint_not_deleted",
          {{"model", context_->name}, {"checkpoint", row.id}, {"status", deleted}});
      return;
    }
    sweep_due_ = true;
    rows->erase(rows->begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void CheckpointKeeper::TrimLog() {
  const auto rows = List();
  if (!rows.ok() || rows->empty()) return;
  storage::SampleLog& log = context_->store->log();
  const uint64_t limit = rows->front().applied;
  const uint64_t up_to =
      log.TrimCandidate(context_->uid, limit, context_->retention->log_seconds(),
                        context_->retention->log_bytes(),
                        absl::ToUnixMillis(context_->clock->Anchored()));
  if (up_to <= log.TrimMark(context_->uid) || up_to > limit) return;
  const absl::Status trimmed = log.Trim(context_->uid, up_to);
  Log(trimmed.ok() ? LogLevel::kInfo : LogLevel::kWarning, "log_trimmed",
      {{"model", context_->name}, {"sequence", up_to}, {"status", trimmed}});
}

absl::Status CheckpointKeeper::SweepPayloads() {
  ENGRAM_ASSIGN_OR_RETURN(const auto rows, List());
  std::vector<ExemplarKey> keep;
  for (const CheckpointRow& row : rows) {
    keep.insert(keep.end(), row.members.begin(), row.members.end());
  }
  {
    base::MutexLock lock(&mutex_);
    for (const auto& members : on_their_way_) {
      keep.insert(keep.end(), members.begin(), members.end());
    }
    absl::flat_hash_set<MemberKey> durable;
    for (const ExemplarKey& key : keep) {
      if (durable_.contains(FromStored(key))) durable.insert(FromStored(key));
    }
    durable_.swap(durable);
  }
  ENGRAM_ASSIGN_OR_RETURN(const int64_t swept,
                          context_->store->episodic().Sweep(context_->uid, std::move(keep)));
  if (swept > 0) Log(LogLevel::kDebug, "payloads_swept", {{"model", context_->name}});
  return absl::OkStatus();
}

v1::Checkpoint ToProto(const CheckpointRow& row) {
  v1::Checkpoint checkpoint;
  checkpoint.set_id(row.id);
  checkpoint.set_label(row.label);
  checkpoint.set_applied_sequence(row.applied);
  checkpoint.set_create_time_ms(row.create_time_ms);
  checkpoint.set_bytes(row.bytes);
  checkpoint.set_sha256(row.sha256);
  checkpoint.set_exemplars(static_cast<int64_t>(row.members.size()));
  checkpoint.set_automatic(row.automatic);
  checkpoint.set_compute(row.compute);
  checkpoint.set_format_version(row.format_version);
  const auto state = StreamState::Parse(row.stream_state);
  if (state.ok()) checkpoint.set_current_task(state->current_task().name());
  return checkpoint;
}

}  // namespace engram::server
