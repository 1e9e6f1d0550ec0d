// A store that a real engramd made and that was stopped by SIGKILL, what its producers were told,
// and the opening of damaged copies of it.
//
// Threading: one thread, the main one (see subprocess.h). Failure: the first step that fails.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/crash/oracle.h"
#include "tests/testing/process/scratch_folder.h"

namespace engram::crash {

// What one producer sent and was told. `old` was acked at least a second before the server died.
struct Told {
  std::string model;
  MessagePlan plan;
  uint64_t acked = 0;
  uint64_t old = 0;
};

struct MadeStore {
  std::string folder;
  std::vector<Told> told;
  // SHA-256 of each model's tensors at the end of its log, by a server on an undamaged copy.
  std::map<std::string, std::string> weights;
  // Of the model "plain", by id; oldest first.
  std::vector<std::string> checkpoints;
};

// Three lives: tables, a manifest with edits, a write-ahead log, checkpoints. Everything is old.
absl::StatusOr<MadeStore> MakeStore(const testing::ScratchFolder& scratch, uint64_t seed);
// A fourth life on a copy, killed right after an ack.
absl::StatusOr<MadeStore> MakeYoungStore(const testing::ScratchFolder& scratch,
                                         const MadeStore& base, int turn);

absl::Status CopyFolder(const std::string& from, const std::string& to);
// Every file but locks, by path.
std::map<std::string, std::string> Contents(const std::string& folder);

// How an opening went.
struct Opening {
  bool served = false;
  int exit_code = 0;    // where it did not serve
  std::string words;    // what the server printed, or what was found
  bool untouched = false;
  int64_t old_lost = 0;    // examples that were acked at least a second before
  int64_t young_lost = 0;  // acked later
  bool told_at_hello = false;  // some producer's hello was DATA_LOSS
  bool same_weights = false;
};

// Starts a server (`binary` empty: engramd) on the folder; where it serves, asks it and reads its
// store after a drain.
absl::StatusOr<Opening> OpenDamaged(const MadeStore& store, const std::string& folder,
                                    const std::string& binary);

}  // namespace engram::crash
