// A bounded memory of past examples, and the law by which examples stay in it.
//
// Every example offered gets a priority (priority_key.h); a memory keeps those of highest
// priority. Kept is therefore a deterministic function of the log, resizable and mergeable, with
// the law of Vitter's reservoir (1985, algorithm R): each of the n offered stays with chance M/n.
//   kReservoir      the top M of all examples.
//   kClassBalanced  the top q_c of each class; q_c = M / classes seen, the remainder given one each
//                   to the classes seen first. A class may use room that others leave free; when
//                   the memory is full it gives back its lowest. Quotas only shrink, so what is
//                   kept of a class is always its top, and a class that leaves and returns has to
//                   beat the priorities of its own past: it is not over-admitted.
//   kClassRing,     the newest ring_size of each class, or of each task: the oldest goes first
//   kTaskRing       (Chaudhry 2019's ring buffer). Once M is full a share of it, as above.
// A distinct memory keeps one of equal examples, the first: its priorities are hashes of what is
// stored, so one that was let go and comes again is let go again, and what is kept is a uniform
// sample of the different examples. Two that differ may share a hash, once in 2^64 pairs; the later
// is then taken for a repeat.
//
// Below a max_sender_share of 1, a sender has at most that share of the capacity, full or not, and
// one that has it competes with its own exemplars only. A reservoir then keeps the top M of what is
// left when of each sender all but its top C are struck out: still a function of what was offered,
// in whatever order, and of each sender a uniform sample. The other policies let a sender at its
// cap give the lowest of the class it has most of for one that it has fewer of (SenderRanks), so of
// a sender and class they keep the top but for what came while its place was another's.
//
// Threading: one thread at a time.
// Ownership: owns its arrays; At() is valid until the next Offer, Clear or Restore, and where
//   features are packed until the next At.
// Failure: Create RESOURCE_EXHAUSTED beyond kExemplarBytesMax, or where bytes_max holds not even
//   one exemplar. Restore DATA_LOSS, state unchanged. Offer ignores an example whose features the
//   storage cannot hold.
// Bounds: BytesMax(), reserved at Create (side values as they come), touched as examples are kept.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "strategies/api/learner.h"
#include "strategies/memory/exemplar_payload.h"
#include "strategies/memory/feature_storage.h"
#include "strategies/memory/sender_share.h"

namespace engram::strategies {

enum class AdmissionPolicy { kReservoir, kClassBalanced, kClassRing, kTaskRing };

// class, task, sequence, key, entry of the group's heap, entry of the shuffle.
constexpr int64_t kExemplarOverheadBytes = 4 + 4 + 8 + 8 + 4 + 8;
// Entry of the set of keys, in a distinct memory.
constexpr int64_t kDistinctOverheadBytes = 16;
// Sender, places in the order of the group and of the sender, where senders are capped.
constexpr int64_t kSenderOverheadBytes = 192;
constexpr int64_t kExemplarBytesMax = int64_t{16} << 30;

struct ExemplarMemoryOptions {
  int64_t capacity = 0;       // M, >= 1
  int64_t feature_count = 0;  // d
  AdmissionPolicy policy = AdmissionPolicy::kReservoir;
  uint64_t seed = 0;
  uint32_t memory = 0;  // MemberKey::memory
  FeatureStorage storage = FeatureStorage::kFloat32;
  int64_t ring_size = 0;        // kClassRing and kTaskRing, >= 1
  int64_t bytes_max = 0;        // lowers the capacity to what fits; 0: capacity alone
  int64_t side_values_max = 0;  // of ExemplarView::side, the first so many are kept
  bool distinct = false;        // kReservoir alone
  double max_sender_share = 1;  // of the capacity, in (0, 1]; 1: no cap
};

class ExemplarMemory {
 public:
  static absl::StatusOr<std::unique_ptr<ExemplarMemory>> Create(
      const ExemplarMemoryOptions& options);

  // Keeps the example if its priority is high enough, in place of the one it outranks. A sequence
  // is offered once; of what a distinct memory holds already nothing more is kept.
  void Offer(const ExemplarView& example);

