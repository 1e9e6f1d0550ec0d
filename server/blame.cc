#include "server/blame.h"

#include <algorithm>
#include <iterator>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "server/errors.h"
#include "server/evaluator.h"
#include "server/log_walk.h"
#include "server/record_kind.h"
#include "server/stream_state.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using Row = v1::BlameResponse::Producer;

constexpr int32_t kJudgedDefault = 200;
constexpr int32_t kJudgedMax = 1000;
constexpr size_t kNamesMax = 65536;
constexpr size_t kBatchRows = 256;
constexpr std::chrono::milliseconds kRetryTrimmed{1000};

// Retention of this age would drop what is before it, and nothing else.
uint64_t FirstSince(const ModelContext& context, int64_t since_ms) {
  const storage::SampleLog& log = context.store->log();
  const uint64_t durable = log.DurableSequence(context.uid);
  return log.TrimCandidate(context.uid, durable, 0, 0, since_ms - 1) + 1;
}

// One producer, or all that share the last row.
struct Tally {
  Row row;
  int64_t wanted = 0;  // to be judged
  int64_t seen = 0;    // in the second reading
  int64_t right = 0;
  double scores = 0;

  void Count(uint64_t sequence, bool quarantined) {
    if (row.examples() == 0) row.set_first_sequence(sequence);
    row.set_last_sequence(sequence);
    row.set_examples(row.examples() + 1);
    if (quarantined) row.set_quarantined(row.quarantined() + 1);
  }
  void Take(const Row& other) {
    const bool first = row.examples() == 0;
    row.set_first_sequence(first ? other.first_sequence()
                                 : std::min(row.first_sequence(), other.first_sequence()));
    row.set_last_sequence(std::max(row.last_sequence(), other.last_sequence()));
    row.set_examples(row.examples() + other.examples());
    row.set_quarantined(row.quarantined() + other.quarantined());
  }
  // Whether the next of its examples is one of those that are spread evenly over all.
  bool Draw() {
    if (seen >= row.examples()) return false;
    const int64_t before = seen++ * wanted / row.examples();
    return seen * wanted / row.examples() > before;
  }
};

// The tallies by name. Names beyond kNamesMax, and in the end all but the largest, share one.
class Tallies {
 public:
  Tally* Find(const std::string& producer) {
    const auto found = index_.find(producer);
    if (found != index_.end()) return &tallies_[found->second];
    return index_.size() < kNamesMax && !ranked_ ? Add(producer) : &others_;
  }

  // After the counting.
  void Rank(int64_t judged_max) {
    std::vector<Tally> counted;
    counted.swap(tallies_);
    index_.clear();
    std::sort(counted.begin(), counted.end(), [](const Tally& a, const Tally& b) {
      if (a.row.examples() != b.row.examples()) return a.row.examples() > b.row.examples();
      return a.row.name() < b.row.name();
    });
    for (const Tally& each : counted) {
      index_.size() < kBlameRows ? Add(each.row.name())->Take(each.row) : others_.Take(each.row);
    }
    ranked_ = true;
    others_.row.set_name(std::string(kOtherProducers));
    for (Tally& each : tallies_) each.wanted = std::min(judged_max, each.row.examples());
    others_.wanted = std::min(judged_max, others_.row.examples());
  }

  void Answer(v1::BlameResponse* response) {
    std::sort(tallies_.begin(), tallies_.end(), [](const Tally& a, const Tally& b) {
      if ((a.row.judged() == 0) != (b.row.judged() == 0)) return a.row.judged() != 0;
      if (a.row.accuracy() != b.row.accuracy()) return a.row.accuracy() < b.row.accuracy();
      return a.row.name() < b.row.name();
    });
    if (others_.row.examples() > 0) tallies_.push_back(std::move(others_));
    int64_t total = 0;
    for (const Tally& each : tallies_) total += each.row.examples();
    for (Tally& each : tallies_) {
      each.row.set_share(static_cast<double>(each.row.examples()) / static_cast<double>(total));
      response->add_producers()->Swap(&each.row);
    }
  }

