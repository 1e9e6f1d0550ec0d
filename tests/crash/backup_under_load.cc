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
#include "absl/flags/parse.h"
#include "absl/random/random.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/backup/backup_root.h"
#include "storage/base/status_macros.h"
#include "tests/crash/final_state.h"
#include "tests/crash/operator.h"
#include "tests/crash/oracle.h"
#include "tests/crash/producer.h"
#include "tests/crash/stored_models.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(int, backups, 2, "copies that are restored and judged");
ABSL_FLAG(int, kills, 2, "how often the server is killed while it makes one");
ABSL_FLAG(double, seconds, 0.3, "of learning before each copy");
ABSL_FLAG(double, examples_rate, 2000, "examples a second of each of the four producers");
ABSL_FLAG(uint64_t, seed, 0, "what is sent and when it is killed; 0 = draw one");
ABSL_FLAG(bool, keep, false, "keep the folders, to look at a failure");

namespace engram::crash {
namespace {

namespace fs = std::filesystem;
using testing::ServerProcess;
using Ends = std::map<std::string, v1::Checkpoint>;

// What was known right before a copy was asked for, and right after it was answered.
struct CopyPoint {
  v1::Backup backup;
  std::map<std::string, std::vector<AnsweredRollback>> rollbacks;
  std::map<std::string, std::vector<Testimony>> testimonies;  // by model
};

class Harness {
 public:
  explicit Harness(uint64_t seed) : seed_(seed) {
    data_dir_ = scratch_.Subfolder("server");
    backups_ = scratch_.path() + "/backups";
    if (absl::GetFlag(FLAGS_keep)) {
      scratch_.Keep();
      std::printf("folders: %s\n", scratch_.path().c_str());
    }
  }

  absl::StatusOr<bool> Run();

