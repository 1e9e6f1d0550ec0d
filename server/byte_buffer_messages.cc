#include "server/byte_buffer_messages.h"

#include <zlib.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "grpcpp/support/slice.h"
#include "server/errors.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

absl::Status CheckEnumField(const Message& message, const FieldDescriptor& field,
                            const std::string& path) {
  const Reflection& reflection = *message.GetReflection();
  const int count = field.is_repeated() ? reflection.FieldSize(message, &field) : 1;
  for (int i = 0; i < count; ++i) {
    const int value = field.is_repeated() ? reflection.GetRepeatedEnumValue(message, &field, i)
                                          : reflection.GetEnumValue(message, &field);
    if (field.enum_type()->FindValueByNumber(value) == nullptr) {
      return BadField(path, absl::StrCat("unknown value ", value));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckEnumsBelow(const Message& message, const std::string& prefix) {
  const Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> present;
  reflection.ListFields(message, &present);
  for (const FieldDescriptor* field : present) {
    const std::string path = absl::StrCat(prefix, field->name());
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
      ENGRAM_RETURN_IF_ERROR(CheckEnumField(message, *field, path));
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE && field->is_repeated()) {
      for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
        ENGRAM_RETURN_IF_ERROR(CheckEnumsBelow(reflection.GetRepeatedMessage(message, field, i),
                                               absl::StrCat(path, "[", i, "].")));
      }
    } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      ENGRAM_RETURN_IF_ERROR(
          CheckEnumsBelow(reflection.GetMessage(message, field), absl::StrCat(path, ".")));
    }
  }
  return absl::OkStatus();
}

}  // namespace

bool ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message) {
  // The reader only reads; its constructor merely predates const.
  grpc::ProtoBufferReader reader(const_cast<grpc::ByteBuffer*>(&bytes));
  return reader.status().ok() && message->ParseFromZeroCopyStream(&reader);
}

absl::Status ParseRequest(const grpc::ByteBuffer& bytes, Message* request) {
  if (ParseMessage(bytes, request)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("request is not a valid ",
                                                 request->GetDescriptor()->name(), " message (",
                                                 bytes.Length(), " bytes)"));
}

absl::Status CheckEnums(const Message& message) { return CheckEnumsBelow(message, ""); }

grpc::ByteBuffer ToBytes(const google::protobuf::MessageLite& message) {
  const size_t size = message.ByteSizeLong();
  grpc::Slice slice(size);
  const auto* end = message.SerializeWithCachedSizesToArray(const_cast<uint8_t*>(slice.begin()));
  ENGRAM_CHECK(end == slice.end());
  return grpc::ByteBuffer(&slice, 1);
}

uint32_t ExtendCrc32(uint32_t crc, const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  bytes.Dump(&slices);
  uLong extended = crc;
  for (const grpc::Slice& slice : slices) extended = crc32_z(extended, slice.begin(), slice.size());
  return static_cast<uint32_t>(extended);
}

}  // namespace engram::server
