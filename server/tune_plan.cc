#include "server/tune_plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/util/message_differencer.h"
#include "server/errors.h"
#include "server/spec_fields.h"
#include "server/spec_options.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::util::MessageDifferencer;

constexpr size_t kNameBytesMax = 128;
// Weights, gradients, two moments of an optimizer.
constexpr int64_t kBytesAParameter = 16;
constexpr int64_t kCountMax = 1'000'000'000'000;

// What a candidate may choose; the rest says what the stream means and is the model's.
void CopyTunable(const v1::ModelSpec& from, v1::ModelSpec* to) {
  CopyLiveFields(from, to);
  to->clear_network();
  if (from.has_mlp()) *to->mutable_mlp() = from.mlp();
  to->set_label_smoothing(from.label_smoothing());
  to->set_ema_decay(from.ema_decay());
}

absl::Status CheckTunable(const std::string& field, const v1::ModelSpec& spec,
                          const v1::ModelSpec& candidate) {
  v1::ModelSpec rest = candidate;
  CopyTunable(spec, &rest);
  const std::string difference = FirstDifference(spec, rest);
  if (difference.empty()) return absl::OkStatus();
  return BadField(field, absl::StrCat("a candidate cannot change ", difference));
}

Message* StrategyMessage(v1::StrategySpec* strategy) {
  return v1::StrategySpec::GetReflection()->MutableMessage(strategy, StrategyField(*strategy));
}

// The model's strategy of that name, or null.
v1::StrategySpec* FindStrategy(absl::string_view name, v1::ModelSpec* spec) {
  for (v1::StrategySpec& strategy : *spec->mutable_strategies()) {
    if (StrategyField(strategy)->name() == name) return &strategy;
  }
  return nullptr;
}

absl::Status MergeStrategies(const std::string& field, const v1::ModelSpec& change,
                             v1::ModelSpec* spec) {
  for (int i = 0; i < change.strategies_size(); ++i) {
    const v1::StrategySpec& wanted = change.strategies(i);
    if (StrategyField(wanted) == nullptr) {
      return BadField(absl::StrCat(field, ".strategies[", i, "]"), "names no strategy");
    }
    v1::StrategySpec* present = FindStrategy(StrategyField(wanted)->name(), spec);
    if (present != nullptr) {
      present->MergeFrom(wanted);
      continue;
    }
    if (spec->strategies_size() == 1 && spec->strategies(0).has_finetune()) {
      spec->clear_strategies();
    }
    *spec->add_strategies() = wanted;
  }
  return absl::OkStatus();
}

// `spec` with what a candidate that is not whole says of it.
absl::StatusOr<v1::ModelSpec> Merge(const std::string& field, const v1::ModelSpec& change,
                                    v1::ModelSpec spec) {
  v1::ModelSpec rest = change;
  CopyTunable(v1::ModelSpec(), &rest);
  rest.clear_optimizer();
  if (rest.ByteSizeLong() > 0) {
    return BadField(field, absl::StrCat("a candidate cannot change ", rest.ShortDebugString()));
  }
  if (change.has_mlp()) *spec.mutable_mlp() = change.mlp();
  spec.mutable_optimizer()->MergeFrom(change.optimizer());
  if (change.has_augmentation()) spec.mutable_augmentation()->MergeFrom(change.augmentation());
  if (change.has_penalty_schedule()) {
    spec.mutable_penalty_schedule()->MergeFrom(change.penalty_schedule());
  }
  if (change.label_smoothing() != 0) spec.set_label_smoothing(change.label_smoothing());
  if (change.ema_decay() != 0) spec.set_ema_decay(change.ema_decay());
  ENGRAM_RETURN_IF_ERROR(MergeStrategies(field, change, &spec));
  return spec;
}

absl::Status SetNumber(absl::string_view name, double value, const FieldDescriptor* field,
                       Message* message) {
  const auto* reflection = message->GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE:
      reflection->SetDouble(message, field, value);
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_INT64:
      if (value != std::floor(value) || std::abs(value) > 1e15) break;
      reflection->SetInt64(message, field, static_cast<int64_t>(value));
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_BOOL:
      if (value != 0 && value != 1) break;
      reflection->SetBool(message, field, value == 1);
      return absl::OkStatus();
    default:
      return BadField("spec.tune.grid", absl::StrCat(name, " is no number"));
  }
  return BadField("spec.tune.grid", absl::StrCat(name, " cannot be ", value));
}

