#include "tests/crash/crash_run.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/crash/oracle.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/subprocess.h"

namespace engram::crash {
namespace {

using testing::ServerProcess;

const absl::Duration kReadyWithin = absl::Seconds(120);
const absl::Duration kLastWords = absl::Milliseconds(300);
// Beside it, for each record that a server starts by learning.
const absl::Duration kReplayOfRecord = absl::Milliseconds(1);
constexpr int kIdleLivesMax = 40;

absl::Status DrainWell(ServerProcess* server) {
  ENGRAM_ASSIGN_OR_RETURN(const int code, server->Drain());
  if (code != 0) return absl::InternalError(absl::StrCat("drain exited with ", code));
  return absl::OkStatus();
}

std::map<std::string, std::string> IdsOf(const Ends& ends) {
  std::map<std::string, std::string> ids;
  for (const auto& [model, checkpoint] : ends) ids[model] = checkpoint.id();
  return ids;
}

bool Same(const std::string& name, const v1::Checkpoint& lived, const v1::Checkpoint& replayed,
          const StoredModel& lived_store, const StoredModel& replayed_store) {
  const bool weights = lived.sha256() == replayed.sha256();
  const bool members = lived_store.members == replayed_store.members;
  const bool sequence = lived.applied_sequence() == replayed.applied_sequence();
  std::printf("%s: sequence %lu, sha256 %.16s... against %.16s...: %s; %zu exemplars: %s\n",
              name.c_str(), lived.applied_sequence(), lived.sha256().c_str(),
              replayed.sha256().c_str(), weights ? "bit-identical" : "DIFFERENT",
              lived_store.members.size(), members ? "the same" : "DIFFERENT");
  return weights && members && sequence;
}

}  // namespace

bool ReportVerdict(const StoredModel& model, const std::vector<Testimony>& testimonies,
                   const Rollbacks& rollbacks) {
  const auto mine = rollbacks.find(model.name);
  const std::vector<AnsweredRollback> answered =
      mine == rollbacks.end() ? std::vector<AnsweredRollback>{} : mine->second;
  const Verdict verdict = Judge(model.records, testimonies, answered);
  const auto standing = Standing(model.records);
  std::printf(
      "%s: %zu records (%zd stand), %zu rollbacks, %ld acked examples, %ld lost, %ld twice, "
      "%ld torn, %ld altered, %ld unexpected\n",
      model.name.c_str(), model.records.size(), std::count(standing.begin(), standing.end(), true),
      answered.size(), verdict.acked_examples, verdict.lost, verdict.twice, verdict.torn,
      verdict.altered, verdict.unexpected);
  for (const auto& finding : verdict.first_findings) std::printf("  %s\n", finding.c_str());
  return verdict.Clean() && verdict.acked_examples > 0;
}

std::vector<ModelToWrite> WholeLogs(const std::vector<StoredModel>& stored) {
  std::vector<ModelToWrite> whole;
  for (const StoredModel& model : stored) {
    whole.push_back({model.name, model.spec, Everything(model.records)});
  }
  return whole;
}

absl::StatusOr<Replayed> Replay(const std::string& folder,
                                const std::vector<ModelToWrite>& models) {
  ENGRAM_RETURN_IF_ERROR(WriteModels(folder, models));
  testing::ServerOptions options;
  options.data_dir = folder;
  options.ready_within = kReadyWithin;
  for (const ModelToWrite& model : models) {
    options.ready_within += static_cast<int64_t>(model.records.size()) * kReplayOfRecord;
  }
  ENGRAM_ASSIGN_OR_RETURN(auto server, ServerProcess::Launch(std::move(options)));
  ENGRAM_RETURN_IF_ERROR(CrashRun::WaitModels(server.get()));
  ENGRAM_ASSIGN_OR_RETURN(Ends ends, CheckpointTheEnd(*server));
  ENGRAM_RETURN_IF_ERROR(DrainWell(server.get()));
  ENGRAM_ASSIGN_OR_RETURN(auto stored, ReadModels(folder, IdsOf(ends)));
  return std::make_pair(std::move(ends), std::move(stored));
}

CrashRun::CrashRun(const testing::ScratchFolder& scratch, uint64_t seed,
                   const CrashRunOptions& options)
    : scratch_(scratch),
      seed_(seed),
      options_(options),
      data_dir_(scratch.Subfolder("server")),
      party_(scratch.path(), seed, options.examples_per_second) {}

absl::StatusOr<std::unique_ptr<ServerProcess>> CrashRun::Launch() const {
  testing::ServerOptions options;
  options.data_dir = data_dir_;
  options.binary = options_.binary;
  options.environment = environment_;
  options.ready_within = kReadyWithin;
  return ServerProcess::Launch(std::move(options));
}

absl::Status CrashRun::WaitModels(ServerProcess* server) {
  ENGRAM_RETURN_IF_ERROR(server->WaitReady());
  const testing::Stubs stubs(server->NewChannel());
  for (const auto& [name, spec] : CrashModels()) {
    v1::GetModelRequest request;
    request.set_name(name);
    const auto found = testing::Call(*stubs.models, &v1::Models::Stub::GetModel, request);
    if (found.status.error_code() == grpc::NOT_FOUND) {
      return absl::DataLossError(absl::StrCat("model ", name, " is gone"));
    }
    ENGRAM_RETURN_IF_ERROR(server->WaitReady(name));
  }
  return absl::OkStatus();
}

absl::Status CrashRun::Begin() {
  ENGRAM_ASSIGN_OR_RETURN(auto server, Launch());
  ENGRAM_RETURN_IF_ERROR(server->WaitReady());
  ENGRAM_RETURN_IF_ERROR(CreateModels(*server));
  party_.Begin();
  return absl::OkStatus();
}

absl::Status CrashRun::LiveAndBeKilled(int life, uint64_t draw) {
  ENGRAM_ASSIGN_OR_RETURN(auto server, Launch());
  if (life % 5 == 4) {
    ENGRAM_RETURN_IF_ERROR(server->WaitListening());
    Announce(server.get());
    absl::SleepFor(absl::Milliseconds(draw % 40));
  } else {
    ENGRAM_RETURN_IF_ERROR(WaitModels(server.get()));
    Announce(server.get());
    absl::SleepFor(absl::Milliseconds(50 + draw % 251));
  }
  server->Kill();
  Announce(nullptr);
  return JudgeProgress();
}

absl::Status CrashRun::JudgeProgress() {
  uint64_t acked = 0;
  for (const auto& producer : party_.producers()) acked += producer->acked();
  idle_lives_ = acked > acked_ ? 0 : idle_lives_ + 1;
  acked_ = acked;
  if (idle_lives_ < kIdleLivesMax) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("nothing was acked in ", idle_lives_, " lives in a row"));
}

