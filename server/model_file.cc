#include "server/model_file.h"

#include <cstdint>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/util/json_util.h"
#include "server/errors.h"
#include "server/spec_fields.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "storage/sha256.h"

namespace engram::server {
namespace {

using Json = nlohmann::ordered_json;  // written: tasks stay in their order
using Parsed = nlohmann::json;        // read: takes a key in logarithmic time

constexpr uint64_t kHeaderMax = 1 << 20;
constexpr size_t kLengthBytes = 8;

Json ToJson(const std::vector<int32_t>& classes, const std::vector<v1::Label>& labels) {
  Json array = Json::array();
  for (const int32_t index : classes) {
    const v1::Label& label = labels.at(static_cast<size_t>(index));
    if (label.has_number()) {
      array.push_back(label.number());
    } else {
      array.push_back(label.text());
    }
  }
  return array;
}

std::string SpecJson(v1::ModelSpec spec) {
  spec.clear_weights();  // of the model, not of what is made of the file
  spec.clear_tune();
  spec.clear_labels();  // "labels" has them; twice, 10 000 would not fit a header that is read
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  // A spec holds nothing that JSON has no form for.
  ENGRAM_CHECK(google::protobuf::util::MessageToJsonString(spec, &json, options).ok());
  return json;
}

// By the names of their fields, which are those of the registry.
std::string StrategiesOf(const v1::ModelSpec& spec) {
  return absl::StrJoin(spec.strategies(), "+",
                       [](std::string* text, const v1::StrategySpec& strategy) {
                         absl::StrAppend(text, StrategyField(strategy)->name());
                       });
}

// The texts of a safetensors header; empty for bytes that are none.
absl::StatusOr<Parsed> MetadataOf(const std::string& file) {
  uint64_t size = 0;
  if (file.size() < kLengthBytes) return Parsed::object();
  for (size_t i = kLengthBytes; i > 0; --i) {
    size = size << 8 | static_cast<unsigned char>(file[i - 1]);
  }
  if (size > file.size() - kLengthBytes) return Parsed::object();
  if (size > kHeaderMax) {
    return BadField("file", absl::StrCat("its header has ", size, " bytes, at most ", kHeaderMax,
                                         " are read; shorten its labels"));
  }
  const auto begin = file.begin() + kLengthBytes;
  const Parsed header = Parsed::parse(begin, begin + static_cast<ptrdiff_t>(size), nullptr,
                                      /*allow_exceptions=*/false);
  if (!header.is_object() || !header.contains("__metadata__")) return Parsed::object();
  const Parsed& metadata = header["__metadata__"];
  return metadata.is_object() ? metadata : Parsed::object();
}

std::string TextOf(const Parsed& metadata, const char* name) {
  return metadata.contains(name) && metadata[name].is_string() ? metadata[name].get<std::string>()
                                                               : "";
}

// JSON has larger ones, which would come out as other labels.
bool IsInt64(const Parsed& value) {
  return value.is_number_integer() &&
         (!value.is_number_unsigned() || value.get<uint64_t>() <= uint64_t{INT64_MAX});
}

absl::Status AddLabels(const std::string& text, v1::ModelSpec* spec) {
  const Parsed labels = Parsed::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!labels.is_array()) {
    return BadField("file",
                    "its metadata has no \"labels\", a JSON array; give a spec with labels");
  }
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i].is_string()) {
      spec->add_labels()->set_text(labels[i].get<std::string>());
    } else if (IsInt64(labels[i])) {
      spec->add_labels()->set_number(labels[i].get<int64_t>());
    } else {
      return BadField("file", absl::StrCat("its metadata has labels[", i,
                                           "], which is neither an int64 nor a string"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckKind(const std::string& file) {
  // "PK" alone may be the length of an honest header.
  if (!absl::StartsWith(file, "PK\x03\x04")) return absl::OkStatus();
  return BadField("file",
                  "is a zip archive, as TorchScript is: a program, which the server does not run; "
                  "export the model as safetensors");
}

}  // namespace

absl::StatusOr<ModelFile> MakeModelFile(const std::string& model, const v1::ModelSpec& spec,
                                        const Served& served, v1::ExportRequest::Format format) {
  const strategies::NetworkOutputs outputs = served.snapshot->Outputs();
  const std::vector<v1::Label>& names = served.view->labels;
  std::vector<v1::Label> labels;
  for (const int32_t index : outputs.classes) labels.push_back(names.at(index));
  strategies::ExportOptions options;
  if (format == v1::ExportRequest::TORCHSCRIPT) {
    options.format = strategies::ExportFormat::kTorchScript;
  }
  options.tasks = served.view->tasks;
  options.metadata = {{"model", model},
                      {"model_version", absl::StrCat(served.version())},
                      {"labels", ToJson(outputs.classes, names).dump()},
                      {"spec", SpecJson(spec)}};
  if (!outputs.heads.empty()) {
    Json tasks = Json::object();
    for (const strategies::NetworkOutputs::Head& head : outputs.heads) {
      tasks[options.tasks.at(head.task)] = ToJson(head.classes, names);
    }
    options.metadata.emplace_back("tasks", tasks.dump());
  }
  absl::StatusOr<std::string> bytes = served.snapshot->Export(options);
  if (absl::IsFailedPrecondition(bytes.status())) {
    return WrongState("MODEL", model, absl::StrCat("strategy ", StrategiesOf(spec), ": ",
                                                   bytes.status().message()));
  }
  ENGRAM_RETURN_IF_ERROR(bytes.status());
  ModelFile file;
  file.bytes = *std::move(bytes);
  file.header.set_model_version(served.version());
  file.header.set_bytes(static_cast<int64_t>(file.bytes.size()));
  file.header.set_sha256(storage::Sha256Hex(file.bytes));
  *file.header.mutable_labels() = {labels.begin(), labels.end()};
  return file;
}

absl::Status CompleteImport(v1::CreateModelRequest* request) {
  const std::string& file = request->weights().safetensors();
  ENGRAM_RETURN_IF_ERROR(CheckKind(file));
  ENGRAM_ASSIGN_OR_RETURN(const Parsed metadata, MetadataOf(file));
  if (metadata.contains("tasks")) {
    return BadField("file",
                    "has a head a task, and a model begins with one head or none; create one from "
                    "the layers below: engram model create NAME ... --weights FILE");
  }
  const bool from_file = !request->has_spec();
  v1::ModelSpec* spec = request->mutable_spec();
  if (from_file) {
    const std::string text = TextOf(metadata, "spec");
    if (text.empty()) {
      return BadField("file", "its metadata has no \"spec\"; it is no export of this server, so "
                              "give a spec");
    }
    const auto parsed = google::protobuf::util::JsonStringToMessage(text, spec);
    if (!parsed.ok()) {
      return BadField("file", absl::StrCat("its metadata has a \"spec\" that is no ModelSpec: ",
                                           Echo(std::string(parsed.message()))));
    }
    spec->clear_labels();
  }
  if (spec->labels().empty()) {
    ENGRAM_RETURN_IF_ERROR(AddLabels(TextOf(metadata, "labels"), spec));
  }
  request->mutable_weights()->set_scope(v1::PretrainedWeights::STRICT);
  return absl::OkStatus();
}

}  // namespace engram::server
