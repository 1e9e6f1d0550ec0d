#include "server/quarantine_book.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "server/errors.h"
#include "server/rejected_messages.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr int kReleasedMax = 1024;
constexpr std::chrono::milliseconds kRetryErasing{1000};

// What the log holds under a sequence.
struct Logged {
  std::string producer;
  v1::Example example;
};

// None: trimmed or erased.
absl::StatusOr<absl::optional<Logged>> ReadLogged(const ModelContext& context, uint64_t sequence) {
  auto records = context.store->log().Read(context.uid, sequence, 1, 1);
  if (absl::IsOutOfRange(records.status())) return absl::optional<Logged>();
  ENGRAM_RETURN_IF_ERROR(records.status());
  if (records->empty()) return absl::optional<Logged>();
  storage::LogRecord& record = records->front();
  Logged logged;
  logged.producer = std::move(record.producer);
  bool parses = true;
  if (record.kind == static_cast<uint8_t>(RecordKind::kExample)) {
    parses = logged.example.ParseFromString(record.payload);
  } else if (record.kind == static_cast<uint8_t>(RecordKind::kReleased)) {
    internal::ReleasedExample released;
    parses = released.ParseFromString(record.payload);
    logged.example.Swap(released.mutable_example());
  } else {
    return absl::optional<Logged>();
  }
  if (parses) return absl::optional<Logged>(std::move(logged));
  return absl::DataLossError(absl::StrCat("log record ", sequence, ": not a valid example"));
}

// By its column; columns are only ever appended.
std::string TaskName(const StreamView& view, int32_t column) {
  return static_cast<size_t>(column) < view.tasks.size() ? view.tasks[column] : "";
}

absl::Status NotReleasable(uint64_t sequence, absl::string_view why) {
  return NotFound("quarantined example", absl::StrCat(sequence), why);
}

}  // namespace

QuarantineBook::QuarantineBook(const ModelContext* context, Admission* admission,
                               const SnapshotSlot* slot)
    : context_(context),
      admission_(admission),
      slot_(slot),
      published_(std::make_shared<const Published>()) {}

void QuarantineBook::Publish(uint64_t applied, const internal::StreamState& state) {
  auto next = std::make_shared<Published>();
  next->applied = applied;
  next->displaced = state.quarantine().displaced();
  next->held.reserve(state.quarantine().held_size());
  for (const auto& held : state.quarantine().held()) {
    next->held.push_back({held.sequence(), held.reason(), held.score(), held.task()});
  }
  context_->statistics->quarantined = static_cast<int64_t>(next->held.size());
  base::MutexLock lock(&mutex_);
  published_ = std::move(next);
}

std::shared_ptr<const QuarantineBook::Published> QuarantineBook::published() const {
  base::MutexLock lock(&mutex_);
  return published_;
}

bool QuarantineBook::CloseForErasure() {
  base::MutexLock lock(&gate_->mutex);
  if (gate_->under_way > 0) return false;
  gate_->closed = true;
  return true;
}

bool QuarantineBook::Enter() {
  base::MutexLock lock(&gate_->mutex);
  if (!gate_->closed) ++gate_->under_way;
  return !gate_->closed;
}

void QuarantineBook::OpenAfterErasure() {
  base::MutexLock lock(&gate_->mutex);
  gate_->closed = false;
}

std::vector<uint64_t> QuarantineBook::Sequences() const {
  const std::shared_ptr<const Published> list = published();
  std::vector<uint64_t> sequences;
  sequences.reserve(list->held.size());
  for (const Held& held : list->held) sequences.push_back(held.sequence);
  return sequences;
}

