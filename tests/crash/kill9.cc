// kill9: a server under load is killed with SIGKILL again and again, at random moments or where a
// failpoint stands; then three questions are asked. Is every acked example in the log exactly once?
// Are the weights bit-identical to those of a server that replays the same log from its start and
// was never killed? Would we have noticed if not?
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"
#include "tests/crash/crash_run.h"
#include "tests/crash/harness.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(int, cycles, 50, "how often the server is killed");
ABSL_FLAG(double, examples_rate, 3000, "examples a second of each of the four producers");
ABSL_FLAG(bool, failpoints, false, "kill where failpoints stand, one after the other");
ABSL_FLAG(std::string, only, "", "only failpoints whose name begins with this");
ABSL_FLAG(std::string, plant, "", "a bug of engramd_failing, which this run must find out");

namespace engram::crash {
namespace {

using testing::Mix;
using testing::ServerProcess;

constexpr int kKilled = 128 + 9;
// A failpoint that is not reached by then is left alone.
const absl::Duration kFailpointPatience = absl::Seconds(3);
// In the middle of such a life producers fall silent for a while, and the log runs dry.
const absl::Duration kLullBegin = absl::Milliseconds(700);
const absl::Duration kLullEnd = absl::Milliseconds(1000);

// Those that this load comes by; the others are for `sweep`, which trims, creates and deletes.
std::vector<std::string> FailpointsOnTheWay() {
  std::vector<std::string> names;
  for (const absl::string_view name : base::FailpointNames()) {
    bool elsewhere = false;
    for (const char* prefix : {"trim.", "create.", "delete.", "bug."}) {
      elsewhere = elsewhere || absl::StartsWith(name, prefix);
    }
    if (!elsewhere && absl::StartsWith(name, absl::GetFlag(FLAGS_only))) names.emplace_back(name);
  }
  return names;
}

// The Nth time that the name is reached.
uint64_t WhichTime(absl::string_view name, uint64_t draw) {
  if (absl::StartsWith(name, "log.") || absl::StartsWith(name, "ack.")) return 1 + draw % 40;
  if (absl::StartsWith(name, "publish.")) return 1 + draw % 6;
  return absl::StartsWith(name, "open.") || absl::StartsWith(name, "recovery.") ? 1 : 1 + draw % 2;
}

// Without any checkpoint the whole log is replayed, and what rollbacks return to kept on the way.
void RemoveCheckpointFiles(const std::string& data_dir) {
  namespace fs = std::filesystem;
  for (const auto& model : fs::directory_iterator(data_dir + "/checkpoints")) {
    for (const auto& file : fs::directory_iterator(model.path())) fs::remove(file.path());
  }
}

// Waits until the server has killed itself, with a lull in between.
void AwaitEnd(CrashRun* run, ServerProcess* server) {
  const absl::Time began = absl::Now();
  bool quiet = false;
  while (!server->Poll().has_value() && absl::Now() - began < kFailpointPatience) {
    const absl::Duration since = absl::Now() - began;
    const bool lull = since > kLullBegin && since < kLullEnd;
    if (lull != quiet) run->Announce(lull ? nullptr : server);
    quiet = lull;
    absl::SleepFor(absl::Milliseconds(1));
  }
}

// One life that ends at a failpoint. True when it came there.
absl::StatusOr<bool> LiveToFailpoint(CrashRun* run, const std::string& name, uint64_t draw) {
  // Only a rollback that has no checkpoint of its own yet is jumped to.
  if (name == "recovery.jump") {
    ENGRAM_RETURN_IF_ERROR(LiveToFailpoint(run, "rollback.before_alias", 0).status());
  }
  run->SetEnvironment(
      {absl::StrCat("ENGRAM_FAILPOINTS=", name, "=crash:at", WhichTime(name, draw))});
  if (name == "recovery.recaptured") RemoveCheckpointFiles(run->data_dir());
  ENGRAM_ASSIGN_OR_RETURN(auto server, run->Launch());
  const absl::Status ready = CrashRun::WaitModels(server.get());
  if (ready.ok()) {
    run->Announce(server.get());
    AwaitEnd(run, server.get());
  }
  const auto ended = server->Poll();
  run->SetEnvironment({});
  server->Kill();
  run->Announce(nullptr);
  if (!ended.has_value()) return ready.ok() ? absl::StatusOr<bool>(false) : ready;
  if (ended->code == kKilled) return true;
  return absl::InternalError(absl::StrCat("engramd ended by itself with ", ended->code, ":\n",
                                          server->Output()));
}

// How often the server died at each, by name.
using Deaths = std::map<std::string, int>;

bool ReportDeaths(const Deaths& deaths, int cycles) {
  bool all = true;
  int at_failpoints = 0;
  for (const auto& [name, count] : deaths) {
    std::printf("  %-28s %d\n", name.c_str(), count);
    at_failpoints += count;
    all = all && count > 0;
  }
  std::printf("%d of %d kills at %zu failpoints%s\n", at_failpoints, cycles, deaths.size(),
              all ? "" : "; some were never reached");
  // Whoever gives each of them two chances expects each of them.
  return all || cycles < 2 * static_cast<int>(deaths.size());
}

absl::StatusOr<bool> LiveAll(CrashRun* run) {
  const int cycles = absl::GetFlag(FLAGS_cycles);
  if (!absl::GetFlag(FLAGS_failpoints)) {
    return run->Live(cycles, [run](int life) {
      return run->LiveAndBeKilled(life, Mix(run->seed() + 0x517 + static_cast<uint64_t>(life)));
    });
  }
  const std::vector<std::string> names = FailpointsOnTheWay();
  if (names.empty()) return absl::InvalidArgumentError("--only: no failpoint begins like that");
  Deaths deaths;
  const auto live = [&](int life) -> absl::Status {
    const uint64_t draw = Mix(run->seed() + 0xfa11 + static_cast<uint64_t>(life));
    const std::string& name = names[(run->seed() + static_cast<uint64_t>(life)) % names.size()];
    ENGRAM_ASSIGN_OR_RETURN(const bool died, LiveToFailpoint(run, name, draw));
    deaths[name] += died ? 1 : 0;
    return absl::OkStatus();
  };
  ENGRAM_ASSIGN_OR_RETURN(const bool kept, run->Live(cycles, live));
  return ReportDeaths(deaths, cycles) && kept;
}

absl::StatusOr<bool> Run(CrashRun* run) {
  const std::string planted = absl::GetFlag(FLAGS_plant);
  if (!planted.empty()) {
    // A kill falls more often where the bug shows: commits and acks take their time.
    run->SetEnvironment({absl::StrCat("ENGRAM_FAILPOINTS=", planted, "=plant,",
                                      "log.before_write=sleep(25),log.after_sync=sleep(25)")});
  }
  ENGRAM_RETURN_IF_ERROR(run->Begin());
  ENGRAM_ASSIGN_OR_RETURN(const bool kept, LiveAll(run));
  if (!kept && !planted.empty()) return false;
  ENGRAM_ASSIGN_OR_RETURN(const Ends ends, run->LastLife());
  ENGRAM_ASSIGN_OR_RETURN(const auto stored, run->ReadStored(ends));
  const bool judged = run->Judge(stored);
  if (!planted.empty()) return judged;
  const bool short_form = absl::GetFlag(FLAGS_failpoints) && absl::GetFlag(FLAGS_cycles) < 10;
  ENGRAM_ASSIGN_OR_RETURN(const bool identical, short_form ? run->CompareWithWhole(ends, stored)
                                                           : run->CompareWithReplay(ends, stored));
  return kept && judged && identical && run->Violations().empty();
}

absl::StatusOr<bool> Play(const testing::ScratchFolder& scratch, uint64_t seed) {
  CrashRunOptions options;
  options.examples_per_second = absl::GetFlag(FLAGS_examples_rate);
  const std::string planted = absl::GetFlag(FLAGS_plant);
  if (absl::GetFlag(FLAGS_failpoints) || !planted.empty()) {
    options.binary = ENGRAM_FAILING_SERVER_BINARY;
  }
  CrashRun run(scratch, seed, options);
  return Conclude(run, planted, Run(&run));
}

}  // namespace
}  // namespace engram::crash

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "kill9", engram::crash::Play);
}
