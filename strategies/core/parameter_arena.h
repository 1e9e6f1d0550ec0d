// All parameters of a network as views of ONE flat float32 tensor, and every array that runs beside
// them (momentum, moments, importance, anchors, gradients: "companions") as another of the same
// layout. Penalties, publication and checkpoints are then single passes over flat memory, and when
// the head grows everything is laid out anew together.
//
// Layout: parameters in the order of Add, each at a multiple of 16 floats; a growable one keeps
//   room for `capacity` rows. Rows not in use and gaps are zero in every array; a flat pass may run
//   over them as long as it keeps zero at zero (0 gradient, 0 importance, 0 decay).
// Threading: one thread at a time.
// Ownership: the arena owns every array. Views, and the tensors that flat() and Companion() return,
//   are stale after a re-layout: fetch them again when generation() changes, or each time.
// Failure: CHECK on misuse (unknown id, a name twice).
// Bounds: (1 + companions) * size() floats; capacity doubles, so growth is amortised.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace engram::strategies {

using ParameterId = int;
using CompanionId = int;

class ParameterArena {
 public:
  struct Slot {
    std::string name;
    int64_t offset = 0;
    int64_t rows = 0;  // in use
    int64_t columns = 0;
    int64_t capacity = 0;  // rows with memory
    int64_t count() const { return rows * columns; }
  };

  // kSaved companions are part of every Save; kDerived ones are recomputed by their owner and are
  // zero after a restore.
  enum class Persistence { kSaved, kDerived };

  // A bias is [rows, 1]. Names are unique. What is added after Allocate has no place before Extend.
  ParameterId Add(absl::string_view name, int64_t rows, int64_t columns, int64_t capacity);
  void Allocate();
  // Gives what was added since a place of zeros in every array; all others keep their values.
  void Extend();

  // Zero-filled. Names are unique. After Allocate.
  CompanionId AddCompanion(absl::string_view name, Persistence persistence);

  // Gives the parameters `ids` this many rows (never fewer than now); new rows are zero everywhere.
  void GrowRows(const std::vector<ParameterId>& ids, int64_t rows);

  // Names the parameters that updates may move; every one until the first call. The others stand
  // still bit for bit, whatever moments and decay they have.
  void SetTrained(std::vector<ParameterId> ids);
  // The learning rate of all parameters but `ids` is `factor` times the optimizer's: a parameter
  // group of torch.optim. 1 until the first call; a call takes the place of the one before.
  void SetRateFactor(double factor, absl::Span<const ParameterId> ids);
  double rate_factor(ParameterId id) const;

  // A part of a flat array that updates may move, at one learning rate.
  struct TrainedRange {
    int64_t begin = 0;
    int64_t end = 0;
    double rate_factor = 1;
  };
  // Ascending, neighbours of one rate joined.
  const std::vector<TrainedRange>& trained_ranges() const { return trained_ranges_; }

  // Floats in one flat array, gaps and reserve included.
  int64_t size() const { return size_; }
  // Parameters in use.
  int64_t parameter_count() const;
  // Changes whenever addresses did, or which parameters are trained, or at which rate.
  uint64_t generation() const { return generation_; }

  const at::Tensor& flat() const { return flat_; }
  const at::Tensor& Companion(CompanionId id) const;
  // Floats of all companions, in bytes.
  int64_t companion_bytes() const;

  const std::vector<Slot>& slots() const { return slots_; }
  const Slot& slot(ParameterId id) const;

  // [rows, columns] view of one parameter's place in flat() or in any array of the same layout.
  at::Tensor View(ParameterId id) const { return View(flat_, id); }
  at::Tensor View(const at::Tensor& flat, ParameterId id) const;

  struct CompanionEntry {
    std::string name;
    Persistence persistence = Persistence::kSaved;
    at::Tensor values;
  };
  const std::vector<CompanionEntry>& companions() const { return companions_; }

 private:
  // Lays every array out anew; `old_slots` says where values were.
  void Layout(const std::vector<Slot>& old_slots);
  // Assigns offsets for the slots' capacities and returns the new size.
  int64_t AssignOffsets();
  void FindTrainedRanges();
  at::Tensor Moved(const at::Tensor& from, const std::vector<Slot>& old_slots) const;

  std::vector<Slot> slots_;
  std::vector<CompanionEntry> companions_;
  at::Tensor flat_;
  std::vector<ParameterId> trained_;  // ascending
  bool all_trained_ = true;
  double rate_factor_ = 1;
  std::vector<ParameterId> full_rate_;  // ascending; those that rate_factor_ does not count for
  std::vector<TrainedRange> trained_ranges_;
  int64_t size_ = 0;
  size_t placed_ = 0;  // slots that have a place
  uint64_t generation_ = 0;
  bool allocated_ = false;
};

}  // namespace engram::strategies
