// Who a caller is: a role, and a name within it. Written engram://ROLE/NAME in a certificate.
//
// Threading: plain values.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace engram::server {

// In order: each may do what those before it may. kAnybody needs no credentials at all.
enum class Role { kAnybody, kReader, kWriter, kAdmin };

constexpr absl::string_view RoleName(Role role) {
  switch (role) {
    case Role::kReader:
      return "reader";
    case Role::kWriter:
      return "writer";
    case Role::kAdmin:
      return "admin";
    case Role::kAnybody:
      break;
  }
  return "anybody";
}

// Of those that credentials can carry.
inline absl::optional<Role> RoleOf(absl::string_view name) {
  for (const Role role : {Role::kReader, Role::kWriter, Role::kAdmin}) {
    if (RoleName(role) == name) return role;
  }
  return absl::nullopt;
}

struct Identity {
  Role role = Role::kAnybody;
  std::string name;
};

}  // namespace engram::server
