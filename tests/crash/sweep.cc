// sweep: the same short session again and again, and each time another call to the disk fails: the
// first write, the second, ... the first sync, the second, ... or the server is killed in place of
// the call, or a failpoint ends or fails it. Whatever fails: no ack of what is not durable, a clear
// state, predictions go on while the server lives, and the next opening is whole.
#include <errno.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"
#include "tests/crash/harness.h"
#include "tests/crash/scripted_session.h"
#include "tests/testing/faults/fault_box.h"
#include "tests/testing/process/subprocess.h"

ABSL_FLAG(int, sessions, 0, "at most so many, spread over all; 0 = every call and failpoint");
ABSL_FLAG(std::string, only, "", "only faults whose name begins with this");

namespace engram::crash {
namespace {

using testing::FaultBox;
using testing::IoCall;

constexpr int kAborted = 128 + 6;
// A server opens what is left in every so many-th session; the judge opens it in each.
constexpr int kReopenEvery = 10;

// What fails in one session: the Nth call of a kind, or a failpoint.
struct Fault {
  std::string name;
  IoCall call = IoCall::kCount;
  int64_t at = 0;
  int error = 0;
  bool sticky = false;
  std::string failpoint;  // NAME=MODE
};

struct Kind {
  const char* name;
  IoCall call;
  int error;
  bool sticky;
};
constexpr Kind kKinds[] = {
    {"sync fails", IoCall::kSync, EIO, false},
    {"write fails", IoCall::kWrite, EIO, false},
    {"disk full from write", IoCall::kWrite, ENOSPC, true},
    {"rename fails", IoCall::kRename, EIO, false},
    {"open fails", IoCall::kOpen, EIO, false},
    {"read fails", IoCall::kRead, EIO, false},
    {"unlink fails", IoCall::kUnlink, EIO, false},
    {"mkdir fails", IoCall::kMakeFolder, EIO, false},
    {"killed before sync", IoCall::kSync, testing::kKillInstead, false},
    {"killed before write", IoCall::kWrite, testing::kKillInstead, false},
    {"killed before rename", IoCall::kRename, testing::kKillInstead, false},
    {"killed before unlink", IoCall::kUnlink, testing::kKillInstead, false},
};

bool Takes(const std::string& name) { return absl::StartsWith(name, absl::GetFlag(FLAGS_only)); }

// Failpoints that no session comes by: boundaries, an idle stream, recovery, acks of streams.
bool IsForKill9(absl::string_view name) {
  for (const char* prefix : {"bug.", "boundary.", "flush.", "recovery.", "ack."}) {
    if (absl::StartsWith(name, prefix)) return true;
  }
  return false;
}

std::vector<Fault> AllFaults(const FaultBox& counted) {
  std::vector<Fault> faults;
  for (const Kind& kind : kKinds) {
    for (int64_t at = 1; at <= counted.calls(kind.call); ++at) {
      const std::string name = absl::StrCat(kind.name, " ", at);
      if (Takes(name)) faults.push_back({name, kind.call, at, kind.error, kind.sticky, ""});
    }
  }
  for (const absl::string_view point : base::FailpointNames()) {
    if (IsForKill9(point)) continue;
    for (const char* mode : {"crash", "error"}) {
      const std::string name = absl::StrCat("failpoint ", point, "=", mode);
      if (Takes(name)) {
        faults.push_back({name, IoCall::kCount, 0, 0, false, absl::StrCat(point, "=", mode)});
      }
    }
  }
  return faults;
}

std::vector<Fault> Spread(const std::vector<Fault>& all, size_t most) {
  if (most == 0 || all.size() <= most) return all;
  std::vector<Fault> some;
  for (size_t i = 0; i < most; ++i) some.push_back(all[(2 * i + 1) * all.size() / (2 * most)]);
  return some;
}

// How sessions ended, in words, with how many did.
using Endings = std::map<std::string, int>;

std::string Ending(const Fault& fault, const SessionOutcome& outcome) {
  if (outcome.ended_by_itself && outcome.exit_code == kKilled) return "killed as told";
  if (outcome.ended_by_itself && outcome.exit_code == kAborted) return "aborted by RocksDB";
  if (outcome.ended_by_itself) return absl::StrCat("exit code ", outcome.exit_code);
  if (outcome.read_only) return "read-only";
  return outcome.refused > 0 ? "refused a call" : "nobody noticed";
}

class Sweep {
 public:
  explicit Sweep(const testing::ScratchFolder& scratch)
      : scratch_(scratch),
        box_folder_(scratch.Subfolder("faults")),
        folder_(scratch.Subfolder("server")) {
    box_ = std::make_unique<FaultBox>(box_folder_, folder_);
  }

