// Identities that every store shares. A model uid is never used again after its model is deleted.
#pragma once

#include <cstdint>
#include <string>

namespace engram::storage {

using ModelUid = uint64_t;
// Position in a model's log, from 1 without gaps. 0 = before the first record.
using Sequence = uint64_t;

// Identity of one exemplar's payload in a model's episodic memory.
struct ExemplarKey {
  uint32_t memory = 0;
  Sequence sequence = 0;
  uint32_t revision = 0;
  friend bool operator==(const ExemplarKey& a, const ExemplarKey& b) {
    return a.memory == b.memory && a.sequence == b.sequence && a.revision == b.revision;
  }
  friend bool operator<(const ExemplarKey& a, const ExemplarKey& b) {
    if (a.memory != b.memory) return a.memory < b.memory;
    if (a.sequence != b.sequence) return a.sequence < b.sequence;
    return a.revision < b.revision;
  }
};

}  // namespace engram::storage
