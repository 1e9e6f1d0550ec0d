// The folder that a test shares with the shim in a server: which call is to fail, how full the disk
// is said to be, and the journal that a power loss is played from.
//
// Threading: any thread; no process may be under the shim in BeginJournal and LosePower.
// Ownership: the box's folder and the tracked one outlive it.
// Failure: CHECK-fails when its own files cannot be made or read: a test can do nothing without.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "tests/testing/faults/fault_control.h"

namespace engram::testing {

// What a power loss leaves of what was not durable.
struct PowerLoss {
  // Names that came, went or moved and bytes that were appended are all lost when 0; else a random
  // number of the former, in order, and a random part of the latter survive.
  uint64_t seed = 0;
};

struct PowerLossReport {
  int names_undone = 0;
  int files_cut = 0;
  int64_t bytes_lost = 0;
};

class FaultBox {
 public:
  // Both folders exist, on one file system.
  FaultBox(std::string box, const std::string& tracked);
  ~FaultBox();
  FaultBox(const FaultBox&) = delete;
  FaultBox& operator=(const FaultBox&) = delete;

  // Entries for the environment of the process to be watched.
  std::vector<std::string> Environment() const;

  // Call number `at` of its kind fails, from the start of the next process.
  void FailCall(IoCall call, int64_t at, int32_t error, bool sticky);
  void FailNothing();
  int64_t failed() const { return control_->failed.load(); }
  int64_t calls(IoCall call) const { return control_->calls[static_cast<int>(call)].load(); }
  void ResetCounts();

  void PlayFreeBytes(int64_t bytes) { control_->free_bytes.store(bytes); }

  // Takes what lies in the tracked folder now for durable, and keeps a journal from here on.
  void BeginJournal();
  // Undoes what the journal does not show to be durable.
  PowerLossReport LosePower(const PowerLoss& loss);

 private:
  const std::string box_;
  const std::string tracked_;
  FaultControl* control_ = nullptr;
  std::map<uint64_t, int64_t> durable_sizes_;  // by inode, when the journal began
};

}  // namespace engram::testing
