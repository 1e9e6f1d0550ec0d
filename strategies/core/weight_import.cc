#include "strategies/core/weight_import.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/types/optional.h"
#include "storage/base/status_macros.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {
namespace {

using TensorInfo = StateReader::TensorInfo;

constexpr ArchiveLimits kLimits{/*header_bytes=*/1 << 20, /*tensors=*/10000};
constexpr size_t kNamesShown = 6;
constexpr size_t kEchoBytes = 64;

template <typename... Parts>
absl::Status Wrong(const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("weights: ", parts...));
}

// A name from the file, safe to repeat.
std::string Quoted(absl::string_view name) {
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, kEchoBytes)), "\"");
}

std::string ShapeText(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

// What people send instead, recognised by how it begins. Safetensors begins with a length, which
// may be any bytes, and then an object of JSON.
absl::Status CheckKind(absl::string_view bytes) {
  if (bytes.empty()) return Wrong("the file is empty; expected safetensors");
  if (bytes.size() > 8 && bytes[8] == '{') return absl::OkStatus();
  const char* found = nullptr;
  if (absl::StartsWith(bytes, "PK")) found = "a zip archive (torch.save or TorchScript)";
  if (bytes[0] == '\x80') found = "a Python pickle";
  if (absl::StartsWith(bytes, "\x89HDF")) found = "an HDF5 file";
  if (found == nullptr) return absl::OkStatus();
  return Wrong("expected a safetensors file, got ", found,
               "; convert it where it is trusted, with safetensors.torch.save_file");
}

absl::StatusOr<StateReader> OpenFile(absl::string_view bytes) {
  ENGRAM_RETURN_IF_ERROR(CheckKind(bytes));
  absl::StatusOr<StateReader> reader = StateReader::Open(bytes, kLimits);
  if (reader.ok()) return reader;
  return Wrong("not a valid safetensors file: ", reader.status().message());
}

// One weight or bias of the network, and the tensor of the file that is meant for it.
struct Place {
  ParameterId id = kNoParameter;
  std::string name;  // ours
  bool is_bias = false;
  bool in_head = false;
  absl::optional<TensorInfo> tensor;
};

// From the input to the head, each layer's weight before its bias.
std::vector<Place> PlacesOf(const Network& network, const ParameterArena& arena) {
  std::vector<Place> places;
  const std::vector<LayerTrace>& traces = network.traces();
  for (size_t layer = 0; layer < traces.size(); ++layer) {
    const bool in_head = layer + 1 == traces.size();
    for (const ParameterId id : {traces[layer].weight, traces[layer].bias}) {
      places.push_back({id, arena.slot(id).name, id == traces[layer].bias, in_head, {}});
    }
  }
  return places;
}

// "PREFIX.NUMBER.weight" or "PREFIX.NUMBER.bias", as nn.Sequential names the layers that it holds.
struct SequentialName {
  std::string prefix;
  int64_t number = 0;
  bool is_bias = false;
};

absl::optional<SequentialName> ParseSequential(absl::string_view name) {
  std::vector<absl::string_view> parts = absl::StrSplit(name, '.');
  SequentialName parsed;
  if (parts.size() < 2 || (parts.back() != "weight" && parts.back() != "bias")) {
    return absl::nullopt;
  }
  parsed.is_bias = parts.back() == "bias";
  parts.pop_back();
  if (!absl::SimpleAtoi(parts.back(), &parsed.number) || parsed.number < 0 ||
      absl::StrCat(parsed.number) != parts.back()) {
    return absl::nullopt;
  }
  parts.pop_back();
  parsed.prefix = absl::StrJoin(parts, ".");
  return parsed;
}

absl::Status MatchSequential(const std::vector<TensorInfo>& tensors, std::vector<Place>* places) {
  std::vector<SequentialName> names;
  std::set<int64_t> numbers;
  for (const TensorInfo& tensor : tensors) {
    const auto name = ParseSequential(tensor.name);
    if (!name.has_value()) {
      return Wrong("tensor ", Quoted(tensor.name),
                   " is not named NUMBER.weight or NUMBER.bias as others of the file are");
    }
    if (!names.empty() && name->prefix != names.front().prefix) {
      return Wrong("tensors ", Quoted(tensors.front().name), " and ", Quoted(tensor.name),
                   " have different prefixes; a file holds one nn.Sequential");
    }
    numbers.insert(name->number);
    names.push_back(*name);
  }
  const size_t layers = places->size() / 2;
  if (numbers.size() != layers && numbers.size() + 1 != layers) {
    return Wrong("the file has ", numbers.size(), " linear layers, the model has ", layers - 1,
                 " hidden ones and a head; create the model with the file's layers");
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const auto layer =
        static_cast<size_t>(std::distance(numbers.begin(), numbers.find(names[i].number)));
    Place& place = (*places)[2 * layer + (names[i].is_bias ? 1 : 0)];
    if (place.tensor.has_value()) {
      return Wrong("tensors ", Quoted(place.tensor->name), " and ", Quoted(tensors[i].name),
                   " are both for ", place.name);
    }
    place.tensor = tensors[i];
  }
  return absl::OkStatus();
}

// "head.TASK.weight" or "head.TASK.bias", as a model with a head a task is exported.
bool IsHeadOfTask(absl::string_view name) {
  return absl::ConsumePrefix(&name, "head.") &&
         (absl::EndsWith(name, ".weight") || absl::EndsWith(name, ".bias"));
}

// Without `heads` those of tasks are passed over.
absl::Status MatchByName(const std::vector<TensorInfo>& tensors, bool heads,
                         std::vector<Place>* places) {
  for (const TensorInfo& tensor : tensors) {
    bool known = !heads && IsHeadOfTask(tensor.name);
    for (Place& place : *places) {
      if (place.name != tensor.name) continue;
      place.tensor = tensor;
      known = true;
    }
    if (known) continue;
    std::vector<std::string> names;
    for (const Place& place : *places) {
      if (names.size() < kNamesShown) names.push_back(place.name);
    }
    return Wrong("tensor ", Quoted(tensor.name), " is not of this model, which has ",
                 absl::StrJoin(names, ", "), names.size() < places->size() ? ", ..." : "",
                 "; rename it, or use the names of an nn.Sequential");
  }
  return absl::OkStatus();
}

absl::Status Match(const std::vector<TensorInfo>& tensors, bool heads,
                   std::vector<Place>* places) {
  if (tensors.empty()) return Wrong("the file has no tensor");
  // Of ours a head may belong to a task that is called by a number: head.0.weight.
  const bool is_ours = std::any_of(tensors.begin(), tensors.end(), [](const TensorInfo& tensor) {
    return tensor.name == "hidden0.weight";
  });
  if (!is_ours && ParseSequential(tensors.front().name).has_value()) {
    return MatchSequential(tensors, places);
  }
  return MatchByName(tensors, heads, places);
}

// [rows, columns] as the model has them. A head that is left out may have any number of rows.
absl::Status CheckShape(const Place& place, const ParameterArena::Slot& slot, bool any_rows) {
  const std::vector<int64_t>& shape = place.tensor->shape;
  bool fits = !shape.empty() && (any_rows ? shape[0] >= 1 : shape[0] == slot.rows);
  if (place.is_bias) {
    fits = fits && (shape.size() == 1 || (shape.size() == 2 && shape[1] == 1));
  } else {
    fits = fits && shape.size() == 2 && shape[1] == slot.columns;
  }
  if (fits) return absl::OkStatus();
  const std::string rows = any_rows ? "n" : absl::StrCat(slot.rows);
  return Wrong("tensor ", Quoted(place.tensor->name), " is ", ShapeText(shape),
               ", the model needs [", rows, place.is_bias ? "" : absl::StrCat(",", slot.columns),
               "] for ", place.name, "; create the model with the layers of the file");
}

// As float32, finite.
absl::StatusOr<at::Tensor> ReadValues(const StateReader& reader, const TensorInfo& tensor) {
  if (tensor.dtype != "F32" && tensor.dtype != "F64" && tensor.dtype != "F16" &&
      tensor.dtype != "BF16") {
    return Wrong("tensor ", Quoted(tensor.name), " is ", tensor.dtype,
                 ", expected F32, F64, F16 or BF16");
  }
  ENGRAM_ASSIGN_OR_RETURN(const at::Tensor stored, reader.GetTensor(tensor.name));
  at::Tensor values = stored.to(at::kFloat);
  const float* numbers = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    if (std::isfinite(numbers[i])) continue;
    return Wrong("tensor ", Quoted(tensor.name), "[", i, "] is ",
                 std::isnan(numbers[i]) ? "NaN" : "Inf as float32", ", expected finite values");
  }
  return values;
}

