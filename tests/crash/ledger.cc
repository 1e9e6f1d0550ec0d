#include "tests/crash/ledger.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"

namespace engram::crash {

Ledger::Ledger(std::string file)
    : file_(open(file.c_str(), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600)) {
  ENGRAM_CHECK(file_ >= 0);
}

Ledger::~Ledger() { close(file_); }

void Ledger::Append(char what, uint64_t sequence) {
  const std::string line = absl::StrCat(std::string(1, what), " ", sequence, "\n");
  ENGRAM_CHECK(write(file_, line.data(), line.size()) == static_cast<ssize_t>(line.size()));
}

void Ledger::Sent(uint64_t sequence) { Append('S', sequence); }

void Ledger::Rejected(uint64_t sequence) { Append('R', sequence); }

void Ledger::Acked(uint64_t sequence) {
  Append('A', sequence);
  base::MutexLock lock(&mutex_);
  last_acked_ = std::max(last_acked_, sequence);
}

uint64_t Ledger::last_acked() const {
  base::MutexLock lock(&mutex_);
  return last_acked_;
}

LedgerEntries Ledger::Read(const std::string& file) {
  LedgerEntries entries;
  std::ifstream in(file);
  char what = 0;
  for (uint64_t sequence = 0; in >> what >> sequence;) {
    if (what == 'A') entries.last_acked = std::max(entries.last_acked, sequence);
    if (what == 'R') entries.rejected.insert(sequence);
    if (what != 'S') continue;
    if (sequence <= entries.last_sent) entries.resent.insert(sequence);
    entries.last_sent = std::max(entries.last_sent, sequence);
  }
  return entries;
}

}  // namespace engram::crash
