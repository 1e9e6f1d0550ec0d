// powerloss: like kill9, but after each kill the data folder loses what was not synced: bytes after
// a file's last sync, names whose folder was not synced since. Every third time all of it, else a
// random part, so that files end torn. Then the same questions: nothing acked may be missing, no
// server may find its store damaged.
#include <cstdio>
#include <string>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "tests/crash/crash_run.h"
#include "tests/crash/harness.h"
#include "tests/testing/faults/fault_box.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(int, cycles, 200, "how often the power goes");
ABSL_FLAG(double, examples_rate, 3000, "examples a second of each of the four producers");
ABSL_FLAG(std::string, plant, "", "a bug of engramd_failing, which this run must find out");

namespace engram::crash {
namespace {

using testing::FaultBox;
using testing::Mix;
using testing::PowerLoss;

struct Losses {
  int64_t names = 0;
  int64_t files = 0;
  int64_t bytes = 0;

  void Add(const testing::PowerLossReport& report) {
    names += report.names_undone;
    files += report.files_cut;
    bytes += report.bytes_lost;
  }
};

absl::Status LiveAndLosePower(CrashRun* run, FaultBox* box, int life, Losses* losses) {
  const uint64_t draw = Mix(run->seed() + 0x90 + static_cast<uint64_t>(life));
  box->BeginJournal();
  ENGRAM_RETURN_IF_ERROR(run->LiveAndBeKilled(life, draw));
  losses->Add(box->LosePower(PowerLoss{life % 3 == 0 ? 0 : 1 + draw % 1000000}));
  return absl::OkStatus();
}

absl::StatusOr<bool> Run(CrashRun* run, const std::string& faults) {
  FaultBox box(faults, run->data_dir());
  std::vector<std::string> environment = box.Environment();
  run->SetEnvironment(environment);
  Losses losses;
  box.BeginJournal();
  ENGRAM_RETURN_IF_ERROR(run->Begin());
  losses.Add(box.LosePower(PowerLoss{}));
  const std::string planted = absl::GetFlag(FLAGS_plant);
  if (!planted.empty()) {
    environment.push_back(absl::StrCat("ENGRAM_FAILPOINTS=", planted, "=plant"));
  }
  run->SetEnvironment(environment);
  ENGRAM_ASSIGN_OR_RETURN(const bool kept, run->Live(absl::GetFlag(FLAGS_cycles), [&](int life) {
    return LiveAndLosePower(run, &box, life, &losses);
  }));
  std::printf("lost with the power: %ld names, %ld bytes at the ends of %ld files\n", losses.names,
              losses.bytes, losses.files);
  if (!kept && !planted.empty()) return false;
  ENGRAM_ASSIGN_OR_RETURN(const Ends ends, run->LastLife());
  ENGRAM_ASSIGN_OR_RETURN(const auto stored, run->ReadStored(ends));
  const bool judged = run->Judge(stored);
  if (!planted.empty()) return judged;
  for (const std::string& line : run->Complaints()) std::printf("  %s\n", line.c_str());
  ENGRAM_RETURN_IF_ERROR(ScrubStored(run->data_dir()));
  ENGRAM_ASSIGN_OR_RETURN(const bool identical, run->CompareWithWhole(ends, stored));
  return kept && judged && identical && run->Complaints().empty() && run->Violations().empty();
}

absl::StatusOr<bool> Play(const testing::ScratchFolder& scratch, uint64_t seed) {
  CrashRunOptions options;
  options.examples_per_second = absl::GetFlag(FLAGS_examples_rate);
  const std::string planted = absl::GetFlag(FLAGS_plant);
  if (!planted.empty()) options.binary = ENGRAM_FAILING_SERVER_BINARY;
  CrashRun run(scratch, seed, options);
  return Conclude(run, planted, Run(&run, scratch.Subfolder("faults")));
}

}  // namespace
}  // namespace engram::crash

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "powerloss", engram::crash::Play);
}
