// backup_under_load: copies of a server that learns, serves, checkpoints and rolls back. Is what
// was acked before a copy in it, exactly once and to the same weights? Does a producer that is
// ahead of a restored copy hear of it? What does a server leave that is killed while it makes one?
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <thread>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/backup/backup_root.h"
#include "storage/base/status_macros.h"
#include "tests/crash/crash_run.h"
#include "tests/crash/harness.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(int, backups, 2, "copies that are restored and judged");
ABSL_FLAG(int, kills, 2, "how often the server is killed while it makes one");
ABSL_FLAG(double, seconds, 0.3, "of learning before each copy");
ABSL_FLAG(double, examples_rate, 2000, "examples a second of each of the four producers");

namespace engram::crash {
namespace {

namespace fs = std::filesystem;
using testing::ServerProcess;

// What was known right before a copy was asked for, and right after it was answered.
struct CopyPoint {
  v1::Backup backup;
  Rollbacks rollbacks;
  std::map<std::string, std::vector<Testimony>> testimonies;  // by model
};

class BackedUpServer {
 public:
  BackedUpServer(const testing::ScratchFolder& scratch, uint64_t seed)
      : seed_(seed),
        scratch_(scratch),
        data_dir_(scratch.Subfolder("server")),
        backups_(scratch.path() + "/backups"),
        party_(scratch.path(), seed, absl::GetFlag(FLAGS_examples_rate)) {}

  absl::StatusOr<bool> Run();

 private:
  absl::Status Start(const std::string& folder, bool with_backups);
  std::map<std::string, std::vector<Testimony>> Testimonies() const;
  testing::Outcome<v1::Backup> CreateBackup(const std::string& name) const;
  absl::StatusOr<CopyPoint> TakeCopy(int number);
  absl::StatusOr<bool> KillAmidACopy(int number);
  bool NothingHalfRestores();
  absl::Status Restore(const std::string& name, const std::string& folder);
  absl::StatusOr<bool> JudgeCopy(const CopyPoint& point);
  absl::StatusOr<Ends> EndsOf(const std::string& folder);
  absl::StatusOr<bool> SameWeights(const std::string& folder);
  bool TellsProducersAhead();

