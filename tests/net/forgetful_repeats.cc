// A planted bug: a server that takes every message for a new one. Linked in place of
// server/admission_repeats.cc into a program that only `idem` starts: what this server stores twice
// must be called so.
#include <string>

#include "server/admission.h"

namespace engram::server {

bool Admission::IsRepeat(const Producer& /*producer*/, const std::string& /*name*/,
                         uint64_t /*sequence*/) const {
  return false;
}

}  // namespace engram::server
