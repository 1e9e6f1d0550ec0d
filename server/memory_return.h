// Gives memory back to the system once a flood is over. The allocator keeps what was freed below
// what is still in use, for good: a third of the process after a flood of large messages. A moment
// without learning is waited for, because the allocator is locked, part by part, for the 0.2 s
// that it takes after such a flood.
//
// Threading: one thread at a time. Failure: none. Bounds: none.
#pragma once

#include <cstdint>

namespace engram::server {

class MemoryReturn {
 public:
  // Asked once a second, with the bytes that the log has taken since start. True: now.
  bool IsDue(uint64_t committed_bytes);

 private:
  uint64_t last_ = 0;
  uint64_t returned_at_ = 0;
  int quiet_seconds_ = 0;
};

// To the system, what the allocator has no use for.
void ReturnFreeMemory();

}  // namespace engram::server
