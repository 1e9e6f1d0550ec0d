#include "server/inference_json.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "nlohmann/json.hpp"
#include "server/errors.h"
#include "server/inference_tensor.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using inference::InferParameter;
using inference::InferTensorContents;
using inference::ModelInferRequest;
using ParameterMap = google::protobuf::Map<std::string, InferParameter>;
// Read: unlike the ordered one it takes a key in logarithmic time, and a body may have a million.
using Parsed = nlohmann::json;
// Written: keys stay in the order of the protocol's own examples.
using Json = nlohmann::ordered_json;

constexpr int kArraysDeep = 8;

template <typename AnyJson>
std::string Dumped(const AnyJson& json) {
  return json.dump(-1, ' ', false, AnyJson::error_handler_t::replace);
}

// --- reading ---

absl::Status ParseObject(absl::string_view text, Parsed* json) {
  const auto opens_value = [](char c) { return c == ',' || c == '[' || c == '{'; };
  if (static_cast<size_t>(std::count_if(text.begin(), text.end(), opens_value)) > kJsonValuesMax) {
    return BadField("body", absl::StrCat("more than ", kJsonValuesMax,
                                         " values of JSON; send tensors as binary data"));
  }
  *json = Parsed::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (json->is_object()) return absl::OkStatus();
  return BadField("body", json->is_discarded() ? "is not JSON" : "is not an object of JSON");
}