  // A session without a fault: what there is to fail.
  absl::StatusOr<std::vector<Fault>> Count() {
    box_->ResetCounts();
    ENGRAM_ASSIGN_OR_RETURN(ScriptedSession session, Session({}));
    ENGRAM_ASSIGN_OR_RETURN(const SessionOutcome outcome, session.Run());
    const std::string fault = outcome.broken + session.JudgeStored() + session.JudgeReopened();
    if (!fault.empty() || outcome.refused > 0 || outcome.exit_code != 0) {
      return absl::InternalError(absl::StrCat("without any fault: ", fault, ", ", outcome.refused,
                                              " refusals, \"", outcome.refusal, "\", exit code ",
                                              outcome.exit_code));
    }
    if (!session.JudgeNotices()) return absl::InternalError("the judge misses a lost example");
    std::printf("canary: an acked example taken away is found\n");
    return AllFaults(*box_);
  }

  absl::Status RunOne(const Fault& fault, int number) {
    ENGRAM_ASSIGN_OR_RETURN(ScriptedSession session, Session(fault));
    ENGRAM_ASSIGN_OR_RETURN(const SessionOutcome outcome, session.Run());
    const int64_t failed = box_->failed();
    box_->FailNothing();
    std::string broken = outcome.broken;
    if (fault.failpoint.empty() ? failed == 0 : !FailpointReached()) broken = "was never reached";
    if (broken.empty() && !IsAllowed(outcome)) {
      broken = absl::StrCat("ended with ", outcome.exit_code);
    }
    if (broken.empty()) broken = session.JudgeStored();
    if (broken.empty() && (number % kReopenEvery == 0 || !fault.failpoint.empty())) {
      broken = session.JudgeReopened();
    }
    ++endings_[Ending(fault, outcome)];
    if (broken.empty()) return absl::OkStatus();
    ++broken_;
    std::printf("%s: %s\n%s\n", fault.name.c_str(), broken.c_str(), Log().c_str());
    std::fflush(stdout);
    if (absl::GetFlag(FLAGS_keep)) {
      std::filesystem::copy(folder_, absl::StrCat(scratch_.path(), "/broken-", broken_),
                            std::filesystem::copy_options::recursive);
    }
    return absl::OkStatus();
  }

  int broken() const { return broken_; }
  const Endings& endings() const { return endings_; }

 private:
  absl::StatusOr<ScriptedSession> Session(const Fault& fault) {
    namespace fs = std::filesystem;
    for (const auto& entry : fs::directory_iterator(folder_)) fs::remove_all(entry.path());
    fs::remove(folder_ + ".log");
    SessionOptions options;
    options.folder = folder_;
    options.environment = box_->Environment();
    if (!fault.failpoint.empty()) {
      options.binary = ENGRAM_FAILING_SERVER_BINARY;
      options.environment.push_back("ENGRAM_FAILPOINTS=" + fault.failpoint);
      options.with_trim = absl::StartsWith(fault.failpoint, "trim.") ||
                          absl::StartsWith(fault.failpoint, "witness.");
    } else if (fault.at > 0) {
      box_->FailCall(fault.call, fault.at, fault.error, fault.sticky);
    }
    return ScriptedSession(std::move(options));
  }

  // Its own codes, a kill that was ordered, and the assertions of the packaged RocksDB, which ends
  // the process rather than write behind a failed write.
  bool IsAllowed(const SessionOutcome& outcome) const {
    if (outcome.exit_code == 0 || outcome.exit_code == kKilled) return true;
    if (outcome.exit_code != kAborted) return outcome.exit_code < 128;
    return absl::StrContains(Log(), "Assertion");
  }

  bool FailpointReached() const { return absl::StrContains(Log(), "failpoint "); }
  std::string Log() const { return testing::ReadWholeFile(folder_ + ".log"); }

  const testing::ScratchFolder& scratch_;
  const std::string box_folder_;
  const std::string folder_;
  std::unique_ptr<FaultBox> box_;
  Endings endings_;
  int broken_ = 0;
};

// Nothing here is drawn: a session is a script.
absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, uint64_t /*seed*/) {
  const absl::Time began = absl::Now();
  Sweep sweep(scratch);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Fault> all, sweep.Count());
  const auto faults = Spread(all, static_cast<size_t>(absl::GetFlag(FLAGS_sessions)));
  int number = 0;
  for (const Fault& fault : faults) ENGRAM_RETURN_IF_ERROR(sweep.RunOne(fault, number++));
  for (const auto& [ending, count] : sweep.endings()) {
    std::printf("  %-24s %d\n", ending.c_str(), count);
  }
  std::printf("sweep: %zu of %zu faults, %d broken promises, %.0f s\n", faults.size(), all.size(),
              sweep.broken(), absl::ToDoubleSeconds(absl::Now() - began));
  return !faults.empty() && sweep.broken() == 0;
}

}  // namespace
}  // namespace engram::crash

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "sweep", engram::crash::Run);
}