  // Their places stay from Rank to Answer.
  void Settle() {
    for (Tally& each : tallies_) Average(&each);
    Average(&others_);
  }

 private:
  Tally* Add(const std::string& producer) {
    index_.emplace(producer, tallies_.size());
    tallies_.emplace_back();
    tallies_.back().row.set_name(producer);
    return &tallies_.back();
  }
  static void Average(Tally* tally) {
    const auto judged = static_cast<double>(tally->row.judged());
    if (judged == 0) return;
    tally->row.set_accuracy(static_cast<double>(tally->right) / judged);
    tally->row.set_mean_label_score(tally->scores / judged);
  }

  std::vector<Tally> tallies_;
  absl::flat_hash_map<std::string, size_t> index_;
  Tally others_;
  bool ranked_ = false;
};

// What the served state has learned of the log: a walk over its TRAIN examples.
class Lesson {
 public:
  Lesson(const BlameSubject& subject, uint64_t from, const std::function<bool()>& left)
      : subject_(subject),
        from_(from),
        to_(subject.served.version()),
        left_(left),
        line_(LineTo(subject.rewinds, to_)),
        rules_(StreamState::Fresh(*subject.spec)) {}

  // `example` may be taken.
  using Visit = absl::FunctionRef<absl::Status(const storage::LogRecord&, v1::Example* example)>;
  absl::Status ForEach(Visit visit) {
    const absl::Status read = ForEachRecord(
        *subject_.context, from_, to_, [&](const storage::LogRecord& record) {
          if (left_()) return absl::CancelledError("nobody waits for the answer");
          return See(record, visit);
        });
    if (absl::IsOutOfRange(read)) return NotYet("the log was trimmed meanwhile", kRetryTrimmed);
    return read;
  }

  // The column of the task of the example that is visited, in the second walk; -1: none. What the
  // stream was in at first follows from what changed it first.
  int32_t ColumnOf(const v1::Example& example) const {
    const StreamView& view = *subject_.served.view;
    if (example.task().empty() && !task_.has_value()) return view.current_task;
    const auto column = view.task_index.find(example.task().empty() ? *task_ : example.task());
    return column == view.task_index.end() ? -1 : column->second;
  }
  void Again() { task_ = first_task_; }

 private:
  absl::Status See(const storage::LogRecord& record, Visit visit) {
    switch (static_cast<RecordKind>(record.kind)) {
      case RecordKind::kExample:
        break;
      case RecordKind::kBoundary: {
        internal::BoundaryRecord boundary;
        if (!boundary.ParseFromString(record.payload)) return Damaged(record, "boundary");
        Enter(boundary.ended_task(), boundary.next_task());
        return absl::OkStatus();
      }
      case RecordKind::kRollback: {
        internal::RollbackRecord rollback;
        if (!rollback.ParseFromString(record.payload)) return Damaged(record, "rollback");
        const internal::StreamState& after = rollback.stream_state();
        if (after.current_task() >= after.tasks_size()) return Damaged(record, "rollback");
        const std::string& task = after.tasks(after.current_task()).name();
        Enter(task, task);
        return absl::OkStatus();
      }
      default:
        return absl::OkStatus();
    }
    if (!Stands(record.sequence)) return absl::OkStatus();
    if (!example_.ParseFromString(record.payload)) return Damaged(record, "example");
    if (rules_.IsHeldOut(example_.split(), record.sequence)) return absl::OkStatus();
    return visit(record, &example_);
  }

  bool Stands(uint64_t sequence) const {
    const auto after = std::upper_bound(
        line_.begin(), line_.end(), sequence,
        [](uint64_t at, const Stretch& stretch) { return at < stretch.first; });
    return after != line_.begin() && sequence <= std::prev(after)->last;
  }
  void Enter(const std::string& from, const std::string& to) {
    if (!first_task_.has_value()) first_task_ = from;
    task_ = to;
  }
  static absl::Status Damaged(const storage::LogRecord& record, absl::string_view what) {
    return absl::DataLossError(
        absl::StrCat("log record ", record.sequence, ": not a valid ", what));
  }

