// A ModelInfer, as a protobuf message or as the body of an HTTP request (with and without binary
// data behind the JSON), up to the rows that a snapshot would see.
#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "inference/grpc_service.pb.h"
#include "server/feature_rows.h"
#include "server/inference_json.h"
#include "server/inference_request.h"
#include "tests/fuzz/target.h"

namespace engram::fuzz {
namespace {

constexpr int64_t kFeatures = 3;
constexpr int64_t kRowsMax = 16;
constexpr double kMaxAbs = 1e6;

// What passes is rows of finite values within the model's bound, as many as the plan's reply has.
void PlanAndRead(inference::ModelInferRequest request) {
  const auto plan = server::PlanInference(std::move(request), {"fuzz", kFeatures, kRowsMax});
  if (!plan.ok()) {
    ENGRAM_CHECK(absl::IsInvalidArgument(plan.status()));
    return;
  }
  ENGRAM_CHECK(plan->outputs.size() == 1 || plan->outputs.size() == 2);
  std::vector<float> values;
  int64_t rows = 0;
  const absl::Status read = server::ReadRows(plan->predict.features(), {"fuzz", kFeatures, kMaxAbs},
                                             kRowsMax, &values, &rows);
  ENGRAM_CHECK(read.ok() || absl::IsInvalidArgument(read));
  if (!read.ok()) return;
  ENGRAM_CHECK(values.size() == static_cast<size_t>(rows * kFeatures));
  for (const float value : values) ENGRAM_CHECK(std::fabs(value) <= kMaxAbs);
}

void Body(absl::string_view body, absl::optional<size_t> json_bytes) {
  auto question = server::ParseInferBody(body, json_bytes);
  if (question.ok()) return PlanAndRead(std::move(question->request));
  ENGRAM_CHECK(absl::IsInvalidArgument(question.status()));
}

}  // namespace
}  // namespace engram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  absl::string_view input = engram::fuzz::ToText(bytes, size);
  const size_t form = engram::fuzz::TakeChoice(&input, 3);
  if (form == 0) {
    engram::fuzz::Body(input, absl::nullopt);
  } else if (form == 1) {
    // The JSON ends with its line.
    const size_t line = std::min(input.size(), input.find('\n'));
    engram::fuzz::Body(input, std::min(input.size(), line + 1));
  } else {
    inference::ModelInferRequest request;
    if (request.ParseFromArray(input.data(), static_cast<int>(input.size()))) {
      engram::fuzz::PlanAndRead(std::move(request));
    }
  }
  return 0;
}
