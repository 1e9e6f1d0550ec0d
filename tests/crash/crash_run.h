// What every harness that lets a server die again and again has in common: two models, four
// producers with ledgers, somebody who takes checkpoints and rolls back; in the end the judgement
// of the stored log, and the comparison with servers that replay it and never died.
//
// Threading: one thread; producers and operator have their own.
// Ownership: the scratch folder outlives it.
// Failure: statuses for what made the run impossible; broken promises are printed and counted.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/crash/final_state.h"
#include "tests/crash/oracle.h"
#include "tests/crash/party.h"
#include "tests/crash/stored_models.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"

namespace engram::crash {

// By model: its checkpoint at the end of its log.
using Ends = std::map<std::string, engram::v1::Checkpoint>;

using Rollbacks = std::map<std::string, std::vector<AnsweredRollback>>;  // by model
// What a server made of logs: its ends, and what it stored.
using Replayed = std::pair<Ends, std::vector<StoredModel>>;

// Prints what the ledgers say of a model's stored log; true when no promise is broken.
bool ReportVerdict(const StoredModel& model, const std::vector<Testimony>& testimonies,
                   const Rollbacks& rollbacks);
std::vector<ModelToWrite> WholeLogs(const std::vector<StoredModel>& stored);
// The logs in a new folder, replayed from their start by a server that is never killed.
absl::StatusOr<Replayed> Replay(const std::string& folder, const std::vector<ModelToWrite>& models);

struct CrashRunOptions {
  double examples_per_second = 3000;
  std::string binary = {};  // of the server that dies; empty: engramd
};

class CrashRun {
 public:
  CrashRun(const testing::ScratchFolder& scratch, uint64_t seed, const CrashRunOptions& options);

  uint64_t seed() const { return seed_; }
  const std::string& data_dir() const { return data_dir_; }

  // A first life that makes the models; then the producers begin.
  absl::Status Begin();
  // Of the lives to come.
  void SetEnvironment(std::vector<std::string> environment) {
    environment_ = std::move(environment);
  }
  absl::StatusOr<std::unique_ptr<testing::ServerProcess>> Launch() const;
  static absl::Status WaitModels(testing::ServerProcess* server);
  // Where producers and operator find the server from now on; null: nowhere.
  void Announce(const testing::ServerProcess* server) { party_.Announce(server); }
  // One life, killed at a moment that `draw` decides; every fifth while it recovers. INTERNAL when
  // many lives in a row acked nothing: a server that never gets on proves nothing.
  absl::Status LiveAndBeKilled(int life, uint64_t draw);

  // Lives until one breaks a promise: `live` gets the number of the life. False when one did.
  absl::StatusOr<bool> Live(int lives, const std::function<absl::Status(int)>& live);
  // The last life: everything is resent and acked, then the server stops in peace.
  absl::StatusOr<Ends> LastLife();
  std::vector<std::string> Violations() const { return party_.Violations(); }
  // Lines of the server's own log that tell of damage.
  std::vector<std::string> Complaints() const;

  // Prints what the ledgers say of each model's stored log, and whether the judge can still tell.
  bool Judge(const std::vector<StoredModel>& stored) const;
  absl::StatusOr<std::vector<StoredModel>> ReadStored(const Ends& ends) const;
  // Replays the whole log, the log without what was dropped, and an altered one.
  absl::StatusOr<bool> CompareWithReplay(const Ends& ends, const std::vector<StoredModel>& stored);
  // One replay of the whole log.
  absl::StatusOr<bool> CompareWithWhole(const Ends& ends, const std::vector<StoredModel>& stored);

 private:
  absl::Status JudgeProgress();
  absl::StatusOr<bool> SameAfterReplay(const std::string& name,
                                       const std::vector<ModelToWrite>& copies, const Ends& ends,
                                       const std::vector<StoredModel>& stored);
  bool JudgeNotices(const StoredModel& model) const;

  const testing::ScratchFolder& scratch_;
  const uint64_t seed_;
  const CrashRunOptions options_;
  const std::string data_dir_;
  std::vector<std::string> environment_;
  Party party_;
  uint64_t acked_ = 0;  // messages, of all producers
  int idle_lives_ = 0;  // in a row, that acked nothing
};

// How a run went. With a planted bug it is well if it has shown a broken promise, or a server that
// refused what was left of its store or of a model's log.
absl::StatusOr<bool> Conclude(const CrashRun& run, const std::string& planted,
                              const absl::StatusOr<bool>& good);

}  // namespace engram::crash
