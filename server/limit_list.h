// The limits of the edge as GetLimits tells them: of streams, connections, waits and callers.
//
// Threading: a free function without state.
#pragma once

#include "engram/v1/admin.pb.h"
#include "server/edge.h"

namespace engram::server {

void AddEdgeLimits(const Edge& edge, v1::GetLimitsResponse* response);

}  // namespace engram::server
