// Figures: latencies, medians over repetitions, and one JSON object a figure beside its ceiling.
//
// Threading: one thread. Failure: none.
#pragma once

#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "nlohmann/json.hpp"

namespace engram::bench {

// Seconds of single calls.
class Latencies {
 public:
  void Add(double seconds) { seconds_.push_back(seconds); }
  size_t count() const { return seconds_.size(); }
  // 0 <= quantile <= 1, the value at that rank; 0 when there is none.
  double At(double quantile) const;

 private:
  std::vector<double> seconds_;
};

double Median(std::vector<double> values);

// One line of the result: what, where it ran, with training on or not, and what bounds it.
struct Figure {
  std::string name;
  std::string where;     // "through the server" | "in process"
  std::string training;  // "on" | "paused" | "none"
  std::string unit;
  double value = 0;
  std::string ceiling_name;
  double ceiling = 0;
  // value / ceiling must be at most (latency) or at least (rate) this; absent: only reported.
  absl::optional<double> ratio_at_most;
  absl::optional<double> ratio_at_least;
  nlohmann::json detail = nlohmann::json::object();
};

class Results {
 public:
  // Prints the figure as it comes.
  void Add(const Figure& figure);
  nlohmann::json ToJson() const { return figures_; }
  bool all_hold() const { return all_hold_; }

 private:
  nlohmann::json figures_ = nlohmann::json::array();
  bool all_hold_ = true;
};

}  // namespace engram::bench
