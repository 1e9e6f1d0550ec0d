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
  kReleased = 7,  // an example out of quarantine
};

}  // namespace engram::server
