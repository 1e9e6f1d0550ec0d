#include "client/scenario/predict_load.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/scenario/row_messages.h"

namespace engram::scenario {
namespace {

constexpr size_t kMaxLatencies = 10'000'000;
// A server that refuses is not hammered.
constexpr absl::Duration kPauseAfterFailure = absl::Milliseconds(20);

}  // namespace

double Quantile(double quantile, std::vector<float>* values) {
  if (values->empty()) return 0;
  const double rank = std::ceil(quantile * static_cast<double>(values->size()));
  const auto at =
      static_cast<size_t>(std::clamp(rank - 1, 0.0, static_cast<double>(values->size() - 1)));
  std::nth_element(values->begin(), values->begin() + static_cast<ptrdiff_t>(at), values->end());
  return (*values)[at];
}

PredictLoad::PredictLoad(std::shared_ptr<client::Connection> connection, std::string model,
                         const Scenario& scenario, const datasets::RowSplit& source)
    : client_(std::move(connection)),
      model_(std::move(model)),
      scenario_(scenario),
      source_(source) {}

PredictLoad::~PredictLoad() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

void PredictLoad::UseTasks(int64_t tasks) {
  tasks_ = tasks;
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
}

PredictLoadReport PredictLoad::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
  report_.p50_seconds = Quantile(0.5, &latencies_);
  report_.p99_seconds = Quantile(0.99, &latencies_);
  return std::move(report_);
}

void PredictLoad::Run() {
  absl::Time start = absl::Now();
  bool begun = false;
  for (int64_t turn = 0; !stop_; ++turn) {
    const v1::PredictRequest request = RequestFor(turn);
    const absl::Time sent = absl::Now();
    const absl::Status status = client_.Predict(request).status();
    const absl::Time answered = absl::Now();
    // A model that has learned nothing has no class to answer with.
    const bool not_yet = !begun && absl::IsFailedPrecondition(status);
    if (status.ok() && !begun) start = sent;
    begun = begun || status.ok();
    if (not_yet) {
      absl::SleepFor(kPauseAfterFailure);
      continue;
    }
    if (!status.ok()) {
      ++report_.failures;
      report_.last_failure = status;
      absl::SleepFor(kPauseAfterFailure);
      continue;
    }
    ++report_.predictions;
    if (latencies_.size() < kMaxLatencies) {
      latencies_.push_back(static_cast<float>(absl::ToDoubleSeconds(answered - sent)));
    }
  }
  if (begun) report_.seconds = absl::ToDoubleSeconds(absl::Now() - start);
}

v1::PredictRequest PredictLoad::RequestFor(int64_t turn) const {
  const int64_t tasks = tasks_;
  const Task& task = scenario_.tasks[static_cast<size_t>(turn % tasks)];
  const auto rows = static_cast<int64_t>(task.held_out.size());
  const TaskRow row = task.held_out[static_cast<size_t>((turn / tasks) % rows)];
  v1::PredictRequest request;
  request.set_model(model_);
  SetRowFeatures(source_.test, row.index, task.map, request.mutable_features());
  if (scenario_.incremental == Incremental::kTask) request.set_task(task.name);
  return request;
}

}  // namespace engram::scenario
