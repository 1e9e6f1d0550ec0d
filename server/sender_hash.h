// Who sent an example, as a number for learners: equal names alike, in every run, on every machine.
//
// Threading: a pure function. Failure: none.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace engram::server {

// The first 64 bits of the name's SHA-256: nobody finds a name that is taken for another's. 0 of no
// name.
uint64_t SenderHash(absl::string_view name);

}  // namespace engram::server
