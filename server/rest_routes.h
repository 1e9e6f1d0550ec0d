// The one table of REST paths: which verb and path is which rpc, and which of its fields the path
// holds.
//
// Threading: constants and free functions.
// Failure: NOT_FOUND for a path that is no route; UNIMPLEMENTED (405, naming the verbs that the
// path
//   has) for another verb.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/rpc_table.h"

namespace engram::server {

struct RestRoute {
  absl::string_view verb;
  // "{model}" stands for one segment, which becomes the request's field of that name.
  absl::string_view pattern;
  Rpc rpc;
};

inline constexpr std::array<RestRoute, 24> kRestRoutes = {{
    {"GET", "/v1/server", Rpc::kGetServerInfo},
    {"GET", "/v1/limits", Rpc::kGetLimits},
    {"GET", "/v1/strategies", Rpc::kListStrategies},
    {"GET", "/v1/models", Rpc::kListModels},
    {"POST", "/v1/models", Rpc::kCreateModel},
    {"GET", "/v1/models/{name}", Rpc::kGetModel},
    {"PATCH", "/v1/models/{name}", Rpc::kUpdateModel},
    {"DELETE", "/v1/models/{name}", Rpc::kDeleteModel},
    {"POST", "/v1/models/{name}/pause", Rpc::kPauseTraining},
    {"POST", "/v1/models/{name}/resume", Rpc::kResumeTraining},
    {"POST", "/v1/models/{model}/learn", Rpc::kLearnBatch},
    {"POST", "/v1/models/{model}/boundary", Rpc::kMarkBoundary},
    {"POST", "/v1/models/{model}/wait", Rpc::kWaitApplied},
    {"POST", "/v1/models/{model}/erase", Rpc::kErase},
    {"POST", "/v1/models/{model}/predict", Rpc::kPredict},
    {"POST", "/v1/models/{model}/evaluate", Rpc::kEvaluate},
    {"GET", "/v1/models/{model}/report", Rpc::kGetReport},
    {"GET", "/v1/models/{model}/checkpoints", Rpc::kListCheckpoints},
    {"POST", "/v1/models/{model}/checkpoints", Rpc::kCreateCheckpoint},
    {"GET", "/v1/models/{model}/checkpoints/{id}", Rpc::kGetCheckpoint},
    {"DELETE", "/v1/models/{model}/checkpoints/{id}", Rpc::kDeleteCheckpoint},
    {"POST", "/v1/models/{model}/rollback", Rpc::kRollback},
    {"POST", "/v1/models/{model}/blame", Rpc::kBlame},
    {"GET", "/v1/audit", Rpc::kListAudit},
}};

struct RestMatch {
  const RestRoute* route = nullptr;
  // Field and value, from the path.
  std::vector<std::pair<std::string, std::string>> fields;
};

absl::StatusOr<RestMatch> MatchRoute(absl::string_view verb, absl::string_view path);

}  // namespace engram::server
