// What every harness that lets a server die again and again has in common: two models, four
// producers with ledgers, somebody who takes checkpoints and rolls back; in the end the judgement
// of the stored log, and the comparison with servers that replay it and never died.
//
// Threading: one thread; producers and operator have their own.
// Ownership: owns the scratch folder and everything in it.
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
#include "tests/crash/operator.h"
#include "tests/crash/oracle.h"
#include "tests/crash/producer.h"
#include "tests/crash/stored_models.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"

namespace engram::crash {

// By model: its checkpoint at the end of its log.
using Ends = std::map<std::string, engram::v1::Checkpoint>;

struct CrashRunOptions {
  uint64_t seed = 0;  // 0: one is drawn
  double examples_per_second = 3000;
  std::string binary = {};  // of the server that dies; empty: engramd
  bool keep = false;        // the folders, to look at a failure
};

class CrashRun {
 public:
  explicit CrashRun(const CrashRunOptions& options);

  uint64_t seed() const { return seed_; }
  const testing::ScratchFolder& scratch() const { return scratch_; }
  const std::string& data_dir() const { return data_dir_; }
  Operator& somebody() { return *somebody_; }

  // A first life that makes the models; then the producers begin.
  absl::Status Begin();
  // Of the lives to come.
  void SetEnvironment(std::vector<std::string> environment) {
    environment_ = std::move(environment);
  }
  absl::StatusOr<std::unique_ptr<testing::ServerProcess>> Launch() const;
  static absl::Status WaitModels(testing::ServerProcess* server);
  // Where producers and operator find the server from now on; null: nowhere.
  void Announce(const testing::ServerProcess* server);

  // Lives until one breaks a promise: `live` gets the number of the life. False when one did.
  absl::StatusOr<bool> Live(int lives, const std::function<absl::Status(int)>& live);
  // The last life: everything is resent and acked, then the server stops in peace.
  absl::StatusOr<Ends> LastLife();
  // What producers were told that must never be told; empty when nothing.
  std::vector<std::string> Violations() const;
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
  using Replayed = std::pair<Ends, std::vector<StoredModel>>;

  absl::StatusOr<Replayed> Replay(const std::string& name, const std::vector<ModelToWrite>& models);
  absl::StatusOr<bool> SameAfterReplay(const std::string& name,
                                       const std::vector<ModelToWrite>& copies, const Ends& ends,
                                       const std::vector<StoredModel>& stored);
  void StartProducers();
  std::vector<Testimony> Testimonies(const std::string& model) const;
  bool ReportVerdict(const StoredModel& model) const;
  bool JudgeNotices(const StoredModel& model) const;

  const CrashRunOptions options_;
  const uint64_t seed_;
  testing::ScratchFolder scratch_;
  const std::string data_dir_;
  std::vector<std::string> environment_;
  AddressBook addresses_;
  std::vector<std::unique_ptr<Producer>> producers_;
  std::unique_ptr<Operator> somebody_;
};

// Prints PASSED or FAILED with the seed; the exit code of the program. With a planted bug the run
// passes when it has shown a broken promise, or a server that refused what was left of its store.
int Conclude(const char* program, const CrashRun& run, const std::string& planted,
             const absl::StatusOr<bool>& good);

}  // namespace engram::crash
