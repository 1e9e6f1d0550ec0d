// CRC-32C (Castagnoli), with the SSE4.2 instruction where the processor has it.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace engram::storage {

// The checksum of what `crc` covers followed by `bytes`; start with 0.
uint32_t ExtendCrc32c(uint32_t crc, absl::string_view bytes);

inline uint32_t Crc32c(absl::string_view bytes) { return ExtendCrc32c(0, bytes); }

// The same without the instruction, for processors that lack it.
uint32_t ExtendCrc32cPortable(uint32_t crc, absl::string_view bytes);

}  // namespace engram::storage
