// A preallocated [rows, columns] float32 tensor that is handed out in any number of rows.
//
// Threading: one thread. Ownership: owns its memory; what Rows returned is stale after a call with
//   more rows than ever before.
// Bounds: the most rows ever asked for.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>

namespace engram::strategies {

class RowBuffer {
 public:
  explicit RowBuffer(int64_t columns) : columns_(columns) {}

  // Contiguous; values of the last use.
  at::Tensor Rows(int64_t rows) {
    if (rows > capacity_) {
      capacity_ = std::max(rows, 2 * capacity_);
      store_ = at::empty({capacity_, columns_}, at::kFloat);
    }
    return store_.narrow(0, 0, rows);
  }

 private:
  int64_t columns_;
  int64_t capacity_ = 0;
  at::Tensor store_;
};

}  // namespace engram::strategies
