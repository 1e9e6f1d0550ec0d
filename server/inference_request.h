// One ModelInfer: the request of the Open Inference Protocol as a prediction of ours and a plan of
// its reply, and the reply from what the snapshot said.
//
// Threading: pure functions.
// Ownership: reading moves the contents out of the request.
// Failure: INVALID_ARGUMENT naming the field, what was expected and what came.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/prediction.pb.h"
#include "inference/grpc_service.pb.h"
#include "server/inference_tensor.h"
#include "server/predictor.h"

namespace engram::server {

struct InferPlan {
  struct Output {
    bool scores = false;  // otherwise `label`
    int64_t best = 0;     // above 0: of the scores, so many classes of each row, as text
  };
  std::string model;
  v1::PredictRequest predict;  // but for its version, which only the model can judge
  std::string version;         // as it came: "" or decimal digits
  std::string id;
  std::vector<Output> outputs;
  bool raw = false;
};

absl::StatusOr<InferPlan> PlanInference(inference::ModelInferRequest request,
                                        const InputRules& rules);

// "" is 0. INVALID_ARGUMENT for what is no decimal number.
absl::StatusOr<uint64_t> ParseVersion(absl::string_view field, absl::string_view version);

inference::ModelInferResponse InferReply(const InferPlan& plan, const ScoredRows& rows);

// Whether labels are BYTES rather than INT64.
bool LabelsAreText(const StreamView& view);

}  // namespace engram::server
