#include "client/examples.h"

#include <string>

#include "absl/base/config.h"
#include "absl/strings/str_cat.h"

#ifndef ABSL_IS_LITTLE_ENDIAN
#error "Features.dense is little-endian; a big-endian client must swap"
#endif

namespace engram::client {

void SetDense(absl::Span<const float> values, engram::v1::Features* features) {
  features->Clear();
  features->mutable_dense()->assign(reinterpret_cast<const char*>(values.data()),
                                    values.size() * sizeof(float));
}

void SetBytes(absl::Span<const uint8_t> bytes, engram::v1::Features* features) {
  features->Clear();
  features->mutable_dense_uint8()->assign(reinterpret_cast<const char*>(bytes.data()),
                                          bytes.size());
}

engram::v1::Label NumberLabel(int64_t number) {
  engram::v1::Label label;
  label.set_number(number);
  return label;
}

engram::v1::Label TextLabel(absl::string_view text) {
  engram::v1::Label label;
  label.set_text(text.data(), text.size());
  return label;
}

engram::v1::Example DenseExample(absl::Span<const float> values, int64_t label) {
  engram::v1::Example example;
  SetDense(values, example.mutable_features());
  example.mutable_label()->set_number(label);
  return example;
}

engram::v1::Example DenseExample(absl::Span<const float> values, absl::string_view label) {
  engram::v1::Example example;
  SetDense(values, example.mutable_features());
  *example.mutable_label() = TextLabel(label);
  return example;
}

std::string LabelText(const engram::v1::Label& label) {
  switch (label.kind_case()) {
    case engram::v1::Label::kNumber:
      return absl::StrCat(label.number());
    case engram::v1::Label::kText:
      return label.text();
    case engram::v1::Label::KIND_NOT_SET:
      return "(none)";
  }
  return "(none)";
}

}  // namespace engram::client
