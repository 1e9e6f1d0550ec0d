#include "server/producer_bindings.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/errors.h"
#include "server/names.h"

namespace engram::server {

absl::StatusOr<ProducerBindings> ProducerBindings::Make(const v1::Authentication& authentication) {
  ProducerBindings made;
  for (int i = 0; i < authentication.bindings_size(); ++i) {
    const auto& binding = authentication.bindings(i);
    const std::string field = absl::StrCat("authentication.bindings[", i, "]");
    if (!IsName(binding.writer())) {
      return BadField(absl::StrCat(field, ".writer"), NotAName(binding.writer()));
    }
    if (binding.producers().empty()) return BadField(absl::StrCat(field, ".producers"), "required");
    for (const std::string& producer : binding.producers()) {
      absl::string_view name = producer;
      const bool any_rest = absl::ConsumeSuffix(&name, "*");
      if (!IsName(name)) {
        return BadField(absl::StrCat(field, ".producers"),
                        absl::StrCat("\"", Echo(producer), "\" ", kNameRule, ", or end in \"*\""));
      }
      made.bindings_.push_back(
          {binding.writer(), std::string(name), any_rest, binding.no_boundaries()});
    }
  }
  return made;
}

absl::Status ProducerBindings::Admit(const Identity& caller, absl::string_view producer) const {
  if (caller.role == Role::kAdmin || bindings_.empty()) return absl::OkStatus();
  bool bound = false;
  bool others = false;
  for (const Binding& binding : bindings_) {
    const bool fits = binding.any_rest ? absl::StartsWith(producer, binding.producer)
                                       : producer == binding.producer;
    const bool mine = binding.writer == caller.name;
    if (mine && fits) return absl::OkStatus();
    bound = bound || mine;
    others = others || fits;
  }
  if (!bound && !others) return absl::OkStatus();
  return WithReason(absl::StatusCode::kPermissionDenied, "PRODUCER_NOT_BOUND",
                    absl::StrCat("writer \"", caller.name, "\" may not learn as producer \"",
                                 Echo(producer), "\""),
                    "producer", Echo(producer));
}

absl::Status ProducerBindings::AdmitBoundary(const Identity& caller) const {
  if (caller.role == Role::kAdmin) return absl::OkStatus();
  for (const Binding& binding : bindings_) {
    if (binding.writer != caller.name || !binding.no_boundaries) continue;
    return WithReason(absl::StatusCode::kPermissionDenied, "BOUNDARIES_NOT_ALLOWED",
                      absl::StrCat("writer \"", caller.name,
                                   "\" may not mark boundaries (no_boundaries of its binding)"),
                      "writer", caller.name);
  }
  return absl::OkStatus();
}

}  // namespace engram::server
