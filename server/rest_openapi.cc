#include "server/rest_openapi.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/descriptor.h"
#include "google/rpc/status.pb.h"
#include "nlohmann/json.hpp"
#include "server/rest_routes.h"

namespace engram::server {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using nlohmann::json;

constexpr char kNdjson[] = "application/x-ndjson";
constexpr char kJson[] = "application/json";
// JSON, and binary values behind it.
constexpr char kBinary[] = "application/octet-stream";

// Collects the messages that a document speaks of, each once.
class Schemas {
 public:
  json Reference(const Descriptor& type) {
    if (type.full_name() == "google.protobuf.Any") return {{"type", "object"}};
    if (seen_.insert(&type).second) schemas_[type.full_name()] = Object(type);
    return {{"$ref", absl::StrCat("#/components/schemas/", type.full_name())}};
  }
  const json& all() const { return schemas_; }

 private:
  static bool OfInference(const Descriptor& type) {
    return type.file()->package() == "inference";
  }

  json Object(const Descriptor& type) {
    json properties = json::object();
    for (int i = 0; i < type.field_count(); ++i) {
      properties[type.field(i)->name()] = Field(*type.field(i));
    }
    return {{"type", "object"}, {"properties", std::move(properties)}};
  }

  json Field(const FieldDescriptor& field) {
    if (field.is_map()) {
      return {{"type", "object"},
              {"additionalProperties", Value(*field.message_type()->FindFieldByName("value"))}};
    }
    if (field.is_repeated()) return {{"type", "array"}, {"items", Value(field)}};
    return Value(field);
  }

  // The mapping of protobuf's JSON: 64 bits are text, so are bytes (base64) and enums (their
  // names). The Open Inference Protocol's has numbers for 64 bits.
  json Value(const FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT64:
      case FieldDescriptor::CPPTYPE_UINT64:
        return {{"type", OfInference(*field.containing_type()) ? "integer" : "string"},
                {"format", "int64"}};
      case FieldDescriptor::CPPTYPE_INT32:
      case FieldDescriptor::CPPTYPE_UINT32:
        return {{"type", "integer"}};
      case FieldDescriptor::CPPTYPE_DOUBLE:
      case FieldDescriptor::CPPTYPE_FLOAT:
        return {{"type", "number"}};
      case FieldDescriptor::CPPTYPE_BOOL:
        return {{"type", "boolean"}};
      case FieldDescriptor::CPPTYPE_ENUM:
        return Enum(*field.enum_type());
      case FieldDescriptor::CPPTYPE_MESSAGE:
        return Reference(*field.message_type());
      case FieldDescriptor::CPPTYPE_STRING:
        break;
    }
    json text = {{"type", "string"}};
    if (field.type() == FieldDescriptor::TYPE_BYTES) text["format"] = "byte";
    return text;
  }

  static json Enum(const google::protobuf::EnumDescriptor& type) {
    json names = json::array();
    for (int i = 0; i < type.value_count(); ++i) names.push_back(type.value(i)->name());
    return {{"type", "string"}, {"enum", std::move(names)}};
  }

  std::set<const Descriptor*> seen_;
  json schemas_ = json::object();
};

json Parameter(absl::string_view name, absl::string_view in, json schema) {
  return {{"name", std::string(name)},
          {"in", std::string(in)},
          {"required", in == "path"},
          {"schema", std::move(schema)}};
}

json Parameters(const RestRoute& route) {
  json parameters = json::array();
  if (route.rpc == Rpc::kModelInfer) {
    parameters.push_back(
        Parameter("Inference-Header-Content-Length", "header", {{"type", "integer"}}));
  }
  for (absl::string_view segment : absl::StrSplit(route.pattern, '/')) {
    if (segment.empty() || segment.front() != '{') continue;
    parameters.push_back(
        Parameter(segment.substr(1, segment.size() - 2), "path", {{"type", "string"}}));
  }
  if (route.rpc != Rpc::kLearnBatch) return parameters;
  parameters.push_back(Parameter("producer", "query", {{"type", "string"}}));
  parameters.push_back(Parameter("sequence", "query", {{"type", "integer"}, {"minimum", 1}}));
  parameters.push_back(
      Parameter("batch", "query",
                {{"type", "integer"}, {"minimum", 1}, {"maximum", 1024}, {"default", 256}}));
  return parameters;
}

json Content(absl::string_view type, json schema) {
  return {{"content", {{std::string(type), {{"schema", std::move(schema)}}}}}};
}

json Binary() { return {{"schema", {{"type", "string"}, {"format", "binary"}}}}; }

// One example a line, with the names of rest_example.h.
json LineSchema() {
  json text = {{"type", "string"}}, number = {{"type", "number"}};
  return {{"type", "object"},
          {"required", {"features", "label"}},
          {"properties",
           {{"features", {{"type", "array"}, {"items", number}}},
            {"label", {{"oneOf", {text, {{"type", "integer"}}}}}},
            {"task", text},
            {"weight", number},
            {"id", text},
            {"subject_id", text},
            {"event_time_ms", {{"type", "integer"}}},
            {"split", {{"type", "string"}, {"enum", {"TRAIN", "HELD_OUT"}}}}}}};
}

json LearnedSchema() {
  json properties = json::object();
  for (const char* name : {"producer", "examples", "duplicates", "durable_sequence",
                           "applied_sequence", "refused", "next_sequence"}) {
    properties[name] = {{"type", "string"}};
  }
  properties["refusals"] = {{"type", "array"}, {"items", {{"type", "object"}}}};
  return {{"type", "object"}, {"properties", std::move(properties)}};
}

