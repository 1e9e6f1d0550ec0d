// Which models serve, and whether the server as a whole does: what health checks and /readyz show.
//
// The models report from their first moment, before there is a gRPC server; Attach catches up.
//
// Threading: every method from any thread.
#pragma once

#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "grpcpp/health_check_service_interface.h"
#include "storage/base/mutex.h"

namespace engram::server {

class ServingBoard {
 public:
  // "" = the whole server. NOT_SERVING until told otherwise, and for good once withdrawn.
  void Set(const std::string& model, bool serving) ABSL_LOCKS_EXCLUDED(mutex_);
  // Everything is NOT_SERVING from now on.
  void Withdraw() ABSL_LOCKS_EXCLUDED(mutex_);
  // The server serves, and so does every model.
  bool Ready() const ABSL_LOCKS_EXCLUDED(mutex_);
  // `health` outlives its attachment; nullptr detaches.
  void Attach(grpc::HealthCheckServiceInterface* health) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable base::Mutex mutex_;
  bool withdrawn_ ABSL_GUARDED_BY(mutex_) = false;
  absl::btree_map<std::string, bool> serving_ ABSL_GUARDED_BY(mutex_) = {{"", false}};
  grpc::HealthCheckServiceInterface* health_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace engram::server
