#include "server/inference_request.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using inference::InferParameter;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using ParameterMap = google::protobuf::Map<std::string, InferParameter>;

const InferParameter* FindParameter(const ParameterMap& parameters, const std::string& name) {
  const auto found = parameters.find(name);
  return found == parameters.end() ? nullptr : &found->second;
}

absl::Status ReadTask(const ParameterMap& parameters, v1::PredictRequest* predict) {
  const InferParameter* task = FindParameter(parameters, "task");
  if (task == nullptr) return absl::OkStatus();
  if (task->parameter_choice_case() != InferParameter::kStringParam) {
    return BadField("parameters.task", "must be a string");
  }
  predict->set_task(task->string_param());
  return absl::OkStatus();
}

absl::Status ReadMinApplied(const ParameterMap& parameters, v1::PredictRequest* predict) {
  const InferParameter* applied = FindParameter(parameters, "min_applied_sequence");
  if (applied == nullptr) return absl::OkStatus();
  if (applied->has_uint64_param()) {
    predict->set_min_applied_sequence(applied->uint64_param());
  } else if (applied->has_int64_param() && applied->int64_param() >= 0) {
    predict->set_min_applied_sequence(static_cast<uint64_t>(applied->int64_param()));
  } else {
    return BadField("parameters.min_applied_sequence", "must be an integer of at least 0");
  }
  return absl::OkStatus();
}

// Of pixels that a model learned as dense_uint8.
absl::Status ReadScale(const ParameterMap& parameters, v1::Features* features) {
  const InferParameter* scale = FindParameter(parameters, "uint8_scale");
  if (scale == nullptr) return absl::OkStatus();
  if (features->dense_uint8().empty()) {
    return BadField("parameters.uint8_scale", "belongs to an input of UINT8");
  }
  if (!scale->has_double_param() && !scale->has_int64_param()) {
    return BadField("parameters.uint8_scale", "must be a number");
  }
  features->set_uint8_scale(static_cast<float>(scale->has_double_param()
                                                   ? scale->double_param()
                                                   : static_cast<double>(scale->int64_param())));
  return absl::OkStatus();
}

absl::Status ReadInputs(ModelInferRequest* request, const InputRules& rules,
                        v1::Features* features) {
  const int raw = request->raw_input_contents_size();
  if (raw > 0 && raw != request->inputs_size()) {
    return BadField("raw_input_contents", absl::StrCat("expected one an input (",
                                                       request->inputs_size(), "), got ", raw));
  }
  for (int i = 0; i < request->inputs_size(); ++i) {
    if (request->inputs(i).name() == kFeaturesTensor && i == 0) continue;
    return BadField(absl::StrCat("inputs[", i, "].name"),
                    absl::StrCat("a model has one input, \"", kFeaturesTensor, "\", got \"",
                                 Echo(request->inputs(i).name()), "\""));
  }
  if (request->inputs().empty()) {
    return BadField("inputs", absl::StrCat("\"", kFeaturesTensor, "\" is required"));
  }
  return ReadInputTensor(0, request->mutable_inputs(0),
                         raw > 0 ? request->mutable_raw_input_contents(0) : nullptr, rules,
                         features);
}

absl::StatusOr<int64_t> ReadClassification(const ParameterMap& parameters, bool scores,
                                           const std::string& field) {
  const InferParameter* best = FindParameter(parameters, "classification");
  if (best == nullptr) return 0;
  if (!scores) return BadField(field, absl::StrCat("belongs to \"", kScoresTensor, "\""));
  const bool large = best->has_uint64_param() && best->uint64_param() > 0;
  if (!large && !(best->has_int64_param() && best->int64_param() > 0)) {
    return BadField(field, "must be an integer of at least 1");
  }
  return large ? static_cast<int64_t>(std::min<uint64_t>(best->uint64_param(), INT64_MAX))
               : best->int64_param();
}

absl::StatusOr<InferPlan::Output> ReadOutput(
    int index, const ModelInferRequest::InferRequestedOutputTensor& asked) {
  const std::string field = absl::StrCat("outputs[", index, "].");
  InferPlan::Output output;
  output.scores = asked.name() == kScoresTensor;
  if (!output.scores && asked.name() != kLabelTensor) {
    return BadField(absl::StrCat(field, "name"),
                    absl::StrCat("unknown output \"", Echo(asked.name()), "\"; there is: \"",
                                 kLabelTensor, "\", \"", kScoresTensor, "\""));
  }
  if (asked.parameters().count("shared_memory_region") > 0) {
    return BadField(absl::StrCat(field, "parameters.shared_memory_region"),
                    "shared memory is not supported: take the contents");
  }
  ENGRAM_ASSIGN_OR_RETURN(output.best,
                          ReadClassification(asked.parameters(), output.scores,
                                             absl::StrCat(field, "parameters.classification")));
  return output;
}

absl::Status ReadOutputs(const ModelInferRequest& request, std::vector<InferPlan::Output>* plan) {
  for (int i = 0; i < request.outputs_size(); ++i) {
    ENGRAM_ASSIGN_OR_RETURN(const InferPlan::Output output, ReadOutput(i, request.outputs(i)));
    for (const InferPlan::Output& other : *plan) {
      if (other.scores != output.scores) continue;
      return BadField(absl::StrCat("outputs[", i, "].name"), "is asked for twice");
    }
    plan->push_back(output);
  }
  if (plan->empty()) *plan = {{false, 0}, {true, 0}};
  return absl::OkStatus();
}