  const uint64_t seed_;
  const testing::ScratchFolder& scratch_;
  const std::string data_dir_;
  const std::string backups_;
  Party party_;
  std::unique_ptr<ServerProcess> server_;
  int unfinished_ = 0;
};

absl::Status BackedUpServer::Start(const std::string& folder, bool with_backups) {
  testing::ServerOptions options;
  options.data_dir = folder;
  options.ready_within = absl::Seconds(120);
  if (with_backups) {
    options.config = absl::StrCat("backups { folder: \"", backups_, "\" kept: 1000 }");
  }
  ENGRAM_ASSIGN_OR_RETURN(server_, ServerProcess::Start(std::move(options)));
  return absl::OkStatus();
}

std::map<std::string, std::vector<Testimony>> BackedUpServer::Testimonies() const {
  std::map<std::string, std::vector<Testimony>> out;
  for (const auto& [model, spec] : CrashModels()) out[model] = party_.Testimonies(model);
  return out;
}

testing::Outcome<v1::Backup> BackedUpServer::CreateBackup(const std::string& name) const {
  const testing::Stubs stubs(server_->NewChannel());
  v1::CreateBackupRequest request;
  request.set_name(name);
  return testing::Call(*stubs.admin, &v1::Admin::Stub::CreateBackup, request, absl::Minutes(2));
}

absl::StatusOr<CopyPoint> BackedUpServer::TakeCopy(int number) {
  absl::SleepFor(absl::Seconds(absl::GetFlag(FLAGS_seconds)));
  CopyPoint point;
  const auto before = Testimonies();
  point.rollbacks = party_.somebody().rollbacks();
  const auto made = CreateBackup(absl::StrCat("copy-", number));
  if (!made.ok()) return absl::InternalError(made.status.error_message());
  point.backup = made.reply;
  // Sent until now; acked until the copy was asked for.
  point.testimonies = Testimonies();
  for (auto& [model, testimonies] : point.testimonies) {
    for (size_t i = 0; i < testimonies.size(); ++i) {
      testimonies[i].entries.last_acked = before.at(model)[i].entries.last_acked;
    }
  }
  std::printf("%s: %ld files, %ld bytes, %.3f s\n", point.backup.name().c_str(),
              point.backup.files(), point.backup.bytes(), point.backup.seconds());
  return point;
}

// Every folder with a backup's name is whole; one that is not finished restores to nothing.
bool BackedUpServer::NothingHalfRestores() {
  bool good = true;
  for (const auto& entry : fs::directory_iterator(backups_)) {
    const std::string name = entry.path().filename().string();
    if (absl::StartsWith(name, ".")) {
      ++unfinished_;
      const std::string target = scratch_.path() + "/half";
      const auto restored = storage::RestoreBackup(entry.path().string(), target, nullptr);
      // Killed between the manifest and the rename, it is whole.
      if (restored.ok()) fs::remove_all(target);
      good = good && (!restored.ok() || storage::VerifyBackup(entry.path(), nullptr).ok());
      good = good && !fs::exists(target);
    } else {
      const auto whole = storage::VerifyBackup(entry.path().string(), nullptr);
      if (!whole.ok()) std::cout << name << " is not whole: " << whole.status() << "\n";
      good = good && whole.ok();
    }
  }
  return good;
}

// Every second time as it begins to stage, otherwise as it begins to copy, or a little later.
absl::StatusOr<bool> BackedUpServer::KillAmidACopy(int number) {
  const std::string name = absl::StrCat("killed-", number);
  const std::string sign = number % 2 == 0 ? absl::StrCat(backups_, "/.making-", name)
                                           : absl::StrCat(data_dir_, "/backup-staging");
  std::thread asking([this, &name] { CreateBackup(name); });
  const absl::Time patience = absl::Now() + absl::Seconds(30);
  while (!fs::exists(sign) && absl::Now() < patience) absl::SleepFor(absl::Microseconds(200));
  const uint64_t draw = testing::Mix(seed_ + 0xbac + static_cast<uint64_t>(number));
  absl::SleepFor(absl::Microseconds(draw % 4000));
  server_->Kill();
  party_.Announce(nullptr);
  asking.join();
  const bool good = NothingHalfRestores();
  ENGRAM_RETURN_IF_ERROR(Start(data_dir_, true));
  party_.Announce(server_.get());
  for (const auto& entry : fs::directory_iterator(backups_)) {
    if (!absl::StartsWith(entry.path().filename().string(), ".")) continue;
    return absl::InternalError("an unfinished backup outlived a start");
  }
  return good;
}

// With the command, as an operator would.
absl::Status BackedUpServer::Restore(const std::string& name, const std::string& folder) {
  const absl::Time start = absl::Now();
  ENGRAM_ASSIGN_OR_RETURN(
      const testing::Finished finished,
      testing::RunToEnd({testing::CommandBinary(), "backup", "restore",
                         absl::StrCat(backups_, "/", name), folder},
                        absl::Minutes(5), absl::StrCat(scratch_.path(), "/restore.", name)));
  std::printf("%s  in %.3f s\n", finished.output.c_str(),
              absl::ToDoubleSeconds(absl::Now() - start));
  return finished.code == 0 ? absl::OkStatus() : absl::InternalError(finished.output);
}

absl::StatusOr<bool> BackedUpServer::JudgeCopy(const CopyPoint& point) {
  const std::string folder = absl::StrCat(scratch_.path(), "/", point.backup.name());
  ENGRAM_RETURN_IF_ERROR(Restore(point.backup.name(), folder));
  ENGRAM_ASSIGN_OR_RETURN(const auto stored, ReadModels(folder, {}));
  bool good = stored.size() == CrashModels().size();
  for (const StoredModel& model : stored) {
    const auto& testimonies = point.testimonies.at(model.name);
    auto fewer = model.records;
    while (!fewer.empty() && fewer.back().sequence > 1) fewer.pop_back();
    const bool judge_sees = Judge(fewer, testimonies, {}).lost > 0;
    if (!judge_sees) std::printf("%s: A LOSS IS NOT SEEN\n", model.name.c_str());
    good = ReportVerdict(model, testimonies, point.rollbacks) && judge_sees && good;
  }
  return good;
}

absl::StatusOr<Ends> BackedUpServer::EndsOf(const std::string& folder) {
  const absl::Time start = absl::Now();
  ENGRAM_RETURN_IF_ERROR(Start(folder, false));
  for (const auto& [name, spec] : CrashModels()) ENGRAM_RETURN_IF_ERROR(server_->WaitReady(name));
  std::printf("serves after %.3f s\n", absl::ToDoubleSeconds(absl::Now() - start));
  ENGRAM_ASSIGN_OR_RETURN(Ends ends, CheckpointTheEnd(*server_));
  return ends;
}

// Those of a server that replays the copy's log from its start.
absl::StatusOr<bool> BackedUpServer::SameWeights(const std::string& folder) {
  ENGRAM_ASSIGN_OR_RETURN(const auto stored, ReadModels(folder, {}));
  ENGRAM_ASSIGN_OR_RETURN(const Replayed replayed,
                          Replay(scratch_.Subfolder("replayed"), WholeLogs(stored)));
  ENGRAM_ASSIGN_OR_RETURN(const Ends restored, EndsOf(folder));
  bool good = true;
  for (const auto& [model, end] : restored) {
    const bool same = end.sha256() == replayed.first.at(model).sha256();
    std::printf("%s: %s\n", model.c_str(), same ? "bit-identical to a replay" : "DIFFERENT");
    good = good && same;
  }
  return good;
}

// The server on the restored copy runs. Producers went on after the copy.
bool BackedUpServer::TellsProducersAhead() {
  bool good = true;
  for (const auto& producer : party_.producers()) {
    const LedgerEntries entries = Ledger::Read(producer->options().ledger_file);
    testing::LearnSession session(server_->NewChannel());
    const bool opened = session.Open(producer->options().model, producer->options().plan.producer,
                                     entries.last_acked);
    if (opened) session.Cancel();
    const grpc::Status status = session.Finish();
    const bool told = !opened && status.error_code() == grpc::DATA_LOSS &&
                      testing::Reason(status) == "ACK_AHEAD";
    std::printf("%s, acked up to %lu: %s\n", producer->options().plan.producer.c_str(),
                entries.last_acked, told ? status.error_message().c_str() : "NOT TOLD");
    good = good && told;
  }
  return good;
}

absl::StatusOr<bool> BackedUpServer::Run() {
  ENGRAM_RETURN_IF_ERROR(Start(data_dir_, true));
  ENGRAM_RETURN_IF_ERROR(CreateModels(*server_));
  party_.Begin();
  party_.Announce(server_.get());
  std::vector<CopyPoint> points;
  for (int i = 0; i < absl::GetFlag(FLAGS_backups); ++i) {
    ENGRAM_ASSIGN_OR_RETURN(CopyPoint point, TakeCopy(i));
    points.push_back(std::move(point));
  }
  bool good = true;
  for (int i = 0; i < absl::GetFlag(FLAGS_kills); ++i) {
    absl::SleepFor(absl::Milliseconds(100));
    ENGRAM_ASSIGN_OR_RETURN(const bool clean, KillAmidACopy(i));
    good = good && clean;
  }
  absl::SleepFor(absl::Milliseconds(300));
  ENGRAM_RETURN_IF_ERROR(party_.Finish());
  for (const std::string& violation : party_.Violations()) {
    std::printf("  %s\n", violation.c_str());
    good = false;
  }
  server_->Kill();
  std::printf("%d kills left %d unfinished copies\n", absl::GetFlag(FLAGS_kills), unfinished_);
  good = good && (absl::GetFlag(FLAGS_kills) == 0 || unfinished_ > 0);
  for (const CopyPoint& point : points) {
    ENGRAM_ASSIGN_OR_RETURN(const bool clean, JudgeCopy(point));
    good = good && clean;
  }
  const std::string last = absl::StrCat(scratch_.path(), "/", points.back().backup.name());
  ENGRAM_ASSIGN_OR_RETURN(const bool same, SameWeights(last));
  return TellsProducersAhead() && good && same;
}

}  // namespace
}  // namespace engram::crash

int main(int argc, char** argv) {
  return engram::crash::RunHarness(
      argc, argv, "backup_under_load",
      [](const engram::testing::ScratchFolder& scratch, uint64_t seed) {
        return engram::crash::BackedUpServer(scratch, seed).Run();
      });
}
