// What a test and the shim in the server under test (fault_shim.cc) share: a page of memory in the
// file `control` of a fault box's folder.
//
// Threading: atomics; any thread of either process. Bounds: one page. Both sides are of one build.
#pragma once

#include <atomic>
#include <cstdint>

namespace engram::testing {

// Calls that touch what lies in the tracked folder, by what they ask of the disk.
enum class IoCall : int32_t { kOpen, kRead, kWrite, kSync, kRename, kUnlink, kMakeFolder, kCount };

constexpr int kIoCalls = static_cast<int>(IoCall::kCount);
// In place of an errno: the process is killed before the call.
constexpr int32_t kKillInstead = -1;

struct FaultControl {
  char folder[1024];  // the tracked folder, absolute
  // The call that is to fail: number `at` of its kind, from 1, counted from the start of the
  // process; `sticky`: and all after it. at 0: none.
  std::atomic<int32_t> call;
  std::atomic<int64_t> at;
  std::atomic<int32_t> error;  // errno, or kKillInstead
  std::atomic<int32_t> sticky;
  std::atomic<int64_t> failed;  // so many did
  std::atomic<int64_t> calls[kIoCalls];
  // Free bytes of a disk that is only played; -1: the real one.
  std::atomic<int64_t> free_bytes;
  // Keeps the journal that a power loss is played from.
  std::atomic<int32_t> keep_journal;
  std::atomic<int64_t> journal_records;
};

static_assert(sizeof(FaultControl) <= 4096, "one page");

}  // namespace engram::testing
