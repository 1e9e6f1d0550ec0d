// Counters and histograms that the model runtimes keep and the exporter reads at each scrape. Plain
// atomics: the hot paths know nothing of Prometheus.
//
// Threading: every method from any thread; relaxed order, a scrape may see a counter one step ahead
// of another.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/inference_statistics.h"

namespace engram::server {

// Cumulative classic histogram with fixed upper bounds (seconds).
class LatencyHistogram {
 public:
  static constexpr std::array<double, 16> kBounds = {.0001, .0002, .0005, .001, .002, .005,
                                                     .01,   .02,   .05,   .1,   .25,  .5,
                                                     1,     2.5,   5,     10};

  void Observe(double value) {
    size_t bucket = 0;
    while (bucket < kBounds.size() && value > kBounds[bucket]) ++bucket;
    buckets_[bucket].fetch_add(1, std::memory_order_relaxed);
    double sum = sum_.load(std::memory_order_relaxed);
    while (!sum_.compare_exchange_weak(sum, sum + value, std::memory_order_relaxed)) {
    }
  }
  // Not cumulative; the last one is +Inf.
  std::array<uint64_t, kBounds.size() + 1> Buckets() const {
    std::array<uint64_t, kBounds.size() + 1> out;
    for (size_t i = 0; i < out.size(); ++i) out[i] = buckets_[i].load(std::memory_order_relaxed);
    return out;
  }
  double Sum() const { return sum_.load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<uint64_t>, kBounds.size() + 1> buckets_{};
  std::atomic<double> sum_{0};
};

// What one model counts since the process started. Gauges are read from ModelRuntime::Describe and
// GetReport instead.
struct ModelStatistics {
  std::atomic<uint64_t> accepted_examples{0};
  std::atomic<uint64_t> duplicate_examples{0};
  std::atomic<uint64_t> rejected_examples{0};
  std::atomic<uint64_t> trained_examples{0};
  std::atomic<uint64_t> steps{0};
  std::atomic<uint64_t> skipped_batches{0};
  std::atomic<uint64_t> client_boundaries{0};
  std::atomic<uint64_t> drift_boundaries{0};
  std::atomic<uint64_t> manual_rollbacks{0};
  std::atomic<uint64_t> automatic_rollbacks{0};
  std::atomic<uint64_t> canary_drops{0};  // firings of the guard
  std::atomic<double> canary_drop{0};     // how far the worst task lies below its best
  std::atomic<uint64_t> erasures{0};  // that are done and found something
  std::atomic<uint64_t> erased_examples{0};
  std::array<std::atomic<uint64_t>, 4> set_aside{};  // by v1.QuarantinedExample.Reason
  std::atomic<int64_t> quarantined{0};  // as published
  std::atomic<double> tune_seconds{0};  // that candidates took to learn; see AddTuneSeconds
  std::atomic<double> train_loss{0};  // of the last step
  std::atomic<double> published_unix_seconds{0};
  std::atomic<double> recovery_seconds{0};
  std::atomic<uint64_t> recovery_replayed_examples{0};
  std::atomic<int64_t> last_checkpoint_bytes{0};
  LatencyHistogram append_seconds;      // Submit to durable
  LatencyHistogram step_seconds;
  LatencyHistogram predict_seconds;     // inside the server, one call
  LatencyHistogram checkpoint_seconds;  // Save to committed row
  std::atomic<uint64_t> predict_calls{0};
  std::atomic<uint64_t> predict_rows{0};
  // Rows a call, powers of two up to 1 024: index = ceil(log2(rows)).
  std::array<std::atomic<uint64_t>, 12> predict_batch_size{};
  InferenceStatistics inference;  // of ModelInfer alone, which the above count, too

  // By the trainer alone.
  void AddTuneSeconds(double seconds) { tune_seconds = tune_seconds + seconds; }
};

}  // namespace engram::server
