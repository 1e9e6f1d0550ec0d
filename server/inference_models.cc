#include "server/inference_models.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/errors.h"
#include "server/inference_request.h"
#include "server/inference_tensor.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr char kPlatform[] = "engram";

// Ascending.
absl::StatusOr<std::vector<uint64_t>> AnsweringVersions(const ModelRuntime& model, uint64_t live) {
  ENGRAM_ASSIGN_OR_RETURN(const auto checkpoints, model.ListCheckpoints());
  std::vector<uint64_t> versions = {live};
  for (const v1::Checkpoint& each : checkpoints) versions.push_back(each.applied_sequence());
  std::sort(versions.begin(), versions.end());
  // A rollback's checkpoint and its target have one version.
  versions.erase(std::unique(versions.begin(), versions.end()), versions.end());
  return versions;
}

absl::string_view HeadName(v1::Head::Kind kind) {
  switch (kind) {
    case v1::Head::FIXED:
      return "fixed";
    case v1::Head::PER_TASK:
      return "per_task";
    default:
      return "growing";
  }
}

// Names of the strategies' fields in StrategySpec: those of the registry.
std::string StrategyNames(const v1::ModelSpec& spec) {
  std::vector<std::string> names;
  for (const v1::StrategySpec& strategy : spec.strategies()) {
    std::vector<const google::protobuf::FieldDescriptor*> set;
    strategy.GetReflection()->ListFields(strategy, &set);
    for (const auto* field : set) names.push_back(field->name());
  }
  return absl::StrJoin(names, "+");
}

void FillTensors(const ModelRuntime& model, const Served& served, inference::ModelConfig* config) {
  inference::ModelInput* features = config->add_input();
  features->set_name(std::string(kFeaturesTensor));
  features->set_data_type(inference::TYPE_FP32);
  features->add_dims(model.spec()->feature_count());
  inference::ModelOutput* label = config->add_output();
  label->set_name(std::string(kLabelTensor));
  label->set_data_type(LabelsAreText(*served.view) ? inference::TYPE_STRING
                                                   : inference::TYPE_INT64);
  inference::ModelOutput* scores = config->add_output();
  scores->set_name(std::string(kScoresTensor));
  scores->set_data_type(inference::TYPE_FP32);
  const int64_t classes = served.snapshot->class_count();
  scores->add_dims(classes == 0 ? -1 : classes);
}

template <typename Tensor>
void AddMetadata(const Tensor& tensor, inference::ModelMetadataResponse::TensorMetadata* added) {
  added->set_name(tensor.name());
  added->set_datatype(tensor.data_type() == inference::TYPE_STRING  ? "BYTES"
                      : tensor.data_type() == inference::TYPE_INT64 ? "INT64"
                                                                    : "FP32");
  added->add_shape(-1);
  added->mutable_shape()->MergeFrom(tensor.dims());
}

void SetDuration(const CountedTime& counted, inference::StatisticDuration* duration) {
  duration->set_count(counted.count);
  duration->set_ns(static_cast<uint64_t>(absl::ToInt64Nanoseconds(counted.total)));
}

template <typename Message>
void SetStages(const InferenceCounts::Batch& batch, Message* message) {
  SetDuration(batch.input, message->mutable_compute_input());
  SetDuration(batch.infer, message->mutable_compute_infer());
  SetDuration(batch.output, message->mutable_compute_output());
}

}  // namespace

absl::StatusOr<Served> ServedVersion(ModelRuntime* model, absl::string_view version) {
  ENGRAM_ASSIGN_OR_RETURN(const uint64_t number, ParseVersion("version", version));
  Served live = model->Live();
  if (live.snapshot == nullptr) {
    const absl::Status ready = model->Ready();
    return ready.ok() ? NotYet("recovering", std::chrono::milliseconds(100)) : ready;
  }
  if (version.empty() || number == live.version()) return live;
  // Elsewhere 0 means the live one.
  if (number == 0) return NotFound("version", "0", absl::StrCat(live.version(), " (live)"));
  return model->Version(number);
}

