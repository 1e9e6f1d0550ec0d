#include "server/operations_config.h"

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/errors.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

// 0 is "absent" in proto3 and takes the default.
absl::StatusOr<int64_t> Settled(absl::string_view field, int64_t value, int64_t standard,
                                int64_t least, int64_t most) {
  if (value == 0) return standard;
  if (value >= least && value <= most) return value;
  return BadField(field, absl::StrCat("must be in [", least, ", ", most, "], got ", value));
}

}  // namespace

absl::Status SettleOperations(v1::ServerConfig* config) {
  v1::SelfProbe* probe = config->mutable_self_probe();
  ENGRAM_ASSIGN_OR_RETURN(
      const int64_t period,
      Settled("self_probe.period_ms", probe->period_ms(), 5000, 100, 10 * 60 * 1000));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t misses,
                          Settled("self_probe.misses", probe->misses(), 3, 1, 100));
  probe->set_period_ms(period);
  probe->set_misses(static_cast<int32_t>(misses));
  if (probe->certificate_file().empty() != probe->key_file().empty()) {
    return BadField("self_probe", "certificate_file and key_file come together");
  }
  v1::Audit* audit = config->mutable_audit();
  ENGRAM_ASSIGN_OR_RETURN(
      const int64_t bytes,
      Settled("audit.file_bytes", audit->file_bytes(), 4 << 20, 4 << 10, 1 << 30));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t files,
                          Settled("audit.files", audit->files(), 8, 2, 100));
  audit->set_file_bytes(bytes);
  audit->set_files(static_cast<int32_t>(files));
  return absl::OkStatus();
}

}  // namespace engram::server
