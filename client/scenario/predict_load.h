// One client that predicts as fast as it is answered while a model learns: what a user of the model
// would see meanwhile.
//
// Threading: one thread of its own; the public calls come from one other thread.
// Ownership: borrows scenario and rows until Stop.
// Failure: failed calls are counted, and the last status is kept; the load goes on. The time begins
//   with the first answer: FAILED_PRECONDITION before it means that the model has no class yet.
// Bounds: keeps one float a call, up to ten million.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "client/clients.h"
#include "client/connection.h"
#include "client/datasets/row_set.h"
#include "client/scenario/scenario.h"

namespace engram::scenario {

struct PredictLoadReport {
  int64_t predictions = 0;
  int64_t failures = 0;
  double seconds = 0;
  double p50_seconds = 0;
  double p99_seconds = 0;
  absl::Status last_failure;

  double PredictionsPerSecond() const {
    return seconds > 0 ? static_cast<double>(predictions) / seconds : 0.0;
  }
};

class PredictLoad {
 public:
  PredictLoad(std::shared_ptr<client::Connection> connection, std::string model,
              const Scenario& scenario, const datasets::RowSplit& source);
  ~PredictLoad();
  PredictLoad(const PredictLoad&) = delete;
  PredictLoad& operator=(const PredictLoad&) = delete;

  // From now on predicts held-out rows of the first `tasks` tasks, one row a call. The first call
  // starts the load.
  void UseTasks(int64_t tasks);

  // Once.
  PredictLoadReport Stop();

 private:
  void Run();
  v1::PredictRequest RequestFor(int64_t turn) const;

  const client::PredictionClient client_;
  const std::string model_;
  const Scenario& scenario_;
  const datasets::RowSplit& source_;
  std::atomic<int64_t> tasks_{0};
  std::atomic<bool> stop_{false};
  std::thread thread_;
  // Of the thread until it is joined.
  PredictLoadReport report_;
  std::vector<float> latencies_;
};

// The value that a share `quantile` of `values` does not exceed; 0 when there is none. Reorders.
double Quantile(double quantile, std::vector<float>* values);

}  // namespace engram::scenario
