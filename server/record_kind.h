// Kinds of log records; the byte is stored beside the payload. See engram/internal/records.proto.
#pragma once

#include <cstdint>

namespace engram::server {

enum class RecordKind : uint8_t {
  kExample = 1,
  kBoundary = 2,
  kFlush = 3,
  kRollback = 4,
  kConfiguration = 5,
  kErased = 6,
  kQuarantined = 7,  // reserved: no version has written one yet
};

}  // namespace engram::server
