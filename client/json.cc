#include "client/json.h"

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engram/v1/example.pb.h"
#include "google/protobuf/descriptor.h"

namespace engram::client {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// The shortest decimal that is this float, not the float's exact binary value.
Json FromFloat(float value) {
  double shortest = value;
  (void)absl::SimpleAtod(absl::StrCat(value), &shortest);
  return shortest;
}

Json FromText(const FieldDescriptor& field, const std::string& text) {
  return field.type() == FieldDescriptor::TYPE_BYTES ? absl::Base64Escape(text) : text;
}

// index -1: the field is not repeated.
Json ValueOf(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& get = *message.GetReflection();
  const FieldDescriptor* f = &field;
  const bool one = index < 0;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return one ? get.GetInt32(message, f) : get.GetRepeatedInt32(message, f, index);
    case FieldDescriptor::CPPTYPE_INT64:
      return one ? get.GetInt64(message, f) : get.GetRepeatedInt64(message, f, index);
    case FieldDescriptor::CPPTYPE_UINT32:
      return one ? get.GetUInt32(message, f) : get.GetRepeatedUInt32(message, f, index);
    case FieldDescriptor::CPPTYPE_UINT64:
      return one ? get.GetUInt64(message, f) : get.GetRepeatedUInt64(message, f, index);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return one ? get.GetDouble(message, f) : get.GetRepeatedDouble(message, f, index);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return FromFloat(one ? get.GetFloat(message, f) : get.GetRepeatedFloat(message, f, index));
    case FieldDescriptor::CPPTYPE_BOOL:
      return one ? get.GetBool(message, f) : get.GetRepeatedBool(message, f, index);
    case FieldDescriptor::CPPTYPE_ENUM:
      return (one ? get.GetEnum(message, f) : get.GetRepeatedEnum(message, f, index))->name();
    case FieldDescriptor::CPPTYPE_STRING:
      return FromText(field,
                      one ? get.GetString(message, f) : get.GetRepeatedString(message, f, index));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(one ? get.GetMessage(message, f) : get.GetRepeatedMessage(message, f, index));
  }
  return nullptr;
}

Json ListOf(const Message& message, const FieldDescriptor& field) {
  Json list = Json::array();
  const int size = message.GetReflection()->FieldSize(message, &field);
  for (int i = 0; i < size; ++i) list.push_back(ValueOf(message, field, i));
  return list;
}

Json FromLabel(const engram::v1::Label& label) {
  if (label.has_number()) return label.number();
  if (label.has_text()) return label.text();
  return nullptr;
}

}  // namespace

Json ToJson(const Message& message) {
  if (message.GetDescriptor() == engram::v1::Label::descriptor()) {
    return FromLabel(static_cast<const engram::v1::Label&>(message));
  }
  Json object = Json::object();
  const auto* type = message.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const FieldDescriptor& field = *type->field(i);
    if (field.is_repeated()) {
      object[field.name()] = ListOf(message, field);
    } else if (!field.has_presence() || message.GetReflection()->HasField(message, &field)) {
      object[field.name()] = ValueOf(message, field, -1);
    }
  }
  return object;
}

}  // namespace engram::client