absl::Status CheckLabels(const StateReader& reader, const std::vector<std::string>& labels) {
  if (!reader.Has("labels")) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, reader.GetText("labels"));
  const auto parsed = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_array()) return Wrong("__metadata__ labels: expected a JSON array");
  if (parsed.size() != labels.size()) {
    return Wrong("__metadata__ labels: the file names ", parsed.size(), ", the model has ",
                 labels.size(), "; create the model with the labels of the file");
  }
  for (size_t i = 0; i < labels.size(); ++i) {
    std::string label;
    if (parsed[i].is_string()) label = parsed[i].get<std::string>();
    if (parsed[i].is_number_integer()) label = absl::StrCat(parsed[i].get<int64_t>());
    if (label == labels[i]) continue;
    return Wrong("__metadata__ labels[", i, "] is ", Quoted(label), ", the model's is ",
                 Quoted(labels[i]), "; create the model with the labels of the file, in its order");
  }
  return absl::OkStatus();
}

// Both of the head's tensors or neither, with as many rows.
absl::Status CheckSpareHead(const Place& weight, const Place& bias) {
  if (!weight.tensor.has_value() && !bias.tensor.has_value()) return absl::OkStatus();
  if (!weight.tensor.has_value() || !bias.tensor.has_value()) {
    return Wrong((weight.tensor.has_value() ? bias : weight).name, " is missing");
  }
  if (weight.tensor->shape[0] == bias.tensor->shape[0]) return absl::OkStatus();
  return Wrong("tensor ", Quoted(bias.tensor->name), " is ", ShapeText(bias.tensor->shape), ", ",
               Quoted(weight.tensor->name), " is ", ShapeText(weight.tensor->shape));
}

}  // namespace

