#include "server/rest_example.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/errors.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using nlohmann::json;

// Printing goes as deep as the value does, and a line may hold half a million brackets.
std::string Shown(const json& value) {
  return value.is_structured() ? value.type_name() : Echo(value.dump());
}

absl::Status SetFeatures(const json& value, v1::Example* example) {
  if (!value.is_array()) return BadField("features", "expected an array of numbers");
  std::string* const dense = example->mutable_features()->mutable_dense();
  dense->reserve(value.size() * sizeof(float));
  for (const json& each : value) {
    if (!each.is_number()) {
      return BadField("features", absl::StrCat("value ", dense->size() / sizeof(float),
                                               ": expected a number, got ", Shown(each)));
    }
    const float number = each.get<float>();
    dense->append(reinterpret_cast<const char*>(&number), sizeof(number));
  }
  return absl::OkStatus();
}

absl::Status SetLabel(const json& value, v1::Example* example) {
  if (value.is_string()) {
    example->mutable_label()->set_text(value.get<std::string>());
  } else if (value.is_number_integer()) {
    example->mutable_label()->set_number(value.get<int64_t>());
  } else {
    return BadField("label", absl::StrCat("expected a whole number or text, got ", Shown(value)));
  }
  return absl::OkStatus();
}

absl::Status SetText(const json& value, absl::string_view field, std::string* text) {
  if (!value.is_string()) return BadField(field, "expected text");
  *text = value.get<std::string>();
  return absl::OkStatus();
}

absl::Status SetSplit(const json& value, v1::Example* example) {
  v1::Split split;
  if (!value.is_string() || !v1::Split_Parse(value.get<std::string>(), &split)) {
    return BadField("split",
                    absl::StrCat("expected \"TRAIN\" or \"HELD_OUT\", got ", Shown(value)));
  }
  example->set_split(split);
  return absl::OkStatus();
}

absl::Status SetField(const std::string& name, const json& value, v1::Example* example) {
  if (name == "features") return SetFeatures(value, example);
  if (name == "label") return SetLabel(value, example);
  if (name == "task") return SetText(value, name, example->mutable_task());
  if (name == "id") return SetText(value, name, example->mutable_id());
  if (name == "subject_id") return SetText(value, name, example->mutable_subject_id());
  if (name == "split") return SetSplit(value, example);
  if (name == "weight") {
    if (!value.is_number()) return BadField(name, "expected a number");
    example->set_weight(value.get<float>());
    return absl::OkStatus();
  }
  if (name == "event_time_ms") {
    if (!value.is_number_integer()) return BadField(name, "expected whole milliseconds");
    example->set_event_time_ms(value.get<int64_t>());
    return absl::OkStatus();
  }
  return BadField(Echo(name),
                  "unknown; an example has features, label, task, weight, id, "
                  "subject_id, event_time_ms, split");
}

}  // namespace

absl::StatusOr<v1::Example> ParseExampleLine(absl::string_view line) {
  // The library reports by exceptions; this is the edge where they become statuses.
  try {
    const json row = json::parse(line.begin(), line.end());
    if (!row.is_object()) return BadField("line", "expected a JSON object");
    v1::Example example;
    for (const auto& [name, value] : row.items()) {
      ENGRAM_RETURN_IF_ERROR(SetField(name, value, &example));
    }
    return example;
  } catch (const json::exception& error) {
    return BadField("line", absl::StrCat("is no JSON: ", Echo(error.what())));
  }
}

}  // namespace engram::server
