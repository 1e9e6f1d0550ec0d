#include "server/memory_return.h"

#include <malloc.h>

namespace engram::server {
namespace {

constexpr uint64_t kFloodBytes = 64 << 20;        // less leaves nothing worth a lock
constexpr uint64_t kQuietBytesASecond = 1 << 20;  // a trickle leaves the allocator idle as well
constexpr int kQuietSeconds = 5;
// Again, once what waited is learned and whoever sent it is gone. Without a flood it costs little.
constexpr int kLongQuietSeconds = 60;
constexpr int kLongestQuietSeconds = 600;

}  // namespace

bool MemoryReturn::IsDue(uint64_t committed_bytes) {
  quiet_seconds_ = committed_bytes - last_ < kQuietBytesASecond ? quiet_seconds_ + 1 : 0;
  last_ = committed_bytes;
  if (quiet_seconds_ >= kQuietSeconds && committed_bytes - returned_at_ >= kFloodBytes) {
    returned_at_ = committed_bytes;
    return true;
  }
  return quiet_seconds_ == kLongQuietSeconds || quiet_seconds_ == kLongestQuietSeconds;
}

void ReturnFreeMemory() { malloc_trim(0); }

}  // namespace engram::server
