// How long each method took, by status code: one histogram for every (method, code), there from the
// start so that a call costs two relaxed additions.
//
// Threading: every method from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "server/rpc_table.h"
#include "server/statistics.h"

namespace engram::server {

class RpcStatistics {
 public:
  static constexpr size_t kCodes = 17;  // OK to UNAUTHENTICATED

  void Observe(Rpc rpc, absl::StatusCode code, double seconds) {
    const size_t column = static_cast<size_t>(code) < kCodes ? static_cast<size_t>(code) : 2;
    (*cells_)[static_cast<size_t>(rpc)][column].Observe(seconds);
  }
  const LatencyHistogram& Of(size_t rpc, size_t code) const { return (*cells_)[rpc][code]; }

 private:
  using Cells = std::array<std::array<LatencyHistogram, kCodes>, kRpcs.size()>;
  const std::unique_ptr<Cells> cells_ = std::make_unique<Cells>();
};

}  // namespace engram::server
