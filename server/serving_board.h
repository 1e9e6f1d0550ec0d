// Which models serve, and whether the server as a whole does: what health checks and /readyz show.
// The whole server serves once it is open, every model does, and what it learns can be stored. When
// it cannot, predictions go on: models then serve, and only "" and kLearning do not.
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
  // Names of the health service beside "" and the models'; a model of this name is not told of.
  static constexpr char kLearning[] = "engram.v1.Learning";
  static constexpr char kPrediction[] = "engram.v1.Prediction";

  // "" = the server is open.
  void Set(const std::string& model, bool serving) ABSL_LOCKS_EXCLUDED(mutex_);
  // The model is there and does not serve, unless it said that it does.
  void Expect(const std::string& model) ABSL_LOCKS_EXCLUDED(mutex_);
  // The model is gone: NOT_SERVING, and the server does not wait for it.
  void Remove(const std::string& model) ABSL_LOCKS_EXCLUDED(mutex_);
  // Storage is read-only: nothing can be learned until a restart.
  void StopLearning() ABSL_LOCKS_EXCLUDED(mutex_);
  // Everything is NOT_SERVING, for good.
  void Withdraw() ABSL_LOCKS_EXCLUDED(mutex_);
  bool Ready() const ABSL_LOCKS_EXCLUDED(mutex_) { return WhyNotReady().empty(); }
  // Empty when the whole server serves. Anybody may read it: it names nothing.
  std::string WhyNotReady() const ABSL_LOCKS_EXCLUDED(mutex_);
  // `health` outlives its attachment; nullptr detaches.
  void Attach(grpc::HealthCheckServiceInterface* health) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  std::string Obstacle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TellWhole() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells the health service about a model and about the whole.
  void Tell(const std::string& model, bool serving) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable base::Mutex mutex_;
  bool withdrawn_ ABSL_GUARDED_BY(mutex_) = false;
  bool learning_ ABSL_GUARDED_BY(mutex_) = true;
  absl::btree_map<std::string, bool> serving_ ABSL_GUARDED_BY(mutex_) = {{"", false}};
  grpc::HealthCheckServiceInterface* health_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace engram::server
