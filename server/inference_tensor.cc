#include "server/inference_tensor.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/types/optional.h"
#include "server/errors.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using google::protobuf::RepeatedField;
using google::protobuf::RepeatedPtrField;
using inference::InferTensorContents;
using Floats = RepeatedField<float>;

constexpr int kTensorRank = 8;

absl::Status BadElement(int64_t at, absl::string_view reason) {
  return BadField(absl::StrCat(kFeaturesTensor, "[", at, "]"), reason);
}

// Exponent 31 is Inf and NaN, 0 zero and subnormal numbers.
float HalfToFloat(uint16_t half) {
  const float sign = (half & 0x8000) != 0 ? -1.0F : 1.0F;
  const int exponent = (half >> 10) & 0x1f;
  const int fraction = half & 0x3ff;
  if (exponent == 31) {
    return fraction != 0 ? std::numeric_limits<float>::quiet_NaN()
                         : sign * std::numeric_limits<float>::infinity();
  }
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
  return sign * std::ldexp(static_cast<float>(fraction + 0x400), exponent - 25);
}

// The upper half of a float32.
float BrainToFloat(uint16_t brain) {
  const uint32_t bits = static_cast<uint32_t>(brain) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

absl::Status AddNumber(double value, Floats* floats) {
  if (!FitsFloat(value)) {
    return BadElement(floats->size(), absl::StrCat(value, " does not fit float32"));
  }
  floats->Add(static_cast<float>(value));
  return absl::OkStatus();
}

absl::Status AddText(absl::string_view text, Floats* floats) {
  double value = 0;
  if (!absl::SimpleAtod(text, &value)) {
    return BadElement(floats->size(),
                      absl::StrCat("\"", Echo(text), "\" is not a number in decimal text"));
  }
  return AddNumber(value, floats);
}

// --- raw contents ---

using RawReader = absl::Status (*)(absl::string_view raw, Floats* floats);

template <typename T>
T ElementAt(absl::string_view raw, size_t index) {
  T value;
  std::memcpy(&value, raw.data() + index * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
absl::Status ReadIntegers(absl::string_view raw, Floats* floats) {
  for (size_t i = 0; i < raw.size() / sizeof(T); ++i) {
    floats->Add(static_cast<float>(ElementAt<T>(raw, i)));
  }
  return absl::OkStatus();
}

template <float (*ToFloat)(uint16_t)>
absl::Status ReadSmallFloats(absl::string_view raw, Floats* floats) {
  for (size_t i = 0; i < raw.size() / 2; ++i) floats->Add(ToFloat(ElementAt<uint16_t>(raw, i)));
  return absl::OkStatus();
}

absl::Status ReadDoubles(absl::string_view raw, Floats* floats) {
  for (size_t i = 0; i < raw.size() / sizeof(double); ++i) {
    ENGRAM_RETURN_IF_ERROR(AddNumber(ElementAt<double>(raw, i), floats));
  }
  return absl::OkStatus();
}

absl::Status ReadBooleans(absl::string_view raw, Floats* floats) {
  for (const char byte : raw) {
    if (byte != 0 && byte != 1) {
      return BadElement(floats->size(),
                        absl::StrCat("BOOL is 0 or 1, got ", static_cast<uint8_t>(byte)));
    }
    floats->Add(byte);
  }
  return absl::OkStatus();
}

// --- datatypes ---

struct Datatype {
  absl::string_view name;
  size_t bytes;                // an element raw; 0: each has its own length
  absl::string_view contents;  // field of InferTensorContents; empty: none
  RawReader read_raw;          // null: the bytes are kept as they are, or read with their lengths
  int64_t least;               // of integers in a wider field
  int64_t most;
};

template <typename T>
constexpr Datatype IntegerType(absl::string_view name, absl::string_view contents) {
  // What is as wide as its field cannot lie outside.
  return {name,
          sizeof(T),
          contents,
          ReadIntegers<T>,
          sizeof(T) < 4 ? static_cast<int64_t>(std::numeric_limits<T>::min()) : 0,
          sizeof(T) < 4 ? static_cast<int64_t>(std::numeric_limits<T>::max()) : 0};
}

constexpr std::array<Datatype, 14> kDatatypes = {{
    {"FP32", 4, "fp32_contents", nullptr, 0, 0},
    {"FP64", 8, "fp64_contents", ReadDoubles, 0, 0},
    {"FP16", 2, "", ReadSmallFloats<HalfToFloat>, 0, 0},
    {"BF16", 2, "", ReadSmallFloats<BrainToFloat>, 0, 0},
    {"BOOL", 1, "bool_contents", ReadBooleans, 0, 0},
    {"UINT8", 1, "uint_contents", nullptr, 0, 255},
    IntegerType<uint16_t>("UINT16", "uint_contents"),
    IntegerType<uint32_t>("UINT32", "uint_contents"),
    IntegerType<uint64_t>("UINT64", "uint64_contents"),
    IntegerType<int8_t>("INT8", "int_contents"),
    IntegerType<int16_t>("INT16", "int_contents"),
    IntegerType<int32_t>("INT32", "int_contents"),
    IntegerType<int64_t>("INT64", "int64_contents"),
    {"BYTES", 0, "bytes_contents", nullptr, 0, 0},
}};

const Datatype* FindDatatype(absl::string_view name) {
  const auto* found = std::find_if(kDatatypes.begin(), kDatatypes.end(),
                                   [name](const Datatype& each) { return each.name == name; });
  return found == kDatatypes.end() ? nullptr : found;
}

// --- one tensor ---

// Where an input stands in the request, and what must be in it.
struct Place {
  int index;
  const Datatype& datatype;
  int64_t count;

  std::string Field(absl::string_view name) const {
    return absl::StrCat("inputs[", index, "].", name);
  }
  std::string RawField() const { return absl::StrCat("raw_input_contents[", index, "]"); }
};

absl::Status ReadRawTexts(const Place& place, absl::string_view raw, Floats* floats) {
  while (!raw.empty()) {
    if (raw.size() < sizeof(uint32_t)) {
      return BadField(place.RawField(),
                      absl::StrCat("ends inside the length of element ", floats->size()));
    }
    const auto length = ElementAt<uint32_t>(raw, 0);
    raw.remove_prefix(sizeof(length));
    if (length > raw.size()) {
      return BadField(place.RawField(), absl::StrCat("element ", floats->size(), " has ", length,
                                                     " bytes, ", raw.size(), " follow"));
    }
    if (floats->size() == place.count) {
      return BadField(place.RawField(),
                      absl::StrCat("expected ", place.count, " elements, got more"));
    }
    ENGRAM_RETURN_IF_ERROR(AddText(raw.substr(0, length), floats));
    raw.remove_prefix(length);
  }
  if (floats->size() == place.count) return absl::OkStatus();
  return BadField(place.RawField(),
                  absl::StrCat("expected ", place.count, " elements, got ", floats->size()));
}

absl::Status ReadRaw(const Place& place, std::string* raw, v1::Features* features) {
  const Datatype& datatype = place.datatype;
  if (datatype.bytes == 0) return ReadRawTexts(place, *raw, features->mutable_values());
  const auto expected = static_cast<size_t>(place.count) * datatype.bytes;
  if (raw->size() != expected) {
    return BadField(place.RawField(), absl::StrCat("expected ", expected, " bytes (", place.count,
                                                   " ", datatype.name, "), got ", raw->size()));
  }
  if (datatype.read_raw != nullptr) return datatype.read_raw(*raw, features->mutable_values());
  if (datatype.bytes == sizeof(float)) {
    features->mutable_dense()->swap(*raw);
  } else {
    features->mutable_dense_uint8()->swap(*raw);
    features->set_uint8_scale(1);
  }
  return absl::OkStatus();
}

template <typename Field>
absl::Status AddIntegers(const Datatype& datatype, const Field& elements, Floats* floats) {
  for (const auto element : elements) {
    const auto wide = static_cast<int64_t>(element);
    if (datatype.least != datatype.most && (wide < datatype.least || wide > datatype.most)) {
      return BadElement(floats->size(), absl::StrCat(datatype.name, " is in [", datatype.least, ",",
                                                     datatype.most, "], got ", wide));
    }
    floats->Add(static_cast<float>(element));
  }
  return absl::OkStatus();
}

// Of the one field that is set.
absl::Status ReadElements(const Datatype& datatype, InferTensorContents* contents, Floats* floats) {
  if (contents->fp32_contents_size() > 0) {
    floats->Swap(contents->mutable_fp32_contents());
    return absl::OkStatus();
  }
  for (const double value : contents->fp64_contents()) {
    ENGRAM_RETURN_IF_ERROR(AddNumber(value, floats));
  }
  for (const std::string& text : contents->bytes_contents()) {
    ENGRAM_RETURN_IF_ERROR(AddText(text, floats));
  }
  for (const bool value : contents->bool_contents()) floats->Add(value ? 1.0F : 0.0F);
  ENGRAM_RETURN_IF_ERROR(AddIntegers(datatype, contents->int_contents(), floats));
  ENGRAM_RETURN_IF_ERROR(AddIntegers(datatype, contents->uint_contents(), floats));
  ENGRAM_RETURN_IF_ERROR(AddIntegers(datatype, contents->int64_contents(), floats));
  return AddIntegers(datatype, contents->uint64_contents(), floats);
}

// As raw ones do, so that a scale may come with them.
void KeepBytes(v1::Features* features) {
  for (const float value : features->values()) {
    features->mutable_dense_uint8()->push_back(static_cast<char>(static_cast<uint8_t>(value)));
  }
  features->clear_values();
  features->set_uint8_scale(1);
}

absl::Status CheckContents(const Place& place, const InferTensorContents& contents) {
  if (place.datatype.contents.empty()) {
    return BadField(place.Field("contents"), absl::StrCat(place.datatype.name,
                                                          " has none: send it raw (in JSON as "
                                                          "binary data)"));
  }
  const google::protobuf::Reflection& reflection = *contents.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> set;
  reflection.ListFields(contents, &set);
  int64_t count = 0;
  for (const auto* field : set) {
    if (field->name() != place.datatype.contents) {
      return BadField(place.Field(absl::StrCat("contents.", field->name())),
                      absl::StrCat(place.datatype.name, " goes into ", place.datatype.contents));
    }
    count = reflection.FieldSize(contents, field);
  }
  if (count == place.count) return absl::OkStatus();
  return BadField(place.Field(absl::StrCat("contents.", place.datatype.contents)),
                  absl::StrCat("expected ", place.count, " elements, got ", count));
}

absl::Status CheckParameters(const Place& place,
                             const inference::ModelInferRequest::InferInputTensor& tensor) {
  if (tensor.parameters().count("shared_memory_region") == 0) return absl::OkStatus();
  return BadField(place.Field("parameters.shared_memory_region"),
                  "shared memory is not supported: send the contents");
}

}  // namespace

bool FitsFloat(double value) {
  return !std::isfinite(value) || std::fabs(value) <= std::numeric_limits<float>::max();
}

absl::StatusOr<int64_t> RowsOfShape(const RepeatedField<google::protobuf::int64>& shape,
                                    const InputRules& rules) {
  const auto wrong = [&] {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected [rows,", rules.feature_count, "] (model \"", rules.model, "\"), got [",
        absl::StrJoin(shape.begin(), shape.begin() + std::min(shape.size(), kTensorRank), ","),
        shape.size() > kTensorRank ? ",..." : "", "]"));
  };
  if (shape.empty() || shape.size() > kTensorRank) return wrong();
  int64_t row = 1;
  for (int i = 0; i < shape.size(); ++i) {
    if (shape[i] < 1) return wrong();
    if (i > 0 && __builtin_mul_overflow(row, shape[i], &row)) return wrong();
  }
  if (shape.size() == 1 && shape[0] == rules.feature_count) return 1;
  if (row != rules.feature_count) return wrong();
  if (shape[0] > rules.rows_max) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch ", shape[0], " exceeds ", rules.rows_max));
  }
  return shape[0];
}