// Absent and null alike.
const Parsed* Member(const Parsed& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

absl::Status ReadString(const Parsed& object, const char* key, const std::string& field,
                        std::string* out) {
  const Parsed* member = Member(object, key);
  if (member == nullptr) return absl::OkStatus();
  if (!member->is_string()) return BadField(field, "must be a string");
  *out = member->get<std::string>();
  return absl::OkStatus();
}

absl::StatusOr<InferParameter> ReadParameter(const Parsed& value, const std::string& field) {
  InferParameter parameter;
  if (value.is_boolean()) {
    parameter.set_bool_param(value.get<bool>());
  } else if (value.is_number_unsigned() &&
             value.get<uint64_t>() > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    parameter.set_uint64_param(value.get<uint64_t>());
  } else if (value.is_number_integer()) {
    parameter.set_int64_param(value.get<int64_t>());
  } else if (value.is_number()) {
    parameter.set_double_param(value.get<double>());
  } else if (value.is_string()) {
    parameter.set_string_param(value.get<std::string>());
  } else {
    return BadField(field, "must be a boolean, a number or a string");
  }
  return parameter;
}

absl::Status ReadParameters(const Parsed& object, const std::string& prefix, ParameterMap* out) {
  const Parsed* parameters = Member(object, "parameters");
  if (parameters == nullptr) return absl::OkStatus();
  if (!parameters->is_object()) {
    return BadField(absl::StrCat(prefix, "parameters"), "must be an object");
  }
  for (const auto& [key, value] : parameters->items()) {
    ENGRAM_ASSIGN_OR_RETURN((*out)[key],
                            ReadParameter(value, absl::StrCat(prefix, "parameters.", Echo(key))));
  }
  return absl::OkStatus();
}

// Takes it out: it is about the body, not about the prediction.
absl::StatusOr<absl::optional<InferParameter>> Taken(const char* name,
                                                     InferParameter::ParameterChoiceCase kind,
                                                     const std::string& prefix,
                                                     ParameterMap* parameters) {
  const auto found = parameters->find(name);
  if (found == parameters->end()) return absl::nullopt;
  InferParameter parameter = found->second;
  parameters->erase(found);
  if (parameter.parameter_choice_case() == kind) return parameter;
  return BadField(absl::StrCat(prefix, "parameters.", name),
                  kind == InferParameter::kBoolParam ? "must be a boolean" : "must be an integer");
}

absl::Status WrongElement(const std::string& field, const Parsed& value,
                          const std::string& datatype) {
  // Printing goes as deep as the value does.
  const std::string shown = value.is_structured() ? value.type_name() : Echo(Dumped(value));
  return BadField(field, absl::StrCat(shown, " is no ", Echo(datatype)));
}

template <typename Integer>
bool ReadInteger(const Parsed& value, Integer* out) {
  if (value.is_number_unsigned()) {
    const auto wide = value.get<uint64_t>();
    *out = static_cast<Integer>(wide);
    return wide <= static_cast<uint64_t>(std::numeric_limits<Integer>::max());
  }
  if (!value.is_number_integer() || std::numeric_limits<Integer>::min() == 0) return false;
  const auto wide = value.get<int64_t>();
  *out = static_cast<Integer>(wide);
  return wide >= static_cast<int64_t>(std::numeric_limits<Integer>::min());
}

bool AddDouble(const Parsed& value, bool single, InferTensorContents* contents) {
  if (!value.is_number()) return false;
  const auto number = value.get<double>();
  if (!single) {
    contents->add_fp64_contents(number);
  } else if (FitsFloat(number)) {
    contents->add_fp32_contents(static_cast<float>(number));
  } else {
    return false;
  }
  return true;
}

bool AddBoolean(const Parsed& value, InferTensorContents* contents) {
  uint32_t number = 0;
  const bool is_bit = ReadInteger(value, &number) && number <= 1;
  if (!value.is_boolean() && !is_bit) return false;
  contents->add_bool_contents(is_bit ? number == 1 : value.get<bool>());
  return true;
}

// False: no element of that datatype. Ranges of the small integers are the service's to judge.
bool AddElement(const Parsed& value, absl::string_view datatype, InferTensorContents* contents) {
  if (datatype == "FP32") return AddDouble(value, true, contents);
  if (datatype == "FP64") return AddDouble(value, false, contents);
  if (datatype == "BOOL") return AddBoolean(value, contents);
  if (datatype == "BYTES") {
    if (value.is_string()) contents->add_bytes_contents(value.get<std::string>());
    return value.is_string();
  }
  int64_t wide = 0;
  uint64_t wide_unsigned = 0;
  int32_t narrow = 0;
  uint32_t narrow_unsigned = 0;
  if (datatype == "INT64") {
    const bool read = ReadInteger(value, &wide);
    contents->add_int64_contents(wide);
    return read;
  }
  if (datatype == "UINT64") {
    const bool read = ReadInteger(value, &wide_unsigned);
    contents->add_uint64_contents(wide_unsigned);
    return read;
  }
  if (!datatype.empty() && datatype.front() == 'U') {
    const bool read = ReadInteger(value, &narrow_unsigned);
    contents->add_uint_contents(narrow_unsigned);
    return read;
  }
  const bool read = ReadInteger(value, &narrow);
  contents->add_int_contents(narrow);
  return read;
}

absl::Status ReadData(const Parsed& elements, const std::string& field, int depth,
                      ModelInferRequest::InferInputTensor* tensor) {
  if (depth > kArraysDeep) {
    return BadField(field, absl::StrCat("arrays nest at most ", kArraysDeep, " deep"));
  }
  for (size_t i = 0; i < elements.size(); ++i) {
    if (elements[i].is_array()) {
      ENGRAM_RETURN_IF_ERROR(
          ReadData(elements[i], absl::StrCat(field, "[", i, "]"), depth + 1, tensor));
    } else if (!AddElement(elements[i], tensor->datatype(), tensor->mutable_contents())) {
      return WrongElement(absl::StrCat(field, "[", i, "]"), elements[i], tensor->datatype());
    }
  }
  return absl::OkStatus();
}

absl::Status ReadShape(const Parsed& input, const std::string& field,
                       ModelInferRequest::InferInputTensor* tensor) {
  const Parsed* shape = Member(input, "shape");
  if (shape == nullptr || !shape->is_array()) {
    return BadField(field, "must be an array of integers");
  }
  for (const Parsed& dimension : *shape) {
    int64_t size = 0;
    if (!ReadInteger(dimension, &size)) return BadField(field, "must be an array of integers");
    tensor->add_shape(size);
  }
  return absl::OkStatus();
}

// What follows the JSON, piece by piece.
class BinaryTail {
 public:
  explicit BinaryTail(absl::string_view bytes) : bytes_(bytes) {}

  absl::Status Take(const InferParameter& size, const std::string& field, std::string* out) {
    if (size.int64_param() < 0 || static_cast<uint64_t>(size.int64_param()) > bytes_.size()) {
      return BadField(
          field, absl::StrCat(size.int64_param(), " bytes, ", bytes_.size(), " follow the JSON"));
    }
    out->assign(bytes_.data(), size.int64_param());
    bytes_.remove_prefix(size.int64_param());
    return absl::OkStatus();
  }
  absl::Status CheckEnd() const {
    if (bytes_.empty()) return absl::OkStatus();
    return BadField("body", absl::StrCat(bytes_.size(), " bytes belong to no input"));
  }

 private:
  absl::string_view bytes_;
};

absl::Status ReadInput(const Parsed& input, const std::string& prefix, BinaryTail* tail,
                       ModelInferRequest* request) {
  if (!input.is_object()) return BadField(prefix, "must be an object");
  auto* tensor = request->add_inputs();
  ENGRAM_RETURN_IF_ERROR(
      ReadString(input, "name", absl::StrCat(prefix, ".name"), tensor->mutable_name()));
  ENGRAM_RETURN_IF_ERROR(
      ReadString(input, "datatype", absl::StrCat(prefix, ".datatype"), tensor->mutable_datatype()));
  ENGRAM_RETURN_IF_ERROR(ReadShape(input, absl::StrCat(prefix, ".shape"), tensor));
  ParameterMap* parameters = tensor->mutable_parameters();
  ENGRAM_RETURN_IF_ERROR(ReadParameters(input, absl::StrCat(prefix, "."), parameters));
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<InferParameter> size,
                          Taken("binary_data_size", InferParameter::kInt64Param,
                                absl::StrCat(prefix, "."), parameters));
  if (size.has_value()) {
    ENGRAM_RETURN_IF_ERROR(tail->Take(*size, absl::StrCat(prefix, ".parameters.binary_data_size"),
                                      request->add_raw_input_contents()));
  }
  const Parsed* elements = Member(input, "data");
  if (elements == nullptr) return absl::OkStatus();
  if (!elements->is_array()) return BadField(absl::StrCat(prefix, ".data"), "must be an array");
  if (tensor->datatype() == "FP16" || tensor->datatype() == "BF16") {
    return BadField(absl::StrCat(prefix, ".data"),
                    absl::StrCat(tensor->datatype(), " goes as binary data"));
  }
  return ReadData(*elements, absl::StrCat(prefix, ".data"), 1, tensor);
}