absl::StatusOr<inference::ModelConfigResponse> InferenceConfig(ModelRuntime* model,
                                                               absl::string_view version,
                                                               int64_t rows_max) {
  ENGRAM_ASSIGN_OR_RETURN(const Served served, ServedVersion(model, version));
  ENGRAM_ASSIGN_OR_RETURN(const auto versions, AnsweringVersions(*model, model->Live().version()));
  inference::ModelConfigResponse response;
  inference::ModelConfig* config = response.mutable_config();
  config->set_name(model->name());
  config->set_platform(kPlatform);
  config->set_backend(kPlatform);
  config->set_max_batch_size(static_cast<int32_t>(rows_max));
  for (const uint64_t each : versions) {
    config->mutable_version_policy()->mutable_specific()->add_versions(static_cast<int64_t>(each));
  }
  FillTensors(*model, served, config);
  const std::shared_ptr<const v1::ModelSpec> spec = model->spec();
  auto& parameters = *config->mutable_parameters();
  parameters["strategies"].set_string_value(StrategyNames(*spec));
  parameters["head"].set_string_value(std::string(HeadName(spec->head().kind())));
  parameters["tasks"].set_string_value(absl::StrJoin(served.view->tasks, ","));
  config->mutable_model_transaction_policy()->set_decoupled(false);
  return response;
}

absl::StatusOr<inference::ModelMetadataResponse> InferenceMetadata(ModelRuntime* model,
                                                                   absl::string_view version) {
  ENGRAM_ASSIGN_OR_RETURN(const Served served, ServedVersion(model, version));
  ENGRAM_ASSIGN_OR_RETURN(const auto versions, AnsweringVersions(*model, model->Live().version()));
  inference::ModelConfig config;
  FillTensors(*model, served, &config);
  inference::ModelMetadataResponse response;
  response.set_name(model->name());
  response.set_platform(kPlatform);
  for (const uint64_t each : versions) response.add_versions(absl::StrCat(each));
  for (const auto& input : config.input()) AddMetadata(input, response.add_inputs());
  for (const auto& output : config.output()) AddMetadata(output, response.add_outputs());
  return response;
}

inference::ModelStatistics InferenceCountsOf(ModelRuntime* model) {
  const InferenceCounts counts = model->statistics().inference.Read();
  inference::ModelStatistics statistics;
  statistics.set_name(model->name());
  statistics.set_last_inference(static_cast<uint64_t>(absl::ToUnixMillis(counts.last)));
  statistics.set_inference_count(counts.rows);
  statistics.set_execution_count(counts.success.count);
  inference::InferStatistics* all = statistics.mutable_inference_stats();
  SetDuration(counts.success, all->mutable_success());
  SetDuration(counts.fail, all->mutable_fail());
  SetDuration(counts.queue, all->mutable_queue());
  SetStages(counts.all, all);
  for (const auto& [rows, batch] : counts.by_rows) {
    inference::InferBatchStatistics* added = statistics.add_batch_stats();
    added->set_batch_size(static_cast<uint64_t>(rows));
    SetStages(batch, added);
  }
  return statistics;
}

inference::RepositoryIndexResponse InferenceIndex(
    const std::vector<std::shared_ptr<ModelRuntime>>& models, bool ready_only) {
  inference::RepositoryIndexResponse response;
  for (const std::shared_ptr<ModelRuntime>& model : models) {
    const absl::Status ready = model->Ready();
    if (ready_only && !ready.ok()) continue;
    auto* index = response.add_models();
    index->set_name(model->name());
    const Served live = model->Live();
    if (live.snapshot != nullptr) index->set_version(absl::StrCat(live.version()));
    index->set_state(ready.ok() ? "READY" : "UNAVAILABLE");
    index->set_reason(std::string(ready.message()));
  }
  return response;
}

}  // namespace engram::server
