// What the Open Inference Protocol and Triton's readers are told of models: metadata,
// configuration, statistics, the index.
//
// Threading: free functions, from any thread. Those that take a version may block on a disk.
// Failure: NOT_FOUND for a version that does not answer, INVALID_ARGUMENT for one that is no
// number,
//   UNAVAILABLE while the model recovers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "inference/grpc_service.pb.h"
#include "server/model_runtime.h"

namespace engram::server {

// "": the live snapshot.
absl::StatusOr<Served> ServedVersion(ModelRuntime* model, absl::string_view version);

absl::StatusOr<inference::ModelMetadataResponse> InferenceMetadata(ModelRuntime* model,
                                                                   absl::string_view version);
absl::StatusOr<inference::ModelConfigResponse> InferenceConfig(ModelRuntime* model,
                                                               absl::string_view version,
                                                               int64_t rows_max);
inference::ModelStatistics InferenceCountsOf(ModelRuntime* model);
inference::RepositoryIndexResponse InferenceIndex(
    const std::vector<std::shared_ptr<ModelRuntime>>& models, bool ready_only);

}  // namespace engram::server
