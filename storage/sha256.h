// SHA-256 of a byte string, in lower-case hex. The only use of OpenSSL in this room.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace engram::storage {

std::string Sha256Hex(absl::string_view bytes);

}  // namespace engram::storage