  // Back to the state of Create.
  void Clear();

  // Chooses `count` slots by `random` (uniform 64-bit words): distinct ones, or with replacement
  // when `count` exceeds size(). An empty memory gives none.
  void Draw(int64_t count, absl::FunctionRef<uint64_t()> random, std::vector<int64_t>* slots);

  int64_t size() const { return static_cast<int64_t>(sequences_.size()); }
  const ExemplarMemoryOptions& options() const { return options_; }
  ExemplarView At(int64_t slot) const;
  absl::Span<const float> Side(int64_t slot) const;

  // Bytes in use now, and the most they can become.
  int64_t Bytes() const;
  int64_t BytesMax() const;

  // Adds to counts[task] the exemplars of each task, to counts[class] those of each class, growing
  // the vector as needed.
  void CountByTask(std::vector<int64_t>* counts) const;
  void CountByClass(std::vector<int64_t>* counts) const;

  // State: members in slot order (the order matters to draws), one payload for each, and the
  // classes (kTaskRing: tasks) in the order in which they were first offered.
  std::vector<MemberKey> Members() const;
  std::string Payload(int64_t slot) const;
  const std::vector<int32_t>& class_order() const { return class_order_; }

  // Replaces the state by a saved one. `payloads` are the members, in order.
  absl::Status Restore(absl::Span<const MemberPayload> payloads,
                       absl::Span<const int32_t> class_order);

 private:
  // Slots that compete with each other: a heap with the lowest priority on top, or, where senders
  // are capped and any may have to go, an order with the lowest first.
  struct Group {
    std::vector<int32_t> heap;
    absl::btree_set<Ranked> order;
    int64_t size() const { return static_cast<int64_t>(heap.size() + order.size()); }
  };

  explicit ExemplarMemory(const ExemplarMemoryOptions& options);

  bool is_ring() const;
  uint64_t KeyOf(const ExemplarView& example);
  size_t GroupOf(const ExemplarView& example);
  size_t AddGroup(int32_t class_or_task);
  bool HasRoom(size_t group) const;
  int64_t Quota(size_t group) const;
  size_t GroupFurthestOverQuota() const;
  bool Outranks(int32_t slot_a, int32_t slot_b) const;
  Ranked RankOf(int32_t slot) const { return {keys_[slot], sequences_[slot], slot}; }
  Ranked Lowest(size_t group) const;
  void OfferAtCap(const ExemplarView& example, uint64_t key, size_t group);
  int32_t RemoveLowest(size_t group);
  int32_t RemoveRanked(Ranked exemplar, size_t group);
  absl::Status CheckForm(const ExemplarPayload& exemplar, uint64_t sequence) const;
  void Place(const ExemplarView& example, uint64_t key, int32_t slot, size_t group);
  void PlaceSide(absl::Span<const float> side, int32_t slot);

  ExemplarMemoryOptions options_;
  int64_t row_bytes_;                    // packed features of one exemplar
  std::unique_ptr<uint8_t[]> features_;  // [capacity, row_bytes_], slots [0, size()) are in use
  mutable std::vector<float> unpacked_;  // one row, where features are packed
  std::vector<float> side_;              // [size(), side_stride_]; the stride grows as needed
  std::vector<int32_t> side_counts_;
  int64_t side_stride_ = 0;
  std::vector<int32_t> classes_;
  std::vector<int32_t> tasks_;
  std::vector<uint64_t> sequences_;
  std::vector<uint64_t> keys_;
  std::vector<uint64_t> senders_;             // where they are capped
  absl::optional<SenderRanks> sender_ranks_;  // likewise
  absl::flat_hash_set<uint64_t> kept_keys_;  // in a distinct memory
  std::vector<uint8_t> packed_;              // there: the example that is being looked at
  std::vector<Group> groups_;
  std::vector<int32_t> class_order_;  // the class or task of each group, unless kReservoir
  absl::flat_hash_map<int32_t, size_t> group_of_class_;
  std::vector<int64_t> shuffle_;  // identity between draws
};

}  // namespace engram::strategies
