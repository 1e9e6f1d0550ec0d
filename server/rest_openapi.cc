#include "server/rest_openapi.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
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
  // names).
  json Value(const FieldDescriptor& field) {
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT64:
      case FieldDescriptor::CPPTYPE_UINT64:
        return {{"type", "string"}, {"format", "int64"}};
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

json Operation(const RestRoute& route, Schemas* schemas) {
  const auto& method = *google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
      absl::StrReplaceAll(RowOf(route.rpc).name, {{"/", "."}}));
  const bool lines = route.rpc == Rpc::kLearnBatch;
  json answer = lines ? LearnedSchema() : schemas->Reference(*method.output_type());
  json error = schemas->Reference(*google::rpc::Status::descriptor());
  json operation = {{"operationId", method.name()},
                    {"tags", {method.service()->name()}},
                    {"parameters", Parameters(route)},
                    {"responses",
                     {{"200", Content(kJson, std::move(answer))},
                      {"default", Content(kJson, std::move(error))}}}};
  operation["responses"]["200"]["description"] = "OK";
  operation["responses"]["default"]["description"] = "google.rpc.Status";
  if (lines) {
    operation["requestBody"] = Content(kNdjson, LineSchema());
  } else if (route.verb != "GET" && route.verb != "DELETE") {
    operation["requestBody"] = Content(kJson, schemas->Reference(*method.input_type()));
  }
  return operation;
}

}  // namespace

std::string OpenApiDocument() {
  Schemas schemas;
  json paths = json::object();
  for (const RestRoute& route : kRestRoutes) {
    paths[std::string(route.pattern)][absl::AsciiStrToLower(route.verb)] =
        Operation(route, &schemas);
  }
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