absl::StatusOr<bool> CrashRun::Live(int lives, const std::function<absl::Status(int)>& live) {
  const absl::Time began = absl::Now();
  int life = 0;
  while (life < lives && Violations().empty()) ENGRAM_RETURN_IF_ERROR(live(life++));
  std::printf("%d lives in %.1f s, %d checkpoints\n", life,
              absl::ToDoubleSeconds(absl::Now() - began), party_.somebody().checkpoints());
  for (const std::string& violation : Violations()) std::printf("  %s\n", violation.c_str());
  std::fflush(stdout);
  return Violations().empty();
}

absl::StatusOr<Ends> CrashRun::LastLife() {
  ENGRAM_ASSIGN_OR_RETURN(auto server, Launch());
  ENGRAM_RETURN_IF_ERROR(WaitModels(server.get()));
  Announce(server.get());
  absl::SleepFor(kLastWords);
  const absl::Status finished = party_.Finish();
  if (!finished.ok()) {
    return absl::InternalError(absl::StrCat(finished.message(), "\n", server->Output()));
  }
  ENGRAM_ASSIGN_OR_RETURN(Ends ends, CheckpointTheEnd(*server));
  ENGRAM_RETURN_IF_ERROR(DrainWell(server.get()));
  for (const auto& producer : party_.producers()) {
    std::printf("%s: %lu streams, %lu repeats recognised\n",
                producer->options().plan.producer.c_str(), producer->streams(),
                producer->duplicates());
  }
  return ends;
}

std::vector<std::string> CrashRun::Complaints() const {
  std::vector<std::string> found;
  const std::string log = testing::ReadWholeFile(data_dir_ + ".log");
  for (const absl::string_view line : absl::StrSplit(log, '\n')) {
    for (const char* word : {"checkpoint_passed_over", "rollback_checkpoint_not_stored",
                             "trainer_stopped", "storage_read_only"}) {
      if (absl::StrContains(line, word)) found.emplace_back(line);
    }
  }
  return found;
}

absl::StatusOr<std::vector<StoredModel>> CrashRun::ReadStored(const Ends& ends) const {
  return ReadModels(data_dir_, IdsOf(ends));
}

