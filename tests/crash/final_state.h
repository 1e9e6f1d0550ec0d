// What a server's models are in the end: one checkpoint of each at the end of its log, in one word.
//
// Threading: free functions. Failure: the first call that fails, as a status.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "engram/v1/checkpoints.pb.h"
#include "engram/v1/model.pb.h"
#include "tests/testing/process/server_process.h"

namespace engram::crash {

// The models of the test: plain training, and replay with EWC; both heads grow.
std::map<std::string, engram::v1::ModelSpec> CrashModels();
absl::Status CreateModels(const testing::ServerProcess& server);

// Waits until everything durable is applied and nothing more comes, then takes a checkpoint of each
// model there.
absl::StatusOr<std::map<std::string, engram::v1::Checkpoint>> CheckpointTheEnd(
    const testing::ServerProcess& server);

}  // namespace engram::crash