absl::Status ReadAskedOutput(const Parsed& output, const std::string& prefix,
                             InferQuestion* question) {
  if (!output.is_object()) return BadField(prefix, "must be an object");
  auto* asked = question->request.add_outputs();
  ENGRAM_RETURN_IF_ERROR(
      ReadString(output, "name", absl::StrCat(prefix, ".name"), asked->mutable_name()));
  ENGRAM_RETURN_IF_ERROR(
      ReadParameters(output, absl::StrCat(prefix, "."), asked->mutable_parameters()));
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<InferParameter> binary,
                          Taken("binary_data", InferParameter::kBoolParam,
                                absl::StrCat(prefix, "."), asked->mutable_parameters()));
  if (binary.has_value()) question->binary.said[asked->name()] = binary->bool_param();
  return absl::OkStatus();
}

// `read`: absl::Status(const Parsed& element, const std::string& prefix).
template <typename Read>
absl::Status ReadArray(const Parsed& object, const char* key, Read read) {
  const Parsed* array = Member(object, key);
  if (array == nullptr) return absl::OkStatus();
  if (!array->is_array()) return BadField(key, "must be an array");
  for (size_t i = 0; i < array->size(); ++i) {
    ENGRAM_RETURN_IF_ERROR(read((*array)[i], absl::StrCat(key, "[", i, "]")));
  }
  return absl::OkStatus();
}