  const BlameSubject& subject_;
  const uint64_t from_;
  const uint64_t to_;
  const std::function<bool()>& left_;
  const std::vector<Stretch> line_;
  const StreamState rules_;
  v1::Example example_;
  absl::optional<std::string> first_task_;  // of the stream where the walk begins
  absl::optional<std::string> task_;
};

// Examples that wait for the snapshot, and whose they are.
class Judged {
 public:
  explicit Judged(const BlameSubject& subject) : subject_(subject) {}

  absl::Status Add(v1::Example* example, int32_t column, Tally* tally) {
    examples_.emplace_back().Swap(example);
    columns_.push_back(column);
    tallies_.push_back(tally);
    return examples_.size() < kBatchRows ? absl::OkStatus() : Judge();
  }

  absl::Status Judge() {
    if (examples_.empty()) return absl::OkStatus();
    ENGRAM_ASSIGN_OR_RETURN(const auto judgements,
                            JudgeExamples(subject_.served, examples_, columns_,
                                          subject_.spec->feature_count()));
    for (size_t i = 0; i < judgements.size(); ++i) {
      if (!judgements[i].judged) continue;
      Tally* tally = tallies_[i];
      tally->row.set_judged(tally->row.judged() + 1);
      tally->right += judgements[i].right ? 1 : 0;
      tally->scores += judgements[i].label_score;
    }
    examples_.clear();
    columns_.clear();
    tallies_.clear();
    return absl::OkStatus();
  }

 private:
  const BlameSubject& subject_;
  std::vector<v1::Example> examples_;
  std::vector<int32_t> columns_;
  std::vector<Tally*> tallies_;
};

}  // namespace

absl::Status CheckBlame(const v1::BlameRequest& request) {
  if (request.judged_max() < 0 || request.judged_max() > kJudgedMax) {
    return BadField("judged_max", absl::StrCat("must be in [0, ", kJudgedMax, "], got ",
                                               request.judged_max()));
  }
  if (request.since_ms() >= 0) return absl::OkStatus();
  return BadField("since_ms", absl::StrCat("milliseconds since 1970, or 0 for any time, got ",
                                           request.since_ms()));
}

absl::StatusOr<v1::BlameResponse> BlameProducers(const BlameSubject& subject,
                                                 const v1::BlameRequest& request,
                                                 const std::function<bool()>& left) {
  const ModelContext& context = *subject.context;
  uint64_t from = std::max(request.from_sequence(),
                           context.store->log().TrimMark(context.uid) + 1);
  if (request.since_ms() > 0) from = std::max(from, FirstSince(context, request.since_ms()));
  Lesson lesson(subject, from, left);
  Tallies tallies;
  ENGRAM_RETURN_IF_ERROR(lesson.ForEach([&](const storage::LogRecord& record, v1::Example*) {
    const bool quarantined = std::binary_search(
        subject.quarantined.begin(), subject.quarantined.end(), record.sequence);
    tallies.Find(record.producer)->Count(record.sequence, quarantined);
    return absl::OkStatus();
  }));
  tallies.Rank(request.judged_max() == 0 ? kJudgedDefault : request.judged_max());
  lesson.Again();
  Judged judged(subject);
  ENGRAM_RETURN_IF_ERROR(
      lesson.ForEach([&](const storage::LogRecord& record, v1::Example* example) {
        Tally* tally = tallies.Find(record.producer);
        if (!tally->Draw()) return absl::OkStatus();
        return judged.Add(example, lesson.ColumnOf(*example), tally);
      }));
  ENGRAM_RETURN_IF_ERROR(judged.Judge());
  tallies.Settle();
  v1::BlameResponse response;
  tallies.Answer(&response);
  response.set_from_sequence(from);
  response.set_to_sequence(subject.served.version());
  return response;
}

}  // namespace engram::server
