// A memory of ranked exemplars, an equal share for every group: a class, or a class of one task
// where outputs are per task (Rebuffi et al. 2017, algorithms 4 and 5).
//
// Until a group is herded it keeps the examples of highest priority (priority_key.h), a uniform
// sample of its stream, so that it has a prototype before the first boundary and without any.
// Replace then gives it a ranking. Shares shrink as groups come; a group gives up its tail.
//
// Below a max_sender_share of 1, a sender has at most that share of the capacity: an equal part for
// each of the groups that it has exemplars in, and where it has its part of a group it competes
// with its own there only. Parts shrink as a sender comes to other groups, as the shares of groups
// do.
//
// Threading: one thread. What an exemplar points at never changes: snapshots share it.
// Ownership: features are shared with whoever copied an exemplar.
// Failure: Create RESOURCE_EXHAUSTED beyond kExemplarBytesMax. Restore DATA_LOSS, state unchanged.
// Bounds: capacity x (4 x feature_count + kHerdedOverheadBytes) bytes, and what snapshots still
// hold.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "strategies/api/learner.h"
#include "strategies/memory/exemplar_memory.h"
#include "strategies/memory/sender_share.h"

namespace engram::strategies {

// The exemplar itself and the block that counts who shares its features.
constexpr int64_t kHerdedOverheadBytes = 40 + 32;

struct HerdedMemoryOptions {
  int64_t capacity = 0;       // K, >= 1
  int64_t per_group = 0;      // most of one group; 0: K / groups
  int64_t feature_count = 0;  // d
  bool by_task = false;       // a class of another task is another group
  uint64_t seed = 0;
  uint32_t memory = 0;          // MemberKey::memory
  double max_sender_share = 1;  // of the capacity, in (0, 1]; 1: no cap
};

struct HerdedExemplar {
  std::shared_ptr<const float[]> features;
  int32_t class_index = 0;
  int32_t task = 0;
  uint64_t sequence = 0;
  uint64_t sender = 0;
};

class HerdedMemory {
 public:
  struct Group {
    int32_t task = 0;  // of its first example
    int32_t class_index = 0;
    bool herded = false;
    std::vector<HerdedExemplar> exemplars;  // best first
  };

  static absl::StatusOr<std::unique_ptr<HerdedMemory>> Create(const HerdedMemoryOptions& options);

  // Opens the example's group if it has none; keeps the example if that is not herded yet and the
  // priority is high enough. A sequence is offered once.
  void Offer(const ExemplarView& example);

  // In the order in which they were opened.
  const std::vector<Group>& groups() const { return groups_; }
  // The index of the group of this class and task, -1 when there is none.
  int64_t Find(int32_t task, int32_t class_index) const;
  // How many exemplars a group may keep.
  int64_t Quota(int64_t group) const;
  // How many of them may be of one sender.
  int64_t SenderQuota(uint64_t sender, int64_t group) const;
  // Takes over a ranking, best first, of examples of the group; those beyond its quota, or their
  // sender's, are left.
  void Replace(int64_t group, std::vector<HerdedExemplar> ranked);

  const HerdedMemoryOptions& options() const { return options_; }
  int64_t size() const;
  // Exemplars numbered group by group, best first.
  const HerdedExemplar& At(int64_t index) const;

  int64_t Bytes() const { return size() * (4 * options_.feature_count + kHerdedOverheadBytes); }
  void CountByTask(std::vector<int64_t>* counts) const;
  void CountByClass(std::vector<int64_t>* counts) const;

  // State: four numbers a group, and the members in the order of At.
  std::vector<int64_t> GroupState() const;
  std::vector<MemberKey> Members() const;
  std::string Payload(int64_t index) const;
  absl::Status Restore(absl::Span<const MemberPayload> payloads,
                       absl::Span<const int64_t> group_state);

  // The same exemplar, on its own.
  HerdedExemplar Copy(const ExemplarView& example) const;

 private:
  explicit HerdedMemory(const HerdedMemoryOptions& options) : options_(options) {}

  bool Outranks(uint64_t sequence_a, uint64_t sequence_b) const;
  bool caps_senders() const { return CapsSenders(options_.max_sender_share); }
  int64_t sender_cap() const { return SenderCap(options_.max_sender_share, options_.capacity); }
  bool MakeWay(const ExemplarView& example, int64_t group);
  void Count(const HerdedExemplar& exemplar, int64_t group);
  void Uncount(const HerdedExemplar& exemplar, int64_t group);
  void DropTail(int64_t group, int64_t quota);
  void ShrinkParts(uint64_t sender);
  absl::StatusOr<HerdedExemplar> Parse(const MemberPayload& payload, const Group& group) const;

  HerdedMemoryOptions options_;
  std::vector<Group> groups_;
  // Where senders are capped: how many exemplars one has in each group that it has any in.
  absl::flat_hash_map<uint64_t, absl::btree_map<int64_t, int64_t>> held_;
};

}  // namespace engram::strategies
