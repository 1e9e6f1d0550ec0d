// All models of one server: creation, recovery, training strands, background work, drain. Wires
// storage and strategies together; services see only this and ModelRuntime.
//
// Threading: every method from any thread. Start() returns at once; models recover on the strands
//   and answer UNAVAILABLE "recovering: n/m records" to learning and prediction until they serve.
// Failure: statuses of server/errors.h.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/config.pb.h"
#include "engram/v1/model.pb.h"
#include "server/loss_lock.h"
#include "server/model_runtime.h"
#include "storage/store.h"
#include "strategies/api/learner.h"

namespace engram::server {

// How learners are made; tests pass a fake.
using LearnerFactory = std::function<absl::StatusOr<std::unique_ptr<strategies::Learner>>(
    const strategies::ModelOptions&)>;

// Told when a model starts or stops serving ("" = the whole server); feeds the health service.
using OnServing = std::function<void(const std::string& model, bool serving)>;

// What spec.guard did by itself, for the audit log. On the trainer's thread: must not block.
struct GuardAction {
  absl::string_view method;  // of engram.v1, that an administrator would have called
  std::string model;
  std::string checkpoint;
  absl::Status outcome;
};
using OnGuard = std::function<void(const GuardAction&)>;

struct ModelHostOptions {
  v1::ServerConfig config;  // with defaults filled in (server/config.h)
  std::string compute_fingerprint;
  LearnerFactory make_learner;
  OnServing on_serving;
  OnGuard on_guard;             // may be empty
  LossBook* losses = nullptr;  // null: kept in memory only; outlives the host
  // Runs first on every thread that trains, evaluates or restores.
  std::function<void()> enter_compute_thread;
};

class ModelHost {
 public:
  virtual ~ModelHost() = default;

  virtual absl::StatusOr<v1::Model> Create(const v1::CreateModelRequest& request) = 0;
  virtual absl::StatusOr<std::shared_ptr<ModelRuntime>> Find(absl::string_view name) const = 0;
  virtual std::vector<std::shared_ptr<ModelRuntime>> List() const = 0;
  virtual void Update(const v1::UpdateModelRequest& request,
                      std::function<void(absl::StatusOr<v1::UpdateModelResponse>)> done) = 0;
  virtual absl::Status Delete(absl::string_view name) = 0;
  virtual absl::StatusOr<v1::Model> SetPaused(absl::string_view name, bool paused) = 0;

  // Opens every stored model and starts the threads.
  virtual absl::Status Start() = 0;
  // Refuses new work with UNAVAILABLE, finishes what is queued, trains what is durable within
  // `patience`, writes a final checkpoint of every model. Start's threads have ended on return.
  virtual void Drain(absl::Duration patience) = 0;

  // Takes over what may change live: limits, retention, the share of live evaluation.
  virtual void Apply(const v1::ServerConfig& config) = 0;

  // Empty, or why learning is refused.
  virtual std::string ReadOnlyReason() const = 0;
  virtual const storage::Store& store() const = 0;
};

// `store` outlives the host.
std::unique_ptr<ModelHost> MakeModelHost(ModelHostOptions options, storage::Store* store);

}  // namespace engram::server