// --- writing ---

template <typename T>
T RawElement(absl::string_view raw, size_t index) {
  T value;
  std::memcpy(&value, raw.data() + index * sizeof(T), sizeof(T));
  return value;
}

Json RawToJson(const std::string& datatype, absl::string_view raw) {
  Json elements = Json::array();
  if (datatype == "BYTES") {
    while (raw.size() >= sizeof(uint32_t)) {
      const auto length = RawElement<uint32_t>(raw, 0);
      raw.remove_prefix(sizeof(length));
      elements.push_back(std::string(raw.substr(0, length)));
      raw.remove_prefix(std::min<size_t>(length, raw.size()));
    }
  } else if (datatype == "INT64") {
    for (size_t i = 0; i < raw.size() / 8; ++i) elements.push_back(RawElement<int64_t>(raw, i));
  } else {
    for (size_t i = 0; i < raw.size() / 4; ++i) elements.push_back(RawElement<float>(raw, i));
  }
  return elements;
}

Json ContentsToJson(const InferTensorContents& contents) {
  Json elements = Json::array();
  for (const std::string& text : contents.bytes_contents()) elements.push_back(text);
  for (const int64_t number : contents.int64_contents()) elements.push_back(number);
  for (const float number : contents.fp32_contents()) elements.push_back(number);
  return elements;
}

std::string ContentsToRaw(const InferTensorContents& contents) {
  std::string raw;
  const auto append = [&raw](const void* bytes, size_t size) {
    raw.append(static_cast<const char*>(bytes), size);
  };
  for (const std::string& text : contents.bytes_contents()) {
    const auto length = static_cast<uint32_t>(text.size());
    append(&length, sizeof(length));
    raw += text;
  }
  append(contents.int64_contents().data(), contents.int64_contents_size() * sizeof(int64_t));
  append(contents.fp32_contents().data(), contents.fp32_contents_size() * sizeof(float));
  return raw;
}

Json PlainValue(const Message& message, const FieldDescriptor& field, int index);

Json PlainObject(const Message& message) {
  Json object = Json::object();
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  const Reflection& reflection = *message.GetReflection();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (!field.is_repeated()) {
      if (!field.has_presence() || reflection.HasField(message, &field)) {
        object[field.name()] = PlainValue(message, field, -1);
      }
      continue;
    }
    Json elements = field.is_map() ? Json::object() : Json::array();
    for (int at = 0; at < reflection.FieldSize(message, &field); ++at) {
      Json element = PlainValue(message, field, at);
      if (field.is_map()) {
        elements[element["key"].get<std::string>()] = element["value"];
      } else {
        elements.push_back(std::move(element));
      }
    }
    object[field.name()] = std::move(elements);
  }
  return object;
}

// Of a repeated field the element at `index`.
Json PlainValue(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  const bool one = index < 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return PlainObject(one ? reflection.GetMessage(message, &field)
                             : reflection.GetRepeatedMessage(message, &field, index));
    case FieldDescriptor::CPPTYPE_STRING:
      return one ? reflection.GetString(message, &field)
                 : reflection.GetRepeatedString(message, &field, index);
    case FieldDescriptor::CPPTYPE_ENUM:
      return (one ? reflection.GetEnum(message, &field)
                  : reflection.GetRepeatedEnum(message, &field, index))
          ->name();
    case FieldDescriptor::CPPTYPE_BOOL:
      return one ? reflection.GetBool(message, &field)
                 : reflection.GetRepeatedBool(message, &field, index);
    case FieldDescriptor::CPPTYPE_INT32:
      return one ? reflection.GetInt32(message, &field)
                 : reflection.GetRepeatedInt32(message, &field, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return one ? reflection.GetInt64(message, &field)
                 : reflection.GetRepeatedInt64(message, &field, index);
    case FieldDescriptor::CPPTYPE_UINT64:
      return one ? reflection.GetUInt64(message, &field)
                 : reflection.GetRepeatedUInt64(message, &field, index);
    default:
      // No reply of the protocol has another.
      return nullptr;
  }
}

}  // namespace