absl::Status ImportWeights(const PretrainedWeights& weights, const Network& network,
                           ParameterArena* arena) {
  const bool strict = weights.scope == PretrainedWeights::Scope::kStrict;
  ENGRAM_ASSIGN_OR_RETURN(const StateReader reader, OpenFile(weights.safetensors));
  if (strict) ENGRAM_RETURN_IF_ERROR(CheckLabels(reader, weights.labels));
  std::vector<Place> places = PlacesOf(network, *arena);
  if (!strict && places.size() == 2) {
    return Wrong("the model has no layer below its head; give it hidden layers, or scope STRICT");
  }
  ENGRAM_RETURN_IF_ERROR(Match(reader.Tensors(), strict, &places));
  std::vector<std::pair<ParameterId, at::Tensor>> taken;
  for (const Place& place : places) {
    const bool wanted = strict || !place.in_head;
    if (!place.tensor.has_value()) {
      if (!wanted) continue;
      return Wrong(place.name, " is missing",
                   place.in_head ? "; scope TRUNK takes a file without a head" : "");
    }
    ENGRAM_RETURN_IF_ERROR(CheckShape(place, arena->slot(place.id), !wanted));
    ENGRAM_ASSIGN_OR_RETURN(at::Tensor values, ReadValues(reader, *place.tensor));
    if (wanted) taken.emplace_back(place.id, std::move(values));
  }
  if (!strict) ENGRAM_RETURN_IF_ERROR(CheckSpareHead(places[places.size() - 2], places.back()));
  for (const auto& [id, values] : taken) {
    const at::Tensor view = arena->View(id);
    view.copy_(values.view(view.sizes()));
  }
  return absl::OkStatus();
}

}  // namespace engram::strategies
