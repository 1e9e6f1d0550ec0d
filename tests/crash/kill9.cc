// kill9: a server under load is killed with SIGKILL again and again; then three questions are
// asked. Is every acked example in the log exactly once? Are the weights bit-identical to those of
// a server that replays the same log from its start and was never killed? Would we have noticed if
// not?
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/crash/final_state.h"
#include "tests/crash/operator.h"
#include "tests/crash/oracle.h"
#include "tests/crash/producer.h"
#include "tests/crash/stored_models.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(int, cycles, 50, "how often the server is killed");
ABSL_FLAG(uint64_t, seed, 0, "what is sent and when it is killed; 0 = draw one");
ABSL_FLAG(double, examples_rate, 3000, "examples a second of each of the four producers");
ABSL_FLAG(bool, keep, false, "keep the folders, to look at a failure");

namespace engram::crash {
namespace {

using testing::ServerProcess;

struct Harness {
  uint64_t seed = 0;
  testing::ScratchFolder scratch;
  std::string data_dir;
  AddressBook addresses;
  std::vector<std::unique_ptr<Producer>> producers;
  std::unique_ptr<Operator> somebody;
  int killed_recovering = 0;
};

absl::StatusOr<std::unique_ptr<ServerProcess>> StartServer(const std::string& folder) {
  testing::ServerOptions options;
  options.data_dir = folder;
  options.ready_within = absl::Seconds(120);
  return ServerProcess::Launch(std::move(options));
}

absl::Status WaitModels(ServerProcess* server) {
  ENGRAM_RETURN_IF_ERROR(server->WaitReady());
  for (const auto& [name, spec] : CrashModels()) ENGRAM_RETURN_IF_ERROR(server->WaitReady(name));
  return absl::OkStatus();
}

void StartProducers(Harness* harness) {
  std::vector<std::string> names;
  for (const auto& [model, spec] : CrashModels()) {
    names.push_back(model);
    for (int i = 0; i < 2; ++i) {
      ProducerOptions options;
      options.model = model;
      options.plan = {harness->seed, absl::StrCat(model, "-", i), i == 0};
      options.ledger_file =
          absl::StrCat(harness->scratch.path(), "/ledger.", options.plan.producer);
      options.examples_per_second = absl::GetFlag(FLAGS_examples_rate);
      harness->producers.push_back(
          std::make_unique<Producer>(std::move(options), &harness->addresses));
    }
  }
  harness->somebody = std::make_unique<Operator>(harness->seed, names, &harness->addresses);
}

// One life of the server. Every fifth is cut off while it recovers.
absl::Status LiveAndDie(Harness* harness, int cycle) {
  const uint64_t draw = testing::Mix(harness->seed + 0x517 + static_cast<uint64_t>(cycle));
  const bool while_recovering = cycle % 5 == 4;
  ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer(harness->data_dir));
  if (while_recovering) {
    ENGRAM_RETURN_IF_ERROR(server->WaitListening());
    harness->addresses.Set(server->grpc_address());
    absl::SleepFor(absl::Milliseconds(draw % 40));
    ++harness->killed_recovering;
  } else {
    ENGRAM_RETURN_IF_ERROR(WaitModels(server.get()));
    harness->addresses.Set(server->grpc_address());
    absl::SleepFor(absl::Milliseconds(50 + draw % 251));
  }
  server->Kill();
  harness->addresses.Set("");
  return absl::OkStatus();
}

using Ends = std::map<std::string, v1::Checkpoint>;

// The last life: everything is resent and acked, then the server stops in peace.
absl::StatusOr<Ends> LastLife(Harness* harness) {
  ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer(harness->data_dir));
  ENGRAM_RETURN_IF_ERROR(WaitModels(server.get()));
  harness->addresses.Set(server->grpc_address());
  absl::SleepFor(absl::Milliseconds(300));
  harness->somebody->Stop();
  for (const auto& producer : harness->producers) {
    if (!producer->Finish()) {
      return absl::InternalError(
          absl::StrCat(producer->options().plan.producer, " could not finish: ",
                       absl::StrJoin(producer->violations(), "; "), "\n", server->Output()));
    }
  }
  ENGRAM_ASSIGN_OR_RETURN(Ends ends, CheckpointTheEnd(*server));
  ENGRAM_ASSIGN_OR_RETURN(const int code, server->Drain());
  if (code != 0) return absl::InternalError(absl::StrCat("drain exited with ", code));
  return ends;
}