absl::Status ReadInputTensor(int index, inference::ModelInferRequest::InferInputTensor* tensor,
                             std::string* raw, const InputRules& rules, v1::Features* features) {
  const Datatype* datatype = FindDatatype(tensor->datatype());
  if (datatype == nullptr) {
    return BadField(absl::StrCat("inputs[", index, "].datatype"),
                    absl::StrCat("unknown datatype \"", Echo(tensor->datatype()), "\""));
  }
  const absl::StatusOr<int64_t> rows = RowsOfShape(tensor->shape(), rules);
  if (!rows.ok()) {
    return BadField(absl::StrCat("inputs[", index, "].shape"), rows.status().message());
  }
  const Place place{index, *datatype, *rows * rules.feature_count};
  ENGRAM_RETURN_IF_ERROR(CheckParameters(place, *tensor));
  if (raw == nullptr) {
    ENGRAM_RETURN_IF_ERROR(CheckContents(place, tensor->contents()));
    ENGRAM_RETURN_IF_ERROR(
        ReadElements(*datatype, tensor->mutable_contents(), features->mutable_values()));
    if (datatype->name == "UINT8") KeepBytes(features);
    return absl::OkStatus();
  }
  if (tensor->contents().ByteSizeLong() > 0) {
    return BadField(place.Field("contents"), "not beside raw_input_contents");
  }
  return ReadRaw(place, raw, features);
}

}  // namespace engram::server
