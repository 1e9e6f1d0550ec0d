// The tables of REST paths, our own below /v1 and the Open Inference Protocol's below /v2: which
// verb and path is which rpc, and which of its fields the path holds.
//
// Threading: constants and free functions.
// Failure: NOT_FOUND for a path that is no route; UNIMPLEMENTED (405, naming the verbs that the
//   path has) for another verb.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
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

// The first that fits is taken.
inline constexpr std::array<RestRoute, 15> kInferenceRoutes = {{
    {"GET", "/v2", Rpc::kServerMetadata},
    {"GET", "/v2/health/live", Rpc::kServerLive},
    {"GET", "/v2/health/ready", Rpc::kServerReady},
    {"GET", "/v2/models/stats", Rpc::kModelStatistics},
    {"GET", "/v2/models/{name}", Rpc::kModelMetadata},
    {"GET", "/v2/models/{name}/ready", Rpc::kModelReady},
    {"GET", "/v2/models/{name}/config", Rpc::kModelConfig},
    {"GET", "/v2/models/{name}/stats", Rpc::kModelStatistics},
    {"GET", "/v2/models/{name}/versions/{version}", Rpc::kModelMetadata},
    {"GET", "/v2/models/{name}/versions/{version}/ready", Rpc::kModelReady},
    {"GET", "/v2/models/{name}/versions/{version}/config", Rpc::kModelConfig},
    {"GET", "/v2/models/{name}/versions/{version}/stats", Rpc::kModelStatistics},
    {"POST", "/v2/models/{model_name}/infer", Rpc::kModelInfer},
    {"POST", "/v2/models/{model_name}/versions/{model_version}/infer", Rpc::kModelInfer},
    {"POST", "/v2/repository/index", Rpc::kRepositoryIndex},
}};

struct RestMatch {
  const RestRoute* route = nullptr;
  // Field and value, from the path.
  std::vector<std::pair<std::string, std::string>> fields;
};

absl::StatusOr<RestMatch> MatchRoute(absl::Span<const RestRoute> routes, absl::string_view verb,
                                     absl::string_view path);

const google::protobuf::MethodDescriptor& MethodOf(Rpc rpc);
std::unique_ptr<google::protobuf::Message> NewRequest(Rpc rpc);
std::unique_ptr<google::protobuf::Message> NewReply(Rpc rpc);
// The path says what it says, whatever the body does.
void SetFields(const RestMatch& match, google::protobuf::Message* request);

}  // namespace engram::server
