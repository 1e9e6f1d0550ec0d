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

// The store's format without which nobody may read a log with kReleased: an engramd of format 2
// knows kinds up to kErased.
constexpr int kFormatOfReleases = 3;

}  // namespace engram::server