// --- the reply ---

using OutputTensor = ModelInferResponse::InferOutputTensor;

std::string LabelText(const v1::Label& label) {
  return label.has_text() ? label.text() : absl::StrCat(label.number());
}

// One tensor while its elements come: typed into its contents, or raw into `bytes`.
struct TensorWriter {
  OutputTensor* tensor;
  std::string* bytes;  // null: typed

  void AddRaw(const void* element, size_t size) {
    bytes->append(static_cast<const char*>(element), size);
  }
  void Add(int64_t number) {
    if (bytes == nullptr) return tensor->mutable_contents()->add_int64_contents(number);
    AddRaw(&number, sizeof(number));
  }
  void Add(const std::string& text) {
    if (bytes == nullptr) return tensor->mutable_contents()->add_bytes_contents(text);
    const auto length = static_cast<uint32_t>(text.size());
    AddRaw(&length, sizeof(length));
    AddRaw(text.data(), text.size());
  }
  void Add(const float* values, int64_t count) {
    if (bytes != nullptr) return AddRaw(values, count * sizeof(float));
    tensor->mutable_contents()->mutable_fp32_contents()->Add(values, values + count);
  }
};

void WriteLabels(const ScoredRows& rows, TensorWriter writer) {
  const bool text = LabelsAreText(*rows.served.view);
  writer.tensor->set_datatype(text ? "BYTES" : "INT64");
  for (int64_t i = 0; i < rows.rows; ++i) {
    const float* scores = rows.scores + i * rows.classes;
    const int64_t best = std::max_element(scores, scores + rows.classes) - scores;
    const v1::Label& label = rows.served.view->labels[best];
    text ? writer.Add(label.text()) : writer.Add(label.number());
  }
}

void WriteScores(const ScoredRows& rows, TensorWriter writer) {
  writer.tensor->set_datatype("FP32");
  writer.tensor->add_shape(rows.classes);
  writer.Add(rows.scores, rows.rows * rows.classes);
}

void WriteBest(const ScoredRows& rows, int64_t asked, TensorWriter writer) {
  const int64_t best = std::min(asked, rows.classes);
  writer.tensor->set_datatype("BYTES");
  writer.tensor->add_shape(best);
  std::vector<int32_t> order;
  for (int64_t i = 0; i < rows.rows; ++i) {
    const float* scores = rows.scores + i * rows.classes;
    RankClasses(scores, rows.classes, best, &order);
    for (int64_t k = 0; k < best; ++k) {
      const int32_t at = order[k];
      writer.Add(absl::StrCat(scores[at], ":", at, ":", LabelText(rows.served.view->labels[at])));
    }
  }
}

}  // namespace

absl::StatusOr<uint64_t> ParseVersion(absl::string_view field, absl::string_view version) {
  uint64_t number = 0;
  const bool digits = std::all_of(version.begin(), version.end(), absl::ascii_isdigit);
  if (version.empty()) return number;
  if (digits && absl::SimpleAtoi(version, &number)) return number;
  return BadField(field,
                  absl::StrCat("must be a model version in decimal, got \"", Echo(version), "\""));
}

absl::StatusOr<InferPlan> PlanInference(ModelInferRequest request, const InputRules& rules) {
  InferPlan plan;
  plan.model = request.model_name();
  plan.predict.set_model(plan.model);
  plan.raw = request.raw_input_contents_size() > 0;
  ENGRAM_RETURN_IF_ERROR(ParseVersion("model_version", request.model_version()).status());
  ENGRAM_RETURN_IF_ERROR(ReadTask(request.parameters(), &plan.predict));
  ENGRAM_RETURN_IF_ERROR(ReadMinApplied(request.parameters(), &plan.predict));
  ENGRAM_RETURN_IF_ERROR(ReadOutputs(request, &plan.outputs));
  v1::Features* features = plan.predict.mutable_features();
  ENGRAM_RETURN_IF_ERROR(ReadInputs(&request, rules, features));
  ENGRAM_RETURN_IF_ERROR(ReadScale(request.parameters(), features));
  plan.version = std::move(*request.mutable_model_version());
  plan.id = std::move(*request.mutable_id());
  return plan;
}

bool LabelsAreText(const StreamView& view) {
  // An erased label has no kind.
  for (const v1::Label& label : view.labels) {
    if (label.kind_case() != v1::Label::KIND_NOT_SET) return label.has_text();
  }
  return false;
}

ModelInferResponse InferReply(const InferPlan& plan, const ScoredRows& rows) {
  ModelInferResponse response;
  response.set_model_name(plan.model);
  response.set_model_version(absl::StrCat(rows.served.version()));
  response.set_id(plan.id);
  for (const InferPlan::Output& output : plan.outputs) {
    OutputTensor* tensor = response.add_outputs();
    const TensorWriter writer{tensor, plan.raw ? response.add_raw_output_contents() : nullptr};
    tensor->set_name(std::string(output.scores ? kScoresTensor : kLabelTensor));
    tensor->add_shape(rows.rows);
    if (!output.scores) {
      WriteLabels(rows, writer);
    } else if (output.best > 0) {
      WriteBest(rows, output.best, writer);
    } else {
      WriteScores(rows, writer);
    }
  }
  return response;
}

}  // namespace engram::server
