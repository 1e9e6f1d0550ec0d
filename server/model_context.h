// What the parts of one model share: who it is, and what they stand on.
//
// Ownership: the store, the clock and the background queue outlive every model.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "engram/v1/config.pb.h"
#include "server/background.h"
#include "server/clock.h"
#include "server/live_value.h"
#include "server/loss_lock.h"
#include "server/model_host.h"
#include "server/statistics.h"
#include "storage/store.h"

namespace engram::server {

struct ModelContext {
  std::string name;
  storage::ModelUid uid = 0;
  storage::Store* store = nullptr;
  const Clock* clock = nullptr;
  Background* background = nullptr;
  LearnerFactory make_learner;
  std::function<void()> enter_compute_thread;
  std::string compute_fingerprint;
  LiveValue<v1::Limits> limits;        // filled in
  LiveValue<v1::Retention> retention;  // filled in
  LiveValue<double> live_evaluation_share = 0.05;
  LossBook* losses = nullptr;  // null: losses are kept in memory only
  std::shared_ptr<ModelStatistics> statistics;
  // Asks a strand to run the trainer soon; from any thread, also after the host is gone.
  std::function<void()> wake;
  // A call waits with a deadline: the timer should look.
  std::function<void()> deadline_set;
  // The model began or stopped to serve.
  std::function<void(bool serving)> on_serving;
  OnGuard on_guard;  // may be empty
};

}  // namespace engram::server
