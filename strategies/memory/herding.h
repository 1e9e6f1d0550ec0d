// Which examples stand for a class: herding as iCaRL has it (Rebuffi et al. 2017, CVPR, algorithm
// 4; Welling 2009). Greedily, the k-th is the one that brings the mean of the k chosen nearest to
// the mean of all:
//   p_k = argmin_x || mu - (phi(x) + sum_{j<k} phi(p_j)) / k ||
// so that any first few of them are a good choice, too. Where the owners of rows have limits, x is
// one of the rows whose owner has not reached its own.
//
// Threading: a pure function. Failure: none. Bounds: rows x width x count products.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace engram::strategies {

// Distinct rows of `embeddings`, [rows, width], best first; all of them where `count` is more. Of
// equally good ones the first.
std::vector<int64_t> Herd(absl::Span<const float> embeddings, int64_t width, int64_t count);

// Row i belongs to owner_of_row[i], at most limits[owner] of whose rows are chosen.
struct OwnerLimits {
  std::vector<size_t> owner_of_row;
  std::vector<int64_t> limits;
};
std::vector<int64_t> Herd(absl::Span<const float> embeddings, int64_t width, int64_t count,
                          const OwnerLimits& owners);

}  // namespace engram::strategies
