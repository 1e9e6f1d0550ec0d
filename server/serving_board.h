// Which models serve, and whether the server as a whole does: what health checks and /readyz show.
// The whole server serves once it is open and every model does.
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
  // "" = the server is open.
  void Set(const std::string& model, bool serving) ABSL_LOCKS_EXCLUDED(mutex_);
  // The model is there and does not serve, unless it said that it does.
  void Expect(const std::string& model) ABSL_LOCKS_EXCLUDED(mutex_);
  // The model is gone: NOT_SERVING, and the server does not wait for it.
  void Remove(const std::string& model) ABSL_LOCKS_EXCLUDED(mutex_);
  // Everything is NOT_SERVING, for good.
  void Withdraw() ABSL_LOCKS_EXCLUDED(mutex_);
  // The server is open and every model serves.
  bool Ready() const ABSL_LOCKS_EXCLUDED(mutex_);
  // `health` outlives its attachment; nullptr detaches.
  void Attach(grpc::HealthCheckServiceInterface* health) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  bool AllServe() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells the health service about a model and about the whole.
  void Tell(const std::string& model, bool serving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable base::Mutex mutex_;
  bool withdrawn_ ABSL_GUARDED_BY(mutex_) = false;
  absl::btree_map<std::string, bool> serving_ ABSL_GUARDED_BY(mutex_) = {{"", false}};
  grpc::HealthCheckServiceInterface* health_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace engram::server
