#include "storage/base/failpoint.h"

#include <signal.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "storage/base/mutex.h"
#include "storage/base/status_macros.h"

namespace engram::base {
namespace {

constexpr absl::string_view kNames[] = {
    "open.before_format",
    "log.before_write",
    "log.after_sync",
    "log.after_answer",
    "ack.before_send",
    "ack.after_send",
    "witness.before_write",
    "witness.after_write",
    "tensors.before_write",
    "tensors.before_sync",
    "tensors.before_rename",
    "tensors.before_folder_sync",
    "tensors.after_folder_sync",
    "checkpoint.before_row",
    "checkpoint.after_row",
    "checkpoint.before_delete",
    "checkpoint.row_deleted",
    "trim.before_mark",
    "trim.after_mark",
    "trim.after_sweep",
    "create.before_row",
    "create.after_row",
    "delete.before_row",
    "delete.after_row",
    "delete.before_forget",
    "rollback.before_record",
    "rollback.submitted",
    "rollback.durable",
    "rollback.jumped",
    "rollback.answered",
    "rollback.before_traces",
    "rollback.before_alias",
    "rollback.after_alias",
    "publish.before_swap",
    "publish.after_swap",
    "boundary.consolidated",
    "boundary.before_row",
    "flush.before_submit",
    "recovery.jump",
    "recovery.recaptured",
    "recovery.before_serving",
    "bug.sync_skipped",
    "bug.ack_before_sync",
    "bug.dedupe_dropped",
};
constexpr absl::string_view kBugPrefix = "bug.";

enum class Mode { kOff, kCrash, kError, kErrorDisk, kSleep, kPlant };

struct Failpoint {
  Mode mode = Mode::kOff;
  absl::string_view word;  // the mode as it was given
  int64_t sleep_ms = 0;
  uint64_t at = 0;       // 0: not this way
  uint64_t one_in = 1;
  uint64_t reached = 0;
};

bool TakeNumber(absl::string_view text, absl::string_view prefix, absl::string_view suffix,
                uint64_t* number) {
  return absl::ConsumePrefix(&text, prefix) && absl::ConsumeSuffix(&text, suffix) &&
         absl::SimpleAtoi(text, number);
}

absl::Status ParseMode(absl::string_view text, Failpoint* point) {
  uint64_t milliseconds = 0;
  point->word = text;
  if (text == "off") {
    point->mode = Mode::kOff;
  } else if (text == "crash") {
    point->mode = Mode::kCrash;
  } else if (text == "error") {
    point->mode = Mode::kError;
  } else if (text == "error(disk)") {
    point->mode = Mode::kErrorDisk;
  } else if (text == "plant") {
    point->mode = Mode::kPlant;
  } else if (TakeNumber(text, "sleep(", ")", &milliseconds)) {
    point->mode = Mode::kSleep;
    point->sleep_ms = static_cast<int64_t>(milliseconds);
  } else {
    return absl::InvalidArgumentError(absl::StrCat("unknown mode \"", text, "\""));
  }
  return absl::OkStatus();
}

absl::Status ParseWhen(absl::string_view text, Failpoint* point) {
  if (TakeNumber(text, "at", "", &point->at) && point->at > 0) return absl::OkStatus();
  if (TakeNumber(text, "1in", "", &point->one_in) && point->one_in > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("expected atN or 1inN, got \"", text, "\""));
}

class Registry {
 public:
  Registry() {
    const char* const list = std::getenv("ENGRAM_FAILPOINTS");
    const char* const seed = std::getenv("ENGRAM_FAILPOINTS_SEED");
    if (list == nullptr) return;
    const absl::Status set = Set(list, seed == nullptr ? 1 : std::atoi(seed));
    if (set.ok()) return;
    std::fprintf(stderr, "ENGRAM_FAILPOINTS: %s\n", std::string(set.message()).c_str());
    std::_Exit(EX_CONFIG);
  }

  absl::Status Set(absl::string_view list, unsigned seed) {
    MutexLock lock(&mutex_);
    random_.seed(seed);
    points_.clear();
    list_ = std::string(list);
    for (const absl::string_view entry : absl::StrSplit(list_, ',', absl::SkipEmpty())) {
      ENGRAM_RETURN_IF_ERROR(SetOne(entry));
    }
    return absl::OkStatus();
  }

  // The mode that is to happen now.
  Failpoint Reach(absl::string_view name) {
    MutexLock lock(&mutex_);
    const auto found = points_.find(name);
    if (found == points_.end()) return {};
    Failpoint& point = found->second;
    ++point.reached;
    const bool due = point.at > 0 ? point.reached == point.at
                                  : std::uniform_int_distribution<uint64_t>(
                                        1, point.one_in)(random_) == 1;
    return due ? point : Failpoint();
  }

 private:
  absl::Status SetOne(absl::string_view entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    const std::pair<absl::string_view, absl::string_view> halves =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    if (halves.second.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("expected NAME=MODE, got \"", entry, "\""));
    }
    const std::vector<absl::string_view> parts = absl::StrSplit(halves.second, ':');
    Failpoint point;
    ENGRAM_RETURN_IF_ERROR(ParseMode(parts[0], &point));
    if (parts.size() > 1) ENGRAM_RETURN_IF_ERROR(ParseWhen(parts[1], &point));
    absl::string_view stem = halves.first;
    const bool many = absl::ConsumeSuffix(&stem, "*");
    bool known = false;
    for (const absl::string_view name : kNames) {
      if (many ? !absl::StartsWith(name, stem) : name != stem) continue;
      points_[name] = point;
      known = true;
    }
    if (known) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("unknown failpoint \"", halves.first, "\""));
  }

  Mutex mutex_;
  std::string list_ ABSL_GUARDED_BY(mutex_);
  std::minstd_rand random_ ABSL_GUARDED_BY(mutex_);
  std::map<absl::string_view, Failpoint> points_ ABSL_GUARDED_BY(mutex_);
};

Registry& TheRegistry() {
  static auto* const registry = new Registry;
  return *registry;
}

// One write: the process may be gone right after it.
void Say(absl::string_view name, absl::string_view mode) {
  const std::string line = absl::StrCat("failpoint ", name, ": ", mode, "\n");
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

}  // namespace

std::vector<absl::string_view> FailpointNames() {
  return {std::begin(kNames), std::end(kNames)};
}

absl::Status ReachFailpoint(absl::string_view name) {
  const Failpoint point = TheRegistry().Reach(name);
  if (point.mode == Mode::kOff) return absl::OkStatus();
  Say(name, point.word);
  switch (point.mode) {
    case Mode::kCrash:
      kill(getpid(), SIGKILL);
      break;
    case Mode::kSleep:
      std::this_thread::sleep_for(std::chrono::milliseconds(point.sleep_ms));
      break;
    case Mode::kError:
      return absl::UnavailableError(absl::StrCat("failpoint ", name));
    case Mode::kErrorDisk:
      return absl::ResourceExhaustedError(absl::StrCat("failpoint ", name));
    case Mode::kOff:
    case Mode::kPlant:
      break;
  }
  return absl::OkStatus();
}

bool IsBugPlanted(absl::string_view name) {
  return absl::StartsWith(name, kBugPrefix) &&
         TheRegistry().Reach(name).mode == Mode::kPlant;
}

absl::Status SetFailpoints(absl::string_view list, unsigned seed) {
  return TheRegistry().Set(list, seed);
}

}  // namespace engram::base