// The judge itself: it must find one record taken away and one doubled.
bool CrashRun::JudgeNotices(const StoredModel& model) const {
  const std::vector<Testimony> testimonies = party_.Testimonies(model.name);
  auto fewer = model.records;
  fewer.pop_back();
  while (!fewer.empty() && fewer.back().kind != 1) fewer.pop_back();
  if (!fewer.empty()) fewer.pop_back();
  auto more = model.records;
  more.push_back(model.records.front());
  const bool lost = crash::Judge(fewer, testimonies, {}).lost > 0;
  const bool twice = crash::Judge(more, testimonies, {}).twice > 0;
  std::printf("canary %s: a record taken away is %s, a record doubled is %s\n", model.name.c_str(),
              lost ? "found" : "NOT FOUND", twice ? "found" : "NOT FOUND");
  return lost && twice;
}

bool CrashRun::Judge(const std::vector<StoredModel>& stored) const {
  bool good = stored.size() == CrashModels().size();
  for (const StoredModel& model : stored) {
    good = ReportVerdict(model, party_.Testimonies(model.name), party_.somebody().rollbacks()) &&
           good;
    good = JudgeNotices(model) && good;
  }
  return good;
}

absl::StatusOr<bool> CrashRun::SameAfterReplay(const std::string& name,
                                               const std::vector<ModelToWrite>& copies,
                                               const Ends& ends,
                                               const std::vector<StoredModel>& stored) {
  std::printf("%s:\n", name.c_str());
  ENGRAM_ASSIGN_OR_RETURN(const Replayed replayed, Replay(scratch_.Subfolder(name), copies));
  bool good = replayed.second.size() == stored.size();
  for (size_t i = 0; i < stored.size() && i < replayed.second.size(); ++i) {
    const std::string& model = stored[i].name;
    good = Same(model, ends.at(model), replayed.first.at(model), stored[i], replayed.second[i]) &&
           good;
  }
  return good;
}

absl::StatusOr<bool> CrashRun::CompareWithWhole(const Ends& ends,
                                                const std::vector<StoredModel>& stored) {
  return SameAfterReplay("whole-log", WholeLogs(stored), ends, stored);
}

absl::StatusOr<bool> CrashRun::CompareWithReplay(const Ends& ends,
                                                 const std::vector<StoredModel>& stored) {
  std::vector<ModelToWrite> standing;
  for (const StoredModel& model : stored) {
    standing.push_back({model.name, model.spec, WithoutDropped(model.records)});
  }
  ENGRAM_ASSIGN_OR_RETURN(const bool same, CompareWithWhole(ends, stored));
  ENGRAM_ASSIGN_OR_RETURN(const bool same_without,
                          SameAfterReplay("without-dropped", standing, ends, stored));
  // The comparison itself: one altered record must show.
  bool altered_one = false;
  for (ModelToWrite& copy : standing) {
    if (copy.name == "replay-ewc") altered_one = AlterOneExample(&copy.records);
  }
  ENGRAM_ASSIGN_OR_RETURN(const Replayed altered,
                          Replay(scratch_.Subfolder("altered"), standing));
  const bool noticed = altered.first.at("replay-ewc").sha256() != ends.at("replay-ewc").sha256() &&
                       altered.first.at("plain").sha256() == ends.at("plain").sha256();
  std::printf("canary: one altered example %s\n", noticed ? "changes the weights" : "NOT NOTICED");
  return same && same_without && altered_one && noticed;
}

absl::StatusOr<bool> Conclude(const CrashRun& run, const std::string& planted,
                              const absl::StatusOr<bool>& good) {
  if (planted.empty()) return good;
  if (!good.ok()) std::cout << good.status() << "\n";
  const bool refused = absl::StrContains(good.status().message(), "refusing to open the store");
  // A checkpoint beyond the end of a log that has lost its end stops the model.
  bool stopped = false;
  for (const std::string& line : run.Complaints()) {
    stopped = stopped || (absl::StrContains(line, "trainer_stopped") &&
                          absl::StrContains(line, "DATA_LOSS"));
  }
  const bool found = refused || stopped || absl::IsDataLoss(good.status()) ||
                     !run.Violations().empty() || (good.ok() && !*good);
  std::printf("canary: %s %s\n", planted.c_str(), found ? "is found out" : "is NOT FOUND OUT");
  return found;
}

}  // namespace engram::crash
