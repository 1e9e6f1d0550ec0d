// Prometheus metrics, read at each scrape from the counters that the models and the edge keep: the
// hot paths know nothing of Prometheus.
//
// Names, labels and bucket bounds are a contract (api.md, "Metrics"). A ratio that is not defined
// yet has its HELP and TYPE lines and no sample.
//
// Threading: Collect from any thread. Ownership: what it reads outlives it.
// Bounds: at most 50 task series a model and family, the rest as their mean under task="other".
#pragma once

#include <vector>

#include "absl/types/optional.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/edge.h"
#include "server/process_usage.h"

namespace engram::server {

class Exporter : public prometheus::Collectable {
 public:
  explicit Exporter(const Edge& edge) : edge_(edge) {}

  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const Edge& edge_;
  // Its start alone is used: see MeasureProcess.
  const absl::optional<ProcessUsage> at_start_ = MeasureProcess();
};

}  // namespace engram::server