json ListOf(json items) { return {{"type", "array"}, {"items", std::move(items)}}; }

// A tensor of inference_json.h; one that is only asked for has neither shape nor values.
json TensorSchema(bool whole) {
  json properties = {{"name", {{"type", "string"}}}, {"parameters", {{"type", "object"}}}};
  json required = {"name"};
  if (whole) {
    properties["shape"] = ListOf({{"type", "integer"}, {"format", "int64"}});
    properties["datatype"] = {{"type", "string"}};
    // Numbers, text or truth values, flat or nested; absent where the values are binary.
    properties["data"] = ListOf(json::object());
    required = {"name", "shape", "datatype"};
  }
  return {{"type", "object"},
          {"required", std::move(required)},
          {"properties", std::move(properties)}};
}

json InferSchema(bool answer) {
  json text = {{"type", "string"}};
  json properties = {{"id", text}, {"parameters", {{"type", "object"}}}};
  properties["outputs"] = ListOf(TensorSchema(answer));
  if (answer) {
    properties["model_name"] = properties["model_version"] = text;
  } else {
    properties["inputs"] = ListOf(TensorSchema(true));
  }
  json schema = {{"type", "object"}, {"properties", std::move(properties)}};
  schema["required"] = {answer ? "outputs" : "inputs"};
  return schema;
}

json AnswerContent(Rpc rpc, Schemas* schemas) {
  if (rpc == Rpc::kLearnBatch) return Content(kJson, LearnedSchema());
  const Descriptor& type = *MethodOf(rpc).output_type();
  const auto part = [&](const char* name) {
    return schemas->Reference(*type.FindFieldByName(name)->message_type());
  };
  if (rpc == Rpc::kModelConfig) return Content(kJson, part("config"));
  if (rpc == Rpc::kRepositoryIndex) return Content(kJson, ListOf(part("models")));
  if (rpc != Rpc::kModelInfer) return Content(kJson, schemas->Reference(type));
  json both = Content(kJson, InferSchema(true));
  both["content"][kBinary] = Binary();
  return both;
}

json QuestionContent(Rpc rpc, Schemas* schemas) {
  if (rpc == Rpc::kLearnBatch) return Content(kNdjson, LineSchema());
  if (rpc != Rpc::kModelInfer) {
    return Content(kJson, schemas->Reference(*MethodOf(rpc).input_type()));
  }
  json both = Content(kJson, InferSchema(false));
  both["content"][kBinary] = Binary();
  return both;
}

json Described(json content, const char* description) {
  content["description"] = description;
  return content;
}

// One rpc may have several paths; each is an operation of its own.
std::string OperationId(const RestRoute& route) {
  const std::string& name = MethodOf(route.rpc).name();
  if (absl::StrContains(route.pattern, "version}")) return absl::StrCat(name, "OfVersion");
  const bool all =
      route.rpc == Rpc::kModelStatistics && !absl::StrContains(route.pattern, "{");
  return all ? absl::StrCat(name, "OfAll") : name;
}

json Operation(const RestRoute& route, json error, Schemas* schemas) {
  json answer = AnswerContent(route.rpc, schemas);
  json responses = {{"default", std::move(error)}};
  if (route.rpc == Rpc::kServerReady || route.rpc == Rpc::kModelReady) {
    responses["503"] = Described(answer, "not ready");
  }
  responses["200"] = Described(std::move(answer), "OK");
  json operation = {{"operationId", OperationId(route)},
                    {"tags", {MethodOf(route.rpc).service()->name()}},
                    {"parameters", Parameters(route)},
                    {"responses", std::move(responses)}};
  if (route.verb == "POST" || route.verb == "PATCH") {
    operation["requestBody"] = QuestionContent(route.rpc, schemas);
  }
  return operation;
}

json OwnOperation(json error) {
  return {{"operationId", "OpenApi"},
          {"responses",
           {{"200", Described(Content(kJson, {{"type", "object"}}), "this document")},
            {"default", std::move(error)}}}};
}

}  // namespace

std::string OpenApiDocument() {
  Schemas schemas;
  json paths = json::object();
  const auto add = [&](absl::Span<const RestRoute> routes, const json& error) {
    for (const RestRoute& route : routes) {
      paths[std::string(route.pattern)][absl::AsciiStrToLower(route.verb)] =
          Operation(route, error, &schemas);
    }
  };
  const json error = Described(
      Content(kJson, schemas.Reference(*google::rpc::Status::descriptor())), "google.rpc.Status");
  add(kRestRoutes, error);
  paths[kOpenApiPath]["get"] = OwnOperation(error);
  add(kInferenceRoutes,
      Described(Content(kJson, {{"type", "object"},
                                {"properties", {{"error", {{"type", "string"}}}}}}),
                "what is wrong"));
  const json document = {
      {"openapi", "3.0.3"},
      {"info", {{"title", "Engram"}, {"version", "1"}, {"license", {{"name", "Apache-2.0"}}}}},
      {"paths", std::move(paths)},
      {"security", {{{"token", json::array()}}, json::object()}},
      {"components",
       {{"schemas", schemas.all()},
        {"securitySchemes", {{"token", {{"type", "http"}, {"scheme", "bearer"}}}}}}}};
  return document.dump(1);
}

}  // namespace engram::server
