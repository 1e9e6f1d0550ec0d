// What a producer knows about its own messages, written to a file of its own before and after each
// fact: the oracle of the crash test. The server never sees it.
//
// Threading: Sent, Acked and Rejected from any thread.
// Failure: CHECK-fails when its own file cannot be written.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "storage/base/mutex.h"

namespace engram::crash {

// The ledger read back.
struct LedgerEntries {
  uint64_t last_sent = 0;
  uint64_t last_acked = 0;
  // Sent more than once: an earlier answer may have been lost with a server.
  std::set<uint64_t> resent;
  std::set<uint64_t> rejected;
};

class Ledger {
 public:
  explicit Ledger(std::string file);
  ~Ledger();
  Ledger(const Ledger&) = delete;
  Ledger& operator=(const Ledger&) = delete;

  // Before the message leaves.
  void Sent(uint64_t sequence);
  // After the ack came: everything up to it.
  void Acked(uint64_t sequence);
  void Rejected(uint64_t sequence);

  uint64_t last_acked() const;

  static LedgerEntries Read(const std::string& file);

 private:
  void Append(char what, uint64_t sequence);

  const int file_;
  mutable base::Mutex mutex_;
  uint64_t last_acked_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace engram::crash
