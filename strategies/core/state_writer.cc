#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "storage/base/check.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {
namespace {

const char* TypeName(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "F32";
    case at::kDouble:
      return "F64";
    case at::kInt:
      return "I32";
    case at::kLong:
      return "I64";
    case at::kByte:
      return "U8";
    default:
      return nullptr;
  }
}

}  // namespace

struct StateWriter::Contents {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  nlohmann::ordered_json metadata = nlohmann::ordered_json::object();
  std::string body;

  // Room for one more tensor, named in the header.
  char* Append(const std::string& name, const char* type, const std::vector<int64_t>& shape,
               size_t size) {
    ENGRAM_CHECK(!header.contains(name));
    const size_t begin = body.size();
    body.resize(begin + size);
    header[name] = {{"dtype", type}, {"shape", shape}, {"data_offsets", {begin, begin + size}}};
    return &body[begin];
  }
};

StateWriter::StateWriter() : contents_(std::make_shared<Contents>()) {}

StateWriter::StateWriter(std::shared_ptr<Contents> contents, std::string prefix)
    : contents_(std::move(contents)), prefix_(std::move(prefix)) {}

StateWriter StateWriter::Scoped(absl::string_view prefix) const {
  return StateWriter(contents_, absl::StrCat(prefix_, prefix));
}

void StateWriter::PutTensor(absl::string_view name, const at::Tensor& tensor) {
  const at::Tensor values = tensor.contiguous();
  const char* type = TypeName(values.scalar_type());
  ENGRAM_CHECK(type != nullptr);
  char* to =
      contents_->Append(absl::StrCat(prefix_, name), type, values.sizes().vec(), values.nbytes());
  if (values.nbytes() > 0) std::memcpy(to, values.data_ptr(), values.nbytes());
}

void StateWriter::PutInts(absl::string_view name, absl::Span<const int64_t> values) {
  const size_t size = values.size() * sizeof(int64_t);
  char* to = contents_->Append(absl::StrCat(prefix_, name), "I64",
                               {static_cast<int64_t>(values.size())}, size);
  if (size > 0) std::memcpy(to, values.data(), size);
}

void StateWriter::PutUnsigned(absl::string_view name, absl::Span<const uint64_t> values) {
  PutInts(name,
          absl::MakeConstSpan(reinterpret_cast<const int64_t*>(values.data()), values.size()));
}

void StateWriter::PutInteger(absl::string_view name, int64_t value) {
  PutText(name, absl::StrCat(value));
}

void StateWriter::PutNumber(absl::string_view name, double value) {
  PutText(name, absl::StrFormat("%.17g", value));
}

void StateWriter::PutText(absl::string_view name, absl::string_view value) {
  const std::string key = absl::StrCat(prefix_, name);
  ENGRAM_CHECK(!contents_->metadata.contains(key));
  contents_->metadata[key] = std::string(value);
}

std::string StateWriter::Finish() const {
  nlohmann::ordered_json header = contents_->header;
  header["__metadata__"] = contents_->metadata;
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // tensors start aligned
  std::string result;
  result.reserve(8 + text.size() + contents_->body.size());
  for (int i = 0; i < 8; ++i) {
    result.push_back(static_cast<char>(static_cast<uint64_t>(text.size()) >> (8 * i) & 0xff));
  }
  result += text;
  result += contents_->body;
  return result;
}

}  // namespace engram::strategies
