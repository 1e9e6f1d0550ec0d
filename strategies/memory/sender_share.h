// How much of a memory one sender may have, so that whoever sends a hundred times as much as the
// others cannot own it. A sender is a number (BatchView::senders).
//
// Threading: one thread at a time. Failure: none.
// Bounds: SenderRanks one entry for each exemplar and each sender that has any.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/types/span.h"

namespace engram::strategies {

// A share of 1 is no cap.
inline bool CapsSenders(double share) { return share < 1; }

// Most exemplars of one sender in a memory of `capacity`: its share, at least one.
int64_t SenderCap(double share, int64_t capacity);

// `cap` over `groups` of them, the remainder one each to the first.
int64_t EqualPart(int64_t cap, int64_t groups, int64_t group);

// The order in which examples, `senders` of them best first, are taken so that of the first n no
// sender has more than SenderCap(share, n), as long as others are left; else the best first.
std::vector<int64_t> SpreadSenders(absl::Span<const uint64_t> senders, double share);

// An exemplar among others: the higher stays.
struct Ranked {
  uint64_t key = 0;
  uint64_t sequence = 0;
  int32_t slot = 0;
  friend bool operator<(const Ranked& a, const Ranked& b) {
    return std::make_pair(a.key, a.sequence) < std::make_pair(b.key, b.sequence);
  }
};

// Each sender's exemplars of each group of a memory, lowest first.
class SenderRanks {
 public:
  explicit SenderRanks(int64_t cap) : cap_(cap) {}

  void Clear() { senders_.clear(); }
  void Add(uint64_t sender, size_t group, const Ranked& exemplar);
  void Remove(uint64_t sender, size_t group, const Ranked& exemplar);

  int64_t cap() const { return cap_; }
  bool AtCap(uint64_t sender) const;

  // Which of its own exemplars a sender at its cap may give for `offered`.
  struct Place {
    size_t group = 0;
    Ranked exemplar;
    bool must_outrank = true;  // only if `offered` is the higher
  };
  // The lowest of its own in `group`, unless that may grow and another has at least two more: then
  // the lowest of the largest, so that what a sender sends late has a place. A group that it has
  // none in, where each of its others has one, competes with the lowest of all. False: none.
  bool FindPlace(uint64_t sender, size_t group, bool group_may_grow, Place* place) const;

 private:
  struct Sender {
    int64_t count = 0;
    absl::btree_map<size_t, absl::btree_set<Ranked>> groups;  // none is empty
  };

  int64_t cap_;
  absl::flat_hash_map<uint64_t, Sender> senders_;  // none has no exemplar
};

}  // namespace engram::strategies