// Sets the number that an axis names. A member of a oneof must be the one in use: "adam.beta1" does
// not turn SGD into Adam.
absl::Status SetParameter(const std::string& name, double value, v1::ModelSpec* spec) {
  std::vector<std::string> path = absl::StrSplit(name, '.');
  Message* message = spec->mutable_optimizer();
  if (path.size() > 1) {
    v1::StrategySpec* strategy = FindStrategy(path[0], spec);
    if (strategy != nullptr) {
      message = StrategyMessage(strategy);
    } else if (path[0] == "augmentation") {
      message = spec->mutable_augmentation();
    } else if (path[0] == "penalty_schedule") {
      message = spec->mutable_penalty_schedule();
    } else if (path[0] != "optimizer") {
      return BadField("spec.tune.grid", absl::StrCat("the model has no strategy ", Echo(path[0]),
                                                     " (parameter \"", Echo(name), "\")"));
    }
    path.erase(path.begin());
  } else if (name == "label_smoothing" || name == "ema_decay") {
    message = spec;
  }
  for (size_t i = 0; i < path.size(); ++i) {
    const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(path[i]);
    const bool leaf = i + 1 == path.size();
    const bool inner = field != nullptr && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
    if (field == nullptr || field->is_repeated() || leaf == inner ||
        (inner && !message->GetReflection()->HasField(*message, field))) {
      return BadField("spec.tune.grid", absl::StrCat("no number \"", Echo(name), "\""));
    }
    if (leaf) return SetNumber(Echo(name), value, field, message);
    message = message->GetReflection()->MutableMessage(message, field);
  }
  return absl::OkStatus();
}

// The grid's combinations as whole candidates, the last axis changing fastest.
absl::Status ExpandGrid(const v1::Tune& tune, const v1::ModelSpec& spec, v1::Tune* out) {
  if (tune.grid_size() == 0) return absl::OkStatus();
  int64_t combinations = 1;
  for (const v1::Tune::Axis& axis : tune.grid()) {
    combinations *= axis.values_size();
    if (combinations == 0) return BadField("spec.tune.grid", "an axis needs values");
    if (combinations > kCandidatesMax) {
      return BadField("spec.tune.grid",
                      absl::StrCat("expected at most ", kCandidatesMax, " combinations"));
    }
  }
  for (int64_t index = 0; index < combinations; ++index) {
    v1::Tune::Candidate* candidate = out->add_candidates();
    *candidate->mutable_spec() = spec;
    candidate->set_whole(true);
    std::vector<std::string> parts;
    int64_t stride = combinations;
    for (const v1::Tune::Axis& axis : tune.grid()) {
      stride /= axis.values_size();
      const double value = axis.values(static_cast<int>(index / stride % axis.values_size()));
      ENGRAM_RETURN_IF_ERROR(SetParameter(axis.parameter(), value, candidate->mutable_spec()));
      parts.push_back(absl::StrCat(axis.parameter(), "=", value));
    }
    candidate->set_name(absl::StrJoin(parts, ","));
  }
  return absl::OkStatus();
}

bool IsPrintable(absl::string_view name) {
  for (char c : name) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) return false;
  }
  return !name.empty() && name.size() <= kNameBytesMax;
}

absl::Status CheckNames(const v1::Tune& tune) {
  std::set<absl::string_view> names = {kOwnSettings};
  for (int i = 0; i < tune.candidates_size(); ++i) {
    const std::string& name = tune.candidates(i).name();
    const std::string field = absl::StrCat("spec.tune.candidates[", i, "].name");
    if (!IsPrintable(name)) return BadField(field, "must have 1 to 128 printable characters");
    if (!names.insert(name).second) {
      return BadField(field, absl::StrCat("\"", name, "\" is taken"));
    }
  }
  return absl::OkStatus();
}

// The whole number of that name in a strategy's message; 0 when there is none.
int64_t NumberIn(const Message& message, const char* name) {
  const FieldDescriptor* field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_INT64) return 0;
  return message.GetReflection()->GetInt64(message, field);
}

// About what a candidate takes: its network as an optimizer with two moments holds it, and its
// exemplars as float32. What strategies keep beside them comes on top, a few multiples of the
// parameters.
double CandidateBytes(const v1::ModelSpec& spec) {
  double parameters = 0;
  double width = static_cast<double>(spec.feature_count());
  for (const int64_t units : spec.mlp().hidden()) {
    parameters += (width + 1) * static_cast<double>(units);
    width = static_cast<double>(units);
  }
  parameters += (width + 1) * std::max(1, spec.labels_size());
  double exemplars = 0;
  for (v1::StrategySpec strategy : spec.strategies()) {
    const Message& message = *StrategyMessage(&strategy);
    exemplars += static_cast<double>(NumberIn(message, "memory_size")) +
                 static_cast<double>(NumberIn(message, "memory_per_task")) *
                     static_cast<double>(NumberIn(message, "tasks_max"));
  }
  return kBytesAParameter * parameters +
         exemplars * static_cast<double>(spec.feature_count()) * sizeof(float);
}

