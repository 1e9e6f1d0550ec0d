// A safetensors file put together by hand, entry by entry, so that a test can also write what no
// honest writer would.
//
// Threading: none. Failure: none; whatever is asked for is written.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace engram::testing {

class SafetensorsFile {
 public:
  // The next tensor of the file; `bytes` are its values as they lie there.
  SafetensorsFile& Add(const std::string& name, const std::string& dtype,
                       const std::vector<int64_t>& shape, const std::string& bytes) {
    const size_t begin = body_.size();
    body_ += bytes;
    return Entry(absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":[",
                              absl::StrJoin(shape, ","), "],\"data_offsets\":[", begin, ",",
                              body_.size(), "]}"));
  }
  template <typename Value>
  SafetensorsFile& AddValues(const std::string& name, const std::string& dtype,
                             const std::vector<int64_t>& shape, const std::vector<Value>& values) {
    std::string bytes(values.size() * sizeof(Value), '\0');
    if (!values.empty()) std::memcpy(&bytes[0], values.data(), bytes.size());
    return Add(name, dtype, shape, bytes);
  }
  SafetensorsFile& AddFloats(const std::string& name, const std::vector<int64_t>& shape,
                             const std::vector<float>& values) {
    return AddValues(name, "F32", shape, values);
  }
  // Bytes that belong to no tensor.
  SafetensorsFile& Pad(const std::string& bytes) {
    body_ += bytes;
    return *this;
  }
  // One entry of the header as it is.
  SafetensorsFile& Entry(const std::string& json) {
    absl::StrAppend(&entries_, entries_.empty() ? "" : ",", json);
    return *this;
  }

  std::string Bytes() const { return WithHeader(absl::StrCat("{", entries_, "}"), body_); }
  static std::string WithHeader(const std::string& header, const std::string& body) {
    std::string bytes;
    for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(header.size() >> (8 * i) & 0xff));
    return bytes + header + body;
  }

 private:
  std::string entries_;
  std::string body_;
};

}  // namespace engram::testing
