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
//
// Threading: one thread at a time.
// Ownership: owns its arrays; At() is valid until the next Offer, Clear or Restore.
// Failure: Create RESOURCE_EXHAUSTED beyond kExemplarBytesMax. Restore DATA_LOSS, state unchanged.
// Bounds: capacity x (4 x feature_count + kExemplarOverheadBytes) bytes, reserved at Create,
// touched
//   as examples are kept.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "strategies/api/learner.h"

namespace engram::strategies {

enum class AdmissionPolicy { kReservoir, kClassBalanced };

// class, task, sequence, key, entry of the group's heap, entry of the shuffle.
constexpr int64_t kExemplarOverheadBytes = 4 + 4 + 8 + 8 + 4 + 8;
constexpr int64_t kExemplarBytesMax = int64_t{16} << 30;

struct ExemplarMemoryOptions {
  int64_t capacity = 0;       // M, >= 1
  int64_t feature_count = 0;  // d
  AdmissionPolicy policy = AdmissionPolicy::kReservoir;
  uint64_t seed = 0;
  uint32_t memory = 0;  // MemberKey::memory
};

// One example, borrowed.
struct ExemplarView {
  absl::Span<const float> features;
  int32_t class_index = 0;
  int32_t task = 0;
  uint64_t sequence = 0;
};

class ExemplarMemory {
 public:
  static absl::StatusOr<std::unique_ptr<ExemplarMemory>> Create(
      const ExemplarMemoryOptions& options);

  // Keeps the example if its priority is high enough, in place of the one it outranks. A sequence
  // is offered once.
  void Offer(const ExemplarView& example);

  // Back to the state of Create.
  void Clear();

  // Chooses `count` slots by `random` (uniform 64-bit words): distinct ones, or with replacement
  // when `count` exceeds size(). An empty memory gives none.
  void Draw(int64_t count, absl::FunctionRef<uint64_t()> random, std::vector<int64_t>* slots);

  int64_t size() const { return static_cast<int64_t>(sequences_.size()); }
  const ExemplarMemoryOptions& options() const { return options_; }
  ExemplarView At(int64_t slot) const;

  // Bytes in use now, and the most they can become.
  int64_t Bytes() const { return size() * BytesPerExemplar(); }
  int64_t BytesMax() const { return options_.capacity * BytesPerExemplar(); }

  // Adds to counts[task] the exemplars of each task, growing the vector as needed.
  void CountByTask(std::vector<int64_t>* counts) const;

  // State: members in slot order (the order matters to draws), one payload for each, and the
  // classes in the order in which they were first offered.
  std::vector<MemberKey> Members() const;
  std::string Payload(int64_t slot) const;
  const std::vector<int32_t>& class_order() const { return class_order_; }

  // Replaces the state by a saved one. `payloads` are the members, in order.
  absl::Status Restore(absl::Span<const MemberPayload> payloads,
                       absl::Span<const int32_t> class_order);

 private:
  // Slots that compete with each other: a heap with the lowest priority on top.
  struct Group {
    std::vector<int32_t> heap;
  };

  explicit ExemplarMemory(const ExemplarMemoryOptions& options);

  int64_t BytesPerExemplar() const { return 4 * options_.feature_count + kExemplarOverheadBytes; }
  size_t GroupOf(int32_t class_index);
  int64_t Quota(size_t group) const;
  size_t GroupFurthestOverQuota() const;
  bool Outranks(int32_t slot_a, int32_t slot_b) const;
  int32_t RemoveLowest(size_t group);
  void Place(const ExemplarView& example, uint64_t key, int32_t slot, size_t group);

  ExemplarMemoryOptions options_;
  std::unique_ptr<float[]> features_;  // [capacity, feature_count], slots [0, size()) are in use
  std::vector<int32_t> classes_;
  std::vector<int32_t> tasks_;
  std::vector<uint64_t> sequences_;
  std::vector<uint64_t> keys_;
  std::vector<Group> groups_;
  std::vector<int32_t> class_order_;  // kClassBalanced: the class of each group
  absl::flat_hash_map<int32_t, size_t> group_of_class_;
  std::vector<int64_t> shuffle_;  // identity between draws
};

}  // namespace engram::strategies