absl::Status CheckNumbers(const v1::Tune& tune) {
  if (!v1::Tune::Policy_IsValid(tune.policy())) {
    return BadField("spec.tune.policy",
                    absl::StrCat("unknown value ", static_cast<int>(tune.policy())));
  }
  for (const auto& [field, value] : {std::pair<const char*, int64_t>("tasks", tune.tasks()),
                                     {"examples", tune.examples()}}) {
    if (value >= 0 && value <= kCountMax) continue;
    return BadField(absl::StrCat("spec.tune.", field),
                    absl::StrCat("must be in [0, ", kCountMax, "], got ", value));
  }
  if (tune.tasks() == 0 && tune.examples() == 0) {
    return BadField("spec.tune", "tasks or examples must say when it is decided");
  }
  return absl::OkStatus();
}

absl::Status CheckMemory(const v1::Tune& tune) {
  double bytes = 0;
  for (const auto& candidate : tune.candidates()) bytes += CandidateBytes(candidate.spec());
  if (bytes <= static_cast<double>(kTuneBytesMax)) return absl::OkStatus();
  return BadField("spec.tune.candidates",
                  absl::StrCat("would take about ", static_cast<int64_t>(bytes) >> 20,
                               " MiB of memory together, expected at most ", kTuneBytesMax >> 20));
}

}  // namespace

absl::StatusOr<v1::Tune> CompleteTune(const v1::Tune& tune, const v1::ModelSpec& spec) {
  v1::Tune complete = tune;
  complete.clear_grid();
  ENGRAM_RETURN_IF_ERROR(CheckNumbers(tune));
  ENGRAM_RETURN_IF_ERROR(ExpandGrid(tune, spec, &complete));
  if (complete.candidates_size() < 1 || complete.candidates_size() > kCandidatesMax) {
    return BadField("spec.tune.candidates",
                    absl::StrCat("expected 1 to ", kCandidatesMax, " with those of the grid, got ",
                                 complete.candidates_size()));
  }
  for (int i = 0; i < complete.candidates_size(); ++i) {
    v1::Tune::Candidate* candidate = complete.mutable_candidates(i);
    const std::string field = absl::StrCat("spec.tune.candidates[", i, "]");
    if (candidate->name().empty()) candidate->set_name(absl::StrCat("candidate-", i + 1));
    if (candidate->spec().has_tune()) return BadField(field, "a candidate has no tune of its own");
    if (!candidate->whole()) {
      ENGRAM_ASSIGN_OR_RETURN(*candidate->mutable_spec(),
                              Merge(absl::StrCat(field, ".spec"), candidate->spec(), spec));
      candidate->set_whole(true);
    }
    if (spec.has_weights()) *candidate->mutable_spec()->mutable_weights() = spec.weights();
    auto whole = CompleteSpec(candidate->spec());
    if (!whole.ok()) return BadField(field, whole.status().message());
    *candidate->mutable_spec() = *std::move(whole);
    ENGRAM_RETURN_IF_ERROR(CheckTunable(absl::StrCat(field, ".spec"), spec, candidate->spec()));
  }
  ENGRAM_RETURN_IF_ERROR(CheckNames(complete));
  ENGRAM_RETURN_IF_ERROR(CheckMemory(complete));
  return complete;
}

bool InterleavedTasks(const v1::ModelSpec& spec) {
  if (!strategies::InterleavedTasks(ToModelOptions(spec))) return false;
  const auto& candidates = spec.tune().candidates();
  return std::all_of(candidates.begin(), candidates.end(), [](const auto& candidate) {
    return strategies::InterleavedTasks(ToModelOptions(candidate.spec()));
  });
}

absl::Status CheckNextTune(const internal::StreamState& head, const v1::ModelSpec& next) {
  if (!next.has_tune()) return absl::OkStatus();
  const v1::Tune& now = head.spec().tune();
  if (head.spec().has_tune()) {
    if (MessageDifferencer::Equals(now, next.tune())) return absl::OkStatus();
    return WrongState("TUNE", absl::StrCat(now.id()),
                      "a tune is under way and cannot change; end it first");
  }
  if (next.tune().id() != head.tunes() + 1) {
    return WrongState("TUNE", absl::StrCat(next.tune().id()), "this tune has ended");
  }
  if (next.tune().id() > kTunesMax) {
    return OverLimit("tunes", absl::StrCat("tune limit ", kTunesMax),
                     std::chrono::milliseconds(0));
  }
  for (int i = 0; i < next.tune().candidates_size(); ++i) {
    const absl::Status live = CheckLiveChange(next, next.tune().candidates(i).spec());
    if (live.ok()) continue;
    return BadField(absl::StrCat("spec.tune.candidates[", i, "]"),
                    absl::StrCat("begins as a copy of the running model: ", live.message()));
  }
  return absl::OkStatus();
}

}  // namespace engram::server
