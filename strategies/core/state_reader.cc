#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <tuple>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "storage/base/status_macros.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {
namespace {

using Json = nlohmann::json;

constexpr size_t kNameBytesMax = 256;
constexpr size_t kNameBytesShown = 64;
constexpr size_t kRankMax = 4;
// What JSON says of one tensor: itself, three keys, a dtype, two arrays and their numbers.
constexpr size_t kEventsOfTensor = 8 + kRankMax + 2;
constexpr int kDepthMax = 3;  // header, tensor, shape

struct StoredType {
  const char* name;
  at::ScalarType type;
  uint64_t width;
};

constexpr StoredType kTypes[] = {{"F32", at::kFloat, 4},
                                  {"F64", at::kDouble, 8},
                                  {"F16", at::kHalf, 2},
                                  {"BF16", at::kBFloat16, 2},
                                  {"I32", at::kInt, 4},
                                  {"I64", at::kLong, 8},
                                  {"U8", at::kByte, 1}};

struct StoredTensor {
  const StoredType* type = nullptr;
  std::vector<int64_t> shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

// A name comes from whoever made the file.
std::string ShowTensor(absl::string_view name) {
  return absl::StrCat("tensor \"", absl::CHexEscape(name.substr(0, kNameBytesShown)), "\"");
}

absl::Status Broken(absl::string_view rule) {
  return absl::DataLossError(absl::StrCat("state archive: ", rule));
}

std::string Describe(const char* type, at::IntArrayRef shape) {
  return absl::StrCat(type, " [", absl::StrJoin(shape, ","), "]");
}

// The header as JSON. The parser alone would take a name that occurs twice in one object, any
// depth, and any number of values; what is over the limits is not kept while the rest is read.
absl::StatusOr<Json> ParseHeader(absl::string_view text, const ArchiveLimits& limits) {
  std::vector<std::set<std::string>> names;
  bool repeated = false;
  bool too_deep = false;
  size_t events = 0;
  const size_t events_max = (limits.tensors + 1) * kEventsOfTensor;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    too_deep |= depth > kDepthMax;
    if (too_deep || ++events > events_max) return false;
    if (event == Json::parse_event_t::object_start) names.emplace_back();
    if (event == Json::parse_event_t::object_end) names.pop_back();
    if (event == Json::parse_event_t::key) {
      repeated |= !names.back().insert(parsed.get<std::string>()).second;
    }
    return true;
  };
  Json header = Json::parse(text.begin(), text.end(), watch, /*allow_exceptions=*/false);
  if (too_deep) return Broken(absl::StrCat("the header nests deeper than ", kDepthMax));
  if (events > events_max) {
    return Broken(absl::StrCat("the header says more than ", limits.tensors, " tensors need"));
  }
  if (repeated) return Broken("the header names something twice");
  if (!header.is_object()) return Broken("the header is not a JSON object");
  return header;
}

// shape x width, or nullopt on overflow.
absl::optional<uint64_t> ByteCount(const std::vector<int64_t>& shape, uint64_t width) {
  uint64_t count = width;
  for (int64_t dimension : shape) {
    if (__builtin_mul_overflow(count, static_cast<uint64_t>(dimension), &count)) {
      return absl::nullopt;
    }
  }
  return count;
}

absl::StatusOr<StoredTensor> ParseTensor(const std::string& name, const Json& entry,
                                         uint64_t body_size) {
  const auto broken = [&name](absl::string_view rule) {
    return Broken(absl::StrCat(ShowTensor(name), ": ", rule));
  };
  if (name.size() > kNameBytesMax) return broken("name is too long");
  if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") ||
      !entry.contains("shape") || !entry.contains("data_offsets")) {
    return broken("needs exactly dtype, shape and data_offsets");
  }
  StoredTensor tensor;
  for (const StoredType& type : kTypes) {
    if (entry["dtype"] == type.name) tensor.type = &type;
  }
  if (tensor.type == nullptr) return broken("unknown dtype");
  const Json& shape = entry["shape"];
  if (!shape.is_array() || shape.size() > kRankMax) return broken("bad shape");
  for (const Json& dimension : shape) {
    if (!dimension.is_number_unsigned() || dimension.get<uint64_t>() > INT64_MAX) {
      return broken("bad shape");
    }
    tensor.shape.push_back(static_cast<int64_t>(dimension.get<uint64_t>()));
  }
  const Json& offsets = entry["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return broken("bad data_offsets");
  }
  tensor.begin = offsets[0].get<uint64_t>();
  tensor.end = offsets[1].get<uint64_t>();
  if (tensor.begin > tensor.end || tensor.end > body_size) return broken("offsets out of bounds");
  const absl::optional<uint64_t> size = ByteCount(tensor.shape, tensor.type->width);
  if (!size.has_value()) return broken("shape overflows");
  if (*size != tensor.end - tensor.begin) {
    return broken(
        absl::StrCat("shape needs ", *size, " bytes, offsets hold ", tensor.end - tensor.begin));
  }
  return tensor;
}

// Every byte of the body belongs to exactly one tensor.
absl::Status CheckCover(const std::map<std::string, StoredTensor>& tensors, uint64_t body_size) {
  std::vector<std::tuple<uint64_t, uint64_t, absl::string_view>> ranges;
  for (const auto& [name, tensor] : tensors) ranges.emplace_back(tensor.begin, tensor.end, name);
  std::sort(ranges.begin(), ranges.end());
  uint64_t reached = 0;
  for (const auto& [begin, end, name] : ranges) {
    if (begin < reached) return Broken(absl::StrCat(ShowTensor(name), " overlaps another"));
    if (begin > reached) return Broken(absl::StrCat("there is a hole before ", ShowTensor(name)));
    reached = end;
  }
  if (reached != body_size) return Broken("bytes after the last tensor");
  return absl::OkStatus();
}

}  // namespace

