// The ceilings, each a process of its own, started by the bench from its own binary: what the bare
// packages do with the same bytes, with nothing of Engram in between.
//
// Threading: one call a process. Failure: CHECK-fails; the bench then has no ceiling and stops.
#pragma once

#include <string>

#include "absl/time/time.h"

namespace engram::bench {

// gRPC, raw callback API. Predict answers a fixed reply of `reply_bytes` after keeping its thread
// busy for `busy`; Learn welcomes, then writes each frame's examples to RocksDB, one record an
// example, and acks once they are synced. One committer writes all frames that came during the last
// sync in one batch, as the server's log may. Writes its address to `address_file`; runs until
// killed.
void ServeBare(const std::string& address_file, const std::string& folder, int reply_bytes,
               absl::Duration busy);

// The plain LibTorch loop of the same network at the same batch size, one thread, until killed.
// Writes `ready_file` once warm.
void TrainPlain(const std::string& ready_file, int batch);

}  // namespace engram::bench