// The same log in a new folder, replayed from its start by a server that is never killed.
absl::StatusOr<std::pair<Ends, std::vector<StoredModel>>> Replay(
    Harness* harness, const std::string& name, const std::vector<ModelToWrite>& models) {
  const std::string folder = harness->scratch.Subfolder(name);
  ENGRAM_RETURN_IF_ERROR(WriteModels(folder, models));
  ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer(folder));
  ENGRAM_RETURN_IF_ERROR(WaitModels(server.get()));
  ENGRAM_ASSIGN_OR_RETURN(Ends ends, CheckpointTheEnd(*server));
  ENGRAM_ASSIGN_OR_RETURN(const int code, server->Drain());
  if (code != 0) return absl::InternalError(absl::StrCat("drain exited with ", code));
  std::map<std::string, std::string> ids;
  for (const auto& [model, checkpoint] : ends) ids[model] = checkpoint.id();
  ENGRAM_ASSIGN_OR_RETURN(auto stored, ReadModels(folder, ids));
  return std::make_pair(std::move(ends), std::move(stored));
}

std::vector<Testimony> Testimonies(const Harness& harness, const std::string& model) {
  std::vector<Testimony> out;
  for (const auto& producer : harness.producers) {
    if (producer->options().model != model) continue;
    out.push_back({producer->options().plan, Ledger::Read(producer->options().ledger_file)});
  }
  return out;
}

