// damage_matrix: one file of a stopped store is damaged, and a real engramd opens it. It must
// refuse and leave everything as it was, or serve with every example that was acked at least a
// second before. Then the bytes of a real checkpoint, one by one; and a server with a planted bug,
// which this program must notice.
#include <cstdio>
#include <iostream>
#include <memory>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/crash/damaged_store.h"
#include "tests/crash/damages.h"
#include "tests/crash/harness.h"
#include "tests/testing/process/server_process.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/subprocess.h"

ABSL_FLAG(bool, full, false, "every damage, and every byte of the checkpoint");
ABSL_FLAG(std::string, only, "", "only damages whose name contains this");

namespace engram::crash {
namespace {

constexpr int kYoungTries = 5;
constexpr int kDataError = 65;
constexpr size_t kShortFormStep = 211;

// Empty when the opening kept the promise, else what it broke.
std::string Fault(const Opening& opening, Expected expected) {
  if (!opening.served) {
    if (expected == Expected::kWhole) return "refused what is whole";
    if (opening.exit_code != kDataError) return absl::StrCat("exit code ", opening.exit_code);
    for (const char* words : {"refusing to open the store: ", "; last good checkpoint: ",
                              "; nothing was modified"}) {
      if (!absl::StrContains(opening.words, words)) return absl::StrCat("no \"", words, "\"");
    }
    return opening.untouched ? "" : "files were changed";
  }
  if (opening.old_lost > 0) return absl::StrCat("HIDES THE LOSS of ", opening.old_lost);
  if (opening.young_lost > 0 && !opening.told_at_hello) return "nobody is told of a young loss";
  if (opening.young_lost == 0 && opening.told_at_hello) return "a loss is told that is none";
  if (opening.young_lost == 0 && !opening.same_weights) return "other weights";
  return expected == Expected::kRefused ? "serves" : "";
}

void Report(const std::string& name, const Opening& opening, const std::string& fault) {
  std::printf("%-36s %s%s%s\n", name.c_str(), opening.served ? "whole" : "refused",
              fault.empty() ? "" : "   FAULT: ", fault.c_str());
  if (!fault.empty()) std::printf("%s\n", opening.words.c_str());
  std::fflush(stdout);
}

absl::StatusOr<int> RunMatrix(const MadeStore& store, const std::string& folder) {
  int faults = 0;
  int count = 0;
  int refused = 0;
  for (const Damage& damage : Damages()) {
    if (!absl::StrContains(damage.name, absl::GetFlag(FLAGS_only))) continue;
    if (!absl::GetFlag(FLAGS_full) && !damage.in_short_form) continue;
    ENGRAM_RETURN_IF_ERROR(CopyFolder(store.folder, folder));
    damage.apply(FindFiles(folder));
    ENGRAM_ASSIGN_OR_RETURN(const Opening opening, OpenDamaged(store, folder, ""));
    const std::string fault = Fault(opening, damage.expected);
    Report(damage.name, opening, fault);
    faults += fault.empty() ? 0 : 1;
    refused += opening.served ? 0 : 1;
    ++count;
  }
  std::printf("%d damages: %d refused, %d whole, %d faults\n", count, refused, count - refused,
              faults);
  return faults;
}

// Loss that is too young for the witness must be told to the producer at its next hello.
absl::StatusOr<int> RunYoung(const testing::ScratchFolder& scratch, const MadeStore& base) {
  for (int turn = 0; turn < kYoungTries; ++turn) {
    ENGRAM_ASSIGN_OR_RETURN(const MadeStore young, MakeYoungStore(scratch, base, turn));
    CutLastRecord(FindFiles(young.folder));
    ENGRAM_ASSIGN_OR_RETURN(Opening opening, OpenDamaged(young, young.folder, ""));
    const std::string fault = Fault(opening, Expected::kEither);
    Report("young WAL cut by its last record", opening, fault);
    if (!fault.empty()) return 1;
    if (opening.young_lost > 0) return 0;  // it was young, and the hello said so
  }
  std::printf("young loss: never younger than the witness in %d tries\n", kYoungTries);
  return 1;
}

// The witness sees nothing: what the matrix calls a refusal must become a hidden loss.
absl::StatusOr<int> RunCanary(const MadeStore& store, const std::string& folder) {
  ENGRAM_RETURN_IF_ERROR(CopyFolder(store.folder, folder));
  for (const Damage& damage : Damages()) {
    if (damage.name == "WAL deleted") damage.apply(FindFiles(folder));
  }
  ENGRAM_ASSIGN_OR_RETURN(const Opening opening,
                          OpenDamaged(store, folder, ENGRAM_BLIND_SERVER_BINARY));
  const bool noticed = opening.served && opening.old_lost > 0 &&
                       absl::StrContains(Fault(opening, Expected::kRefused), "HIDES THE LOSS");
  std::printf("canary: a server whose witness sees nothing %s (%ld examples lost)\n",
              noticed ? "is found out" : "is NOT FOUND OUT", opening.old_lost);
  return noticed ? 0 : 1;
}

// Every byte of a checkpoint in its turn; the answer names the one that is whole.
absl::StatusOr<int> SweepCheckpoint(const MadeStore& store, const std::string& folder) {
  ENGRAM_RETURN_IF_ERROR(CopyFolder(store.folder, folder));
  testing::ServerOptions options;
  options.data_dir = folder;
  ENGRAM_ASSIGN_OR_RETURN(auto server, testing::ServerProcess::Start(std::move(options)));
  ENGRAM_RETURN_IF_ERROR(server->WaitReady("plain"));
  const testing::Stubs stubs(server->NewChannel());
  v1::RollbackRequest request;
  request.set_model("plain");
  request.set_checkpoint(store.checkpoints.front());
  const std::string path =
      absl::StrCat(folder, "/checkpoints/1/", store.checkpoints.front(), ".safetensors");
  const size_t size = testing::ReadWholeFile(path).size();
  const std::string names = absl::StrCat("newest valid: ", store.checkpoints.back());
  int refused = 0;
  int flips = 0;
  const size_t step = absl::GetFlag(FLAGS_full) ? 1 : kShortFormStep;
  for (size_t at = 0; at < size; at += step, ++flips) {
    FlipByte(path, at);
    const auto answer =
        testing::Call(*stubs.checkpoints, &v1::Checkpoints::Stub::Rollback, request);
    FlipByte(path, at);
    const bool good = answer.status.error_code() == grpc::DATA_LOSS &&
                      absl::StrContains(answer.status.error_message(), names);
    refused += good ? 1 : 0;
    if (good || flips - refused > 3) continue;
    std::printf("byte %zu: %d %s\n", at, answer.status.error_code(),
                answer.status.error_message().c_str());
  }
  std::printf("checkpoint of %zu bytes: %d of %d flipped bytes refused, newest valid named\n", size,
              refused, flips);
  return flips - refused;
}

absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, uint64_t seed) {
  const absl::Time began = absl::Now();
  ENGRAM_ASSIGN_OR_RETURN(const MadeStore store, MakeStore(scratch, seed));
  std::printf("store made in %.1f s\n", absl::ToDoubleSeconds(absl::Now() - began));
  const std::string folder = scratch.path() + "/damaged";
  ENGRAM_ASSIGN_OR_RETURN(int faults, RunMatrix(store, folder));
  if (absl::GetFlag(FLAGS_only).empty()) {
    ENGRAM_ASSIGN_OR_RETURN(const int young, RunYoung(scratch, store));
    ENGRAM_ASSIGN_OR_RETURN(const int canary, RunCanary(store, folder));
    ENGRAM_ASSIGN_OR_RETURN(const int bytes, SweepCheckpoint(store, folder));
    faults += young + canary + bytes;
  }
  std::printf("%s in %.1f s\n", faults == 0 ? "no fault" : "FAULTS",
              absl::ToDoubleSeconds(absl::Now() - began));
  return faults == 0;
}

}  // namespace
}  // namespace engram::crash

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "damage_matrix", engram::crash::Run);
}