absl::StatusOr<InferQuestion> ParseInferBody(absl::string_view body,
                                             absl::optional<size_t> json_bytes) {
  const size_t length = json_bytes.value_or(body.size());
  if (length > body.size()) {
    return BadField("Inference-Header-Content-Length",
                    absl::StrCat(length, ", the body has ", body.size(), " bytes"));
  }
  Parsed json;
  ENGRAM_RETURN_IF_ERROR(ParseObject(body.substr(0, length), &json));
  BinaryTail tail(body.substr(length));
  InferQuestion question;
  ModelInferRequest* request = &question.request;
  ENGRAM_RETURN_IF_ERROR(ReadString(json, "id", "id", request->mutable_id()));
  ENGRAM_RETURN_IF_ERROR(ReadParameters(json, "", request->mutable_parameters()));
  ENGRAM_ASSIGN_OR_RETURN(
      const absl::optional<InferParameter> binary,
      Taken("binary_data_output", InferParameter::kBoolParam, "", request->mutable_parameters()));
  question.binary.unless_said = binary.has_value() && binary->bool_param();
  ENGRAM_RETURN_IF_ERROR(
      ReadArray(json, "inputs", [&](const Parsed& input, const std::string& prefix) {
        return ReadInput(input, prefix, &tail, request);
      }));
  ENGRAM_RETURN_IF_ERROR(tail.CheckEnd());
  ENGRAM_RETURN_IF_ERROR(
      ReadArray(json, "outputs", [&](const Parsed& output, const std::string& prefix) {
        return ReadAskedOutput(output, prefix, &question);
      }));
  return question;
}

InferAnswer PrintInferBody(const inference::ModelInferResponse& response,
                           const BinaryOutputs& binary) {
  Json json = {{"model_name", response.model_name()}, {"model_version", response.model_version()}};
  if (!response.id().empty()) json["id"] = response.id();
  Json outputs = Json::array();
  std::string tail;
  const bool raw = response.raw_output_contents_size() > 0;
  for (int i = 0; i < response.outputs_size(); ++i) {
    const auto& tensor = response.outputs(i);
    Json output = {{"name", tensor.name()}, {"datatype", tensor.datatype()}};
    output["shape"] = std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end());
    if (binary.Has(tensor.name())) {
      const std::string bytes =
          raw ? response.raw_output_contents(i) : ContentsToRaw(tensor.contents());
      output["parameters"] = {{"binary_data_size", bytes.size()}};
      tail += bytes;
    } else {
      output["data"] = raw ? RawToJson(tensor.datatype(), response.raw_output_contents(i))
                           : ContentsToJson(tensor.contents());
    }
    outputs.push_back(std::move(output));
  }
  const bool any_binary =
      std::any_of(response.outputs().begin(), response.outputs().end(),
                  [&binary](const auto& tensor) { return binary.Has(tensor.name()); });
  json["outputs"] = std::move(outputs);
  InferAnswer answer{Dumped(json), absl::nullopt};
  if (any_binary) answer.json_bytes = answer.body.size();
  answer.body += tail;
  return answer;
}

std::string PrintPlainJson(const Message& message) { return Dumped(PlainObject(message)); }

std::string PrintInferError(absl::string_view message) {
  return Dumped(Json({{"error", std::string(message)}}));
}

}  // namespace engram::server