bool ReportVerdict(const Harness& harness, const StoredModel& model) {
  const auto rollbacks = harness.somebody->rollbacks();
  const auto mine = rollbacks.find(model.name);
  const std::vector<AnsweredRollback> answered =
      mine == rollbacks.end() ? std::vector<AnsweredRollback>{} : mine->second;
  const auto testimonies = Testimonies(harness, model.name);
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

// The judge itself: it must find one record taken away and one doubled.
bool JudgeNotices(const Harness& harness, const StoredModel& model) {
  const auto testimonies = Testimonies(harness, model.name);
  auto fewer = model.records;
  fewer.pop_back();
  while (!fewer.empty() && fewer.back().kind != 1) fewer.pop_back();
  if (!fewer.empty()) fewer.pop_back();
  auto more = model.records;
  more.push_back(model.records.front());
  const bool lost = Judge(fewer, testimonies, {}).lost > 0;
  const bool twice = Judge(more, testimonies, {}).twice > 0;
  std::printf("canary %s: a record taken away is %s, a record doubled is %s\n", model.name.c_str(),
              lost ? "found" : "NOT FOUND", twice ? "found" : "NOT FOUND");
  return lost && twice;
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

// Replays `copies` and compares every model's end with the one it lived to.
absl::StatusOr<bool> SameAfterReplay(Harness* harness, const std::string& name,
                                     const std::vector<ModelToWrite>& copies, const Ends& ends,
                                     const std::vector<StoredModel>& stored) {
  std::printf("%s:\n", name.c_str());
  ENGRAM_ASSIGN_OR_RETURN(const auto replayed, Replay(harness, name, copies));
  bool good = replayed.second.size() == stored.size();
  for (size_t i = 0; i < stored.size() && i < replayed.second.size(); ++i) {
    const std::string& model = stored[i].name;
    good = Same(model, ends.at(model), replayed.first.at(model), stored[i], replayed.second[i]) &&
           good;
  }
  return good;
}

absl::StatusOr<bool> CompareWithReplay(Harness* harness, const Ends& ends,
                                       const std::vector<StoredModel>& stored) {
  std::vector<ModelToWrite> whole;
  std::vector<ModelToWrite> standing;
  for (const StoredModel& model : stored) {
    whole.push_back({model.name, model.spec, Everything(model.records)});
    standing.push_back({model.name, model.spec, WithoutDropped(model.records)});
  }
  ENGRAM_ASSIGN_OR_RETURN(const bool same,
                          SameAfterReplay(harness, "whole-log", whole, ends, stored));
  ENGRAM_ASSIGN_OR_RETURN(const bool same_without,
                          SameAfterReplay(harness, "without-dropped", standing, ends, stored));
  // The comparison itself: one altered record must show.
  bool altered_one = false;
  for (ModelToWrite& copy : standing) {
    if (copy.name == "replay-ewc") altered_one = AlterOneExample(&copy.records);
  }
  ENGRAM_ASSIGN_OR_RETURN(const auto altered, Replay(harness, "altered", standing));
  const bool noticed = altered.first.at("replay-ewc").sha256() != ends.at("replay-ewc").sha256() &&
                       altered.first.at("plain").sha256() == ends.at("plain").sha256();
  std::printf("canary: one altered example %s\n", noticed ? "changes the weights" : "NOT NOTICED");
  return same && same_without && altered_one && noticed;
}

absl::StatusOr<bool> Run(Harness* harness) {
  harness->data_dir = harness->scratch.Subfolder("server");
  {
    ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer(harness->data_dir));
    ENGRAM_RETURN_IF_ERROR(server->WaitReady());
    ENGRAM_RETURN_IF_ERROR(CreateModels(*server));
  }
  StartProducers(harness);
  const absl::Time began = absl::Now();
  const int cycles = absl::GetFlag(FLAGS_cycles);
  for (int i = 0; i < cycles; ++i) ENGRAM_RETURN_IF_ERROR(LiveAndDie(harness, i));
  ENGRAM_ASSIGN_OR_RETURN(const Ends ends, LastLife(harness));
  std::printf("%d kills (%d while recovering) in %.1f s, %d checkpoints\n", cycles,
              harness->killed_recovering, absl::ToDoubleSeconds(absl::Now() - began),
              harness->somebody->checkpoints());
  bool good = true;
  for (const auto& producer : harness->producers) {
    std::printf("%s: %lu streams, %lu repeats recognised\n",
                producer->options().plan.producer.c_str(), producer->streams(),
                producer->duplicates());
    for (const auto& violation : producer->violations()) {
      std::printf("  %s\n", violation.c_str());
      good = false;
    }
  }
  std::map<std::string, std::string> ids;
  for (const auto& [model, checkpoint] : ends) ids[model] = checkpoint.id();
  ENGRAM_ASSIGN_OR_RETURN(const auto stored, ReadModels(harness->data_dir, ids));
  for (const StoredModel& model : stored) {
    good = ReportVerdict(*harness, model) && good;
    good = JudgeNotices(*harness, model) && good;
  }
  ENGRAM_ASSIGN_OR_RETURN(const bool identical, CompareWithReplay(harness, ends, stored));
  return good && identical;
}

int Main() {
  Harness harness;
  harness.seed = absl::GetFlag(FLAGS_seed);
  absl::BitGen random;
  if (harness.seed == 0) harness.seed = absl::Uniform<uint64_t>(random, 1, 1u << 31);
  std::printf("kill9 --seed=%lu --cycles=%d\n", harness.seed, absl::GetFlag(FLAGS_cycles));
  std::fflush(stdout);
  if (absl::GetFlag(FLAGS_keep)) {
    harness.scratch.Keep();
    std::printf("folders: %s\n", harness.scratch.path().c_str());
  }
  const auto good = Run(&harness);
  if (!good.ok()) std::cout << good.status() << "\n";
  const bool passed = good.ok() && *good;
  std::printf("%s (seed %lu)\n", passed ? "PASSED" : "FAILED", harness.seed);
  std::fflush(stdout);
  return passed ? 0 : 1;
}

}  // namespace
}  // namespace engram::crash

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  return engram::crash::Main();
}