absl::StatusOr<v1::ListQuarantinedResponse> QuarantineBook::List(
    const v1::ListQuarantinedRequest& request) const {
  ENGRAM_ASSIGN_OR_RETURN(const int limit, ListLimit(request.limit()));
  const std::shared_ptr<const Published> list = published();
  const std::shared_ptr<const StreamView> view = slot_->Get().view;
  v1::ListQuarantinedResponse response;
  response.set_held(static_cast<int64_t>(list->held.size()));
  response.set_displaced(list->displaced);
  for (auto held = list->held.rbegin(); held != list->held.rend(); ++held) {
    if (response.examples_size() == limit) break;
    if (request.before_sequence() != 0 && held->sequence >= request.before_sequence()) continue;
    v1::QuarantinedExample* example = response.add_examples();
    example->set_sequence(held->sequence);
    example->set_reason(held->reason);
    example->set_score(held->score);
    ENGRAM_ASSIGN_OR_RETURN(auto logged, ReadLogged(*context_, held->sequence));
    if (!logged.has_value()) continue;
    example->set_producer(logged->producer);
    *example->mutable_label() = logged->example.label();
    example->set_task(TaskName(*view, held->task));
    example->set_id(logged->example.id());
    example->set_releasable(true);
  }
  return response;
}

absl::StatusOr<Admission::Release> QuarantineBook::ReadRelease(const Published& list,
                                                               uint64_t sequence) const {
  const auto held = std::lower_bound(
      list.held.begin(), list.held.end(), sequence,
      [](const Held& each, uint64_t wanted) { return each.sequence < wanted; });
  if (held == list.held.end() || held->sequence != sequence) {
    return NotReleasable(sequence, "those of ListQuarantined");
  }
  ENGRAM_ASSIGN_OR_RETURN(auto logged, ReadLogged(*context_, sequence));
  if (!logged.has_value()) return NotReleasable(sequence, "those still in the log");
  Admission::Release release;
  release.producer = std::move(logged->producer);
  release.record.set_sequence(sequence);
  v1::Example* example = release.record.mutable_example();
  example->Swap(&logged->example);
  example->set_task(TaskName(*slot_->Get().view, held->task));
  return release;
}

absl::StatusOr<std::vector<Admission::Release>> QuarantineBook::ReadReleases(
    const Published& list, const v1::ReleaseQuarantinedRequest& request) const {
  if (request.sequences_size() < 1 || request.sequences_size() > kReleasedMax) {
    return BadField("sequences", absl::StrCat("must be 1 to ", kReleasedMax, ", got ",
                                              request.sequences_size()));
  }
  std::set<uint64_t> seen;
  std::vector<Admission::Release> releases;
  for (int i = 0; i < request.sequences_size(); ++i) {
    const uint64_t sequence = request.sequences(i);
    if (!seen.insert(sequence).second) {
      return BadField(absl::StrCat("sequences[", i, "]"), absl::StrCat(sequence, " given twice"));
    }
    ENGRAM_ASSIGN_OR_RETURN(Admission::Release release, ReadRelease(list, sequence));
    releases.push_back(std::move(release));
  }
  return releases;
}

void QuarantineBook::Release(const v1::ReleaseQuarantinedRequest& request, OnReleased done) {
  if (!Enter()) return done(NotYet("an erasure is looking for its examples", kRetryErasing));
  const auto leave = [gate = gate_, wake = context_->wake] {
    {
      base::MutexLock lock(&gate->mutex);
      --gate->under_way;
    }
    wake();
  };
  auto answer = std::make_shared<OnReleased>(std::move(done));
  const absl::Status submitted = [&]() -> absl::Status {
    base::MutexLock lock(&releasing_);
    const std::shared_ptr<const Published> list = published();
    ENGRAM_ASSIGN_OR_RETURN(const auto releases, ReadReleases(*list, request));
    const absl::Status raised = context_->store->RequireFormat(kFormatOfReleases);
    if (!raised.ok()) return WrongState("STORAGE", context_->name, raised.message());
    return admission_->SubmitReleases(
        releases, list->applied,
        [answer, request, leave](uint64_t first, const absl::Status& status) {
          leave();
          if (!status.ok()) return (*answer)(status);
          v1::ReleaseQuarantinedResponse response;
          for (const uint64_t sequence : request.sequences()) {
            auto* released = response.add_released();
            released->set_sequence(sequence);
            released->set_as_sequence(first++);
          }
          (*answer)(response);
        });
  }();
  if (submitted.ok()) return;
  leave();
  (*answer)(submitted);
}

}  // namespace engram::server
