// Which writer may learn as which producer (Authentication.bindings).
//
// Threading: immutable once made. Failure: INVALID_ARGUMENT naming the field; PERMISSION_DENIED.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engram/v1/config.pb.h"
#include "server/identity.h"

namespace engram::server {

class ProducerBindings {
 public:
  static absl::StatusOr<ProducerBindings> Make(const v1::Authentication& authentication);

  // An admin may always. A bound writer may what it is bound to, another writer what nobody is.
  absl::Status Admit(const Identity& caller, absl::string_view producer) const;
  // Whether the caller may mark boundaries: not where one of its bindings says no_boundaries.
  absl::Status AdmitBoundary(const Identity& caller) const;

 private:
  struct Binding {
    std::string writer;
    std::string producer;
    bool any_rest = false;
    bool no_boundaries = false;
  };

  std::vector<Binding> bindings_;
};

}  // namespace engram::server
