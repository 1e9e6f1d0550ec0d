// Reading --config again while the server runs: all of it comes into force, or nothing does. What
// may change is the table in reload.cc; any other difference needs a restart.
//
// Threading: every method from any thread, one reload at a time. Reload blocks on the disk.
// Ownership: the parts that a reload changes outlive it.
// Failure: INVALID_ARGUMENT with line and column, or the field, its range and its value, or the
//   token file's line; FAILED_PRECONDITION CONFIG naming every field that needs a restart, or when
//   there is no --config; NOT_FOUND for a file that cannot be read. What was in force stays so.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "engram/v1/admin.pb.h"
#include "engram/v1/config.pb.h"
#include "server/authority.h"
#include "server/live_value.h"
#include "storage/base/mutex.h"

namespace engram::server {

class ConfigReloader {
 public:
  using Apply = std::function<void(const v1::ServerConfig& config)>;

  // `started` is what `path` said at start, filled in. `authority` may be null. `apply` takes over
  // what has changed.
  ConfigReloader(std::string path, v1::ServerConfig started, Authority* authority,
                 std::vector<Apply> apply);

  absl::StatusOr<v1::ReloadConfigResponse> Reload() ABSL_LOCKS_EXCLUDED(mutex_);
  std::shared_ptr<const v1::ServerConfig> current() const { return current_.Get(); }

 private:
  const std::string path_;
  Authority* const authority_;
  const std::vector<Apply> apply_;
  base::Mutex mutex_;  // one reload at a time
  LiveValue<v1::ServerConfig> current_;
};

// What two configurations differ in, in the order of their fields.
std::vector<v1::ReloadConfigResponse::Change> CompareConfigs(const v1::ServerConfig& before,
                                                             const v1::ServerConfig& after);
// Whether a field, as CompareConfigs names it, may change while the server runs.
bool MayChangeLive(absl::string_view field);

}  // namespace engram::server
