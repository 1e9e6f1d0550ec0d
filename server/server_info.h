// What this server is: versions, the BLAS really loaded, threads, and what an operator should mend.
//
// Threading: pure functions.
#pragma once

#include <string>

#include "engram/v1/admin.pb.h"
#include "strategies/api/compute.h"

namespace engram::server {

// The part of GetServerInfo that stays the same for the life of the process.
v1::ServerInfo MakeServerInfo(const strategies::ComputeIdentity& compute,
                              const std::string& storage_engine);

// One line at start, and one for each warning.
void LogServerInfo(const v1::ServerInfo& facts);

}  // namespace engram::server