 private:
  absl::Status Start(const std::string& folder, bool with_backups);
  absl::Status StartProducers();
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
  testing::ScratchFolder scratch_;
  std::string data_dir_;
  std::string backups_;
  AddressBook addresses_;
  std::vector<std::unique_ptr<Producer>> producers_;
  std::unique_ptr<Operator> somebody_;
  std::unique_ptr<ServerProcess> server_;
  int unfinished_ = 0;
};

absl::Status Harness::Start(const std::string& folder, bool with_backups) {
  testing::ServerOptions options;
  options.data_dir = folder;
  options.ready_within = absl::Seconds(120);
  if (with_backups) {
    options.config = absl::StrCat("backups { folder: \"", backups_, "\" kept: 1000 }");
  }
  ENGRAM_ASSIGN_OR_RETURN(server_, ServerProcess::Start(std::move(options)));
  return absl::OkStatus();
}

absl::Status Harness::StartProducers() {
  ENGRAM_RETURN_IF_ERROR(CreateModels(*server_));
  std::vector<std::string> names;
  for (const auto& [model, spec] : CrashModels()) {
    names.push_back(model);
    for (int i = 0; i < 2; ++i) {
      ProducerOptions options;
      options.model = model;
      options.plan = {seed_, absl::StrCat(model, "-", i), i == 0};
      options.ledger_file = absl::StrCat(scratch_.path(), "/ledger.", options.plan.producer);
      options.examples_per_second = absl::GetFlag(FLAGS_examples_rate);
      producers_.push_back(std::make_unique<Producer>(std::move(options), &addresses_));
    }
  }
  somebody_ = std::make_unique<Operator>(seed_, names, &addresses_);
  addresses_.Set(server_->grpc_address());
  return absl::OkStatus();
}

std::map<std::string, std::vector<Testimony>> Harness::Testimonies() const {
  std::map<std::string, std::vector<Testimony>> out;
  for (const auto& producer : producers_) {
    out[producer->options().model].push_back(
        {producer->options().plan, Ledger::Read(producer->options().ledger_file)});
  }
  return out;
}

testing::Outcome<v1::Backup> Harness::CreateBackup(const std::string& name) const {
  const testing::Stubs stubs(server_->NewChannel());
  v1::CreateBackupRequest request;
  request.set_name(name);
  return testing::Call(*stubs.admin, &v1::Admin::Stub::CreateBackup, request, absl::Minutes(2));
}

absl::StatusOr<CopyPoint> Harness::TakeCopy(int number) {
  absl::SleepFor(absl::Seconds(absl::GetFlag(FLAGS_seconds)));
  CopyPoint point;
  const auto before = Testimonies();
  point.rollbacks = somebody_->rollbacks();
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
bool Harness::NothingHalfRestores() {
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
absl::StatusOr<bool> Harness::KillAmidACopy(int number) {
  const std::string name = absl::StrCat("killed-", number);
  const std::string sign = number % 2 == 0 ? absl::StrCat(backups_, "/.making-", name)
                                           : absl::StrCat(data_dir_, "/backup-staging");
  std::thread asking([this, &name] { CreateBackup(name); });
  const absl::Time patience = absl::Now() + absl::Seconds(30);
  while (!fs::exists(sign) && absl::Now() < patience) absl::SleepFor(absl::Microseconds(200));
  const uint64_t draw = testing::Mix(seed_ + 0xbac + static_cast<uint64_t>(number));
  absl::SleepFor(absl::Microseconds(draw % 4000));
  server_->Kill();
  addresses_.Set("");
  asking.join();
  const bool good = NothingHalfRestores();
  ENGRAM_RETURN_IF_ERROR(Start(data_dir_, true));
  addresses_.Set(server_->grpc_address());
  for (const auto& entry : fs::directory_iterator(backups_)) {
    if (!absl::StartsWith(entry.path().filename().string(), ".")) continue;
    return absl::InternalError("an unfinished backup outlived a start");
  }
  return good;
}

// With the command, as an operator would.
absl::Status Harness::Restore(const std::string& name, const std::string& folder) {
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

absl::StatusOr<bool> Harness::JudgeCopy(const CopyPoint& point) {
  const std::string folder = absl::StrCat(scratch_.path(), "/", point.backup.name());
  ENGRAM_RETURN_IF_ERROR(Restore(point.backup.name(), folder));
  ENGRAM_ASSIGN_OR_RETURN(const auto stored, ReadModels(folder, {}));
  bool good = stored.size() == CrashModels().size();
  for (const StoredModel& model : stored) {
    const auto rollbacks = point.rollbacks.find(model.name);
    const auto answered = rollbacks == point.rollbacks.end() ? std::vector<AnsweredRollback>{}
                                                             : rollbacks->second;
    const auto& testimonies = point.testimonies.at(model.name);
    const Verdict verdict = Judge(model.records, testimonies, answered);
    auto fewer = model.records;
    while (!fewer.empty() && fewer.back().sequence > 1) fewer.pop_back();
    const bool judge_sees = Judge(fewer, testimonies, {}).lost > 0;
    std::printf("%s: %zu records, %ld acked before it, %ld lost, %ld twice, %ld torn, "
                "%ld altered, %ld unexpected%s\n",
                model.name.c_str(), model.records.size(), verdict.acked_examples, verdict.lost,
                verdict.twice, verdict.torn, verdict.altered, verdict.unexpected,
                judge_sees ? "" : "; A LOSS IS NOT SEEN");
    for (const auto& finding : verdict.first_findings) std::printf("  %s\n", finding.c_str());
    good = good && verdict.Clean() && verdict.acked_examples > 0 && judge_sees;
  }
  return good;
}

absl::StatusOr<Ends> Harness::EndsOf(const std::string& folder) {
  const absl::Time start = absl::Now();
  ENGRAM_RETURN_IF_ERROR(Start(folder, false));
  for (const auto& [name, spec] : CrashModels()) ENGRAM_RETURN_IF_ERROR(server_->WaitReady(name));
  std::printf("serves after %.3f s\n", absl::ToDoubleSeconds(absl::Now() - start));
  ENGRAM_ASSIGN_OR_RETURN(Ends ends, CheckpointTheEnd(*server_));
  return ends;
}

// Those of a server that replays the copy's log from its start.
absl::StatusOr<bool> Harness::SameWeights(const std::string& folder) {
  ENGRAM_ASSIGN_OR_RETURN(const auto stored, ReadModels(folder, {}));
  std::vector<ModelToWrite> whole;
  for (const StoredModel& model : stored) {
    whole.push_back({model.name, model.spec, Everything(model.records)});
  }
  const std::string replayed_in = scratch_.Subfolder("replayed");
  ENGRAM_RETURN_IF_ERROR(WriteModels(replayed_in, whole));
  ENGRAM_ASSIGN_OR_RETURN(const Ends replayed, EndsOf(replayed_in));
  server_->Kill();
  ENGRAM_ASSIGN_OR_RETURN(const Ends restored, EndsOf(folder));
  bool good = true;
  for (const auto& [model, end] : restored) {
    const bool same = end.sha256() == replayed.at(model).sha256();
    std::printf("%s: %s\n", model.c_str(), same ? "bit-identical to a replay" : "DIFFERENT");
    good = good && same;
  }
  return good;
}

// The server on the restored copy runs. Producers went on after the copy.
bool Harness::TellsProducersAhead() {
  bool good = true;
  for (const auto& producer : producers_) {
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

absl::StatusOr<bool> Harness::Run() {
  ENGRAM_RETURN_IF_ERROR(Start(data_dir_, true));
  ENGRAM_RETURN_IF_ERROR(StartProducers());
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
  somebody_->Stop();
  for (const auto& producer : producers_) {
    if (!producer->Finish()) return absl::InternalError("a producer could not finish");
    for (const auto& violation : producer->violations()) {
      std::printf("  %s\n", violation.c_str());
      good = false;
    }
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

int Main() {
  uint64_t seed = absl::GetFlag(FLAGS_seed);
  absl::BitGen random;
  if (seed == 0) seed = absl::Uniform<uint64_t>(random, 1, 1u << 31);
  std::printf("backup_under_load --seed=%lu\n", seed);
  std::fflush(stdout);
  Harness harness(seed);
  const auto good = harness.Run();
  if (!good.ok()) std::cout << good.status() << "\n";
  const bool passed = good.ok() && *good;
  std::printf("%s (seed %lu)\n", passed ? "PASSED" : "FAILED", seed);
  std::fflush(stdout);
  return passed ? 0 : 1;
}

}  // namespace
}  // namespace engram::crash

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return engram::crash::Main();
}