struct StateReader::Contents {
  absl::string_view body;
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
};

StateReader::StateReader(std::shared_ptr<const Contents> contents, std::string prefix)
    : contents_(std::move(contents)), prefix_(std::move(prefix)) {}

absl::StatusOr<StateReader> StateReader::Open(absl::string_view bytes,
                                              const ArchiveLimits& limits) {
  if (bytes.size() < 8) return Broken("shorter than its length field");
  uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i) {
    header_size = header_size << 8 | static_cast<unsigned char>(bytes[static_cast<size_t>(i)]);
  }
  if (header_size > limits.header_bytes) {
    return Broken(absl::StrCat("header length ", header_size, " exceeds the limit of ",
                               limits.header_bytes));
  }
  if (header_size > bytes.size() - 8) {
    return Broken(absl::StrCat("header is cut off: expected ", header_size, " bytes, found ",
                               bytes.size() - 8));
  }
  ENGRAM_ASSIGN_OR_RETURN(const Json header, ParseHeader(bytes.substr(8, header_size), limits));
  if (header.size() > limits.tensors + 1) {
    return Broken(absl::StrCat("more than ", limits.tensors, " tensors"));
  }
  auto contents = std::make_shared<Contents>();
  contents->body = bytes.substr(8 + header_size);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) return Broken("__metadata__ is not an object");
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string()) return Broken("__metadata__ holds something not a string");
        contents->metadata[key] = value.get<std::string>();
      }
      continue;
    }
    ENGRAM_ASSIGN_OR_RETURN(contents->tensors[name],
                            ParseTensor(name, entry, contents->body.size()));
  }
  ENGRAM_RETURN_IF_ERROR(CheckCover(contents->tensors, contents->body.size()));
  return StateReader(std::move(contents), "");
}

StateReader StateReader::Scoped(absl::string_view prefix) const {
  return StateReader(contents_, absl::StrCat(prefix_, prefix));
}

bool StateReader::Has(absl::string_view name) const {
  const std::string full = absl::StrCat(prefix_, name);
  return contents_->tensors.count(full) > 0 || contents_->metadata.count(full) > 0;
}

std::vector<StateReader::TensorInfo> StateReader::Tensors() const {
  std::vector<TensorInfo> tensors;
  for (const auto& [name, stored] : contents_->tensors) {
    tensors.push_back({name, stored.type->name, stored.shape});
  }
  return tensors;
}

absl::StatusOr<at::Tensor> StateReader::GetTensor(absl::string_view name) const {
  const auto it = contents_->tensors.find(absl::StrCat(prefix_, name));
  if (it == contents_->tensors.end()) {
    return absl::FailedPreconditionError(absl::StrCat("tensor ", prefix_, name, " is missing"));
  }
  const StoredTensor& stored = it->second;
  at::Tensor values = at::empty(stored.shape, stored.type->type);
  const absl::string_view bytes = contents_->body.substr(stored.begin, stored.end - stored.begin);
  if (!bytes.empty()) std::memcpy(values.data_ptr(), bytes.data(), bytes.size());
  return values;
}

absl::Status StateReader::GetTensor(absl::string_view name, at::Tensor out) const {
  ENGRAM_ASSIGN_OR_RETURN(const at::Tensor values, GetTensor(name));
  if (values.scalar_type() != out.scalar_type() || values.sizes() != out.sizes()) {
    return absl::FailedPreconditionError(
        absl::StrCat("tensor ", prefix_, name, " is ",
                     Describe(at::toString(values.scalar_type()), values.sizes()), ", model needs ",
                     Describe(at::toString(out.scalar_type()), out.sizes())));
  }
  out.copy_(values);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> StateReader::GetInts(absl::string_view name) const {
  ENGRAM_ASSIGN_OR_RETURN(const at::Tensor values, GetTensor(name));
  if (values.scalar_type() != at::kLong || values.dim() != 1) {
    return absl::FailedPreconditionError(absl::StrCat(
        "tensor ", prefix_, name, " is ",
        Describe(at::toString(values.scalar_type()), values.sizes()), ", expected Long [n]"));
  }
  const int64_t* begin = values.data_ptr<int64_t>();
  return std::vector<int64_t>(begin, begin + values.numel());
}

absl::StatusOr<std::vector<uint64_t>> StateReader::GetUnsigned(absl::string_view name) const {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> values, GetInts(name));
  return std::vector<uint64_t>(values.begin(), values.end());
}

absl::StatusOr<std::string> StateReader::GetText(absl::string_view name) const {
  const auto it = contents_->metadata.find(absl::StrCat(prefix_, name));
  if (it == contents_->metadata.end()) {
    return absl::FailedPreconditionError(absl::StrCat("metadata ", prefix_, name, " is missing"));
  }
  return it->second;
}

absl::StatusOr<int64_t> StateReader::GetInteger(absl::string_view name) const {
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, GetText(name));
  int64_t value = 0;
  if (absl::SimpleAtoi(text, &value)) return value;
  return Broken(absl::StrCat("metadata ", prefix_, name, " is not an integer"));
}

absl::StatusOr<double> StateReader::GetNumber(absl::string_view name) const {
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, GetText(name));
  double value = 0;
  if (absl::SimpleAtod(text, &value)) return value;
  return Broken(absl::StrCat("metadata ", prefix_, name, " is not a number"));
}

}  // namespace engram::strategies
