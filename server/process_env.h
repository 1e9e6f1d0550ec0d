// What must be settled before the first line of a library runs: OpenMP and BLAS read their
// environment when they are loaded, so the process sets it and executes itself once more.
//
// Two OpenMP threads that spin starve two cores (2-40x slower), and results depend bit by bit on
// the thread count: neither may be left to whatever shell started the server.
//
// Threading: main thread, before any other thread.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace engram::server {

// Returns when the environment is settled: at once if it already is, otherwise in the process that
// replaced this one (same arguments). An error when even that process does not see it.
absl::Status SettleEnvironment(int compute_threads, char** argv);

// The files that so many connections need: two each, and 2 048 for the store, the models and HTTP.
constexpr int64_t OpenFilesNeeded(int64_t connections) { return 2 * connections + 2048; }

// RESOURCE_EXHAUSTED naming `limits.connections` when `limit` does not do.
absl::Status CheckOpenFileLimit(int64_t limit, int64_t connections);

// Raises the soft limit of open files towards `wanted`; the limit reached. RocksDB, sockets and
// model files share it.
int64_t RaiseOpenFileLimit(int64_t wanted);

}  // namespace engram::server
