#include "tests/bench/end_to_end/measure.h"

#include <algorithm>
#include <cstdio>

namespace engram::bench {

double Latencies::At(double quantile) const {
  if (seconds_.empty()) return 0;
  std::vector<double> sorted = seconds_;
  const auto rank = static_cast<size_t>(quantile * static_cast<double>(sorted.size() - 1));
  std::nth_element(sorted.begin(), sorted.begin() + static_cast<ptrdiff_t>(rank), sorted.end());
  return sorted[rank];
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

void Results::Add(const Figure& figure) {
  const double ratio = figure.ceiling > 0 ? figure.value / figure.ceiling : 0;
  const bool holds = (!figure.ratio_at_most.has_value() || ratio <= *figure.ratio_at_most) &&
                     (!figure.ratio_at_least.has_value() || ratio >= *figure.ratio_at_least);
  all_hold_ = all_hold_ && holds;
  nlohmann::json json = {
      {"name", figure.name},       {"where", figure.where}, {"training", figure.training},
      {"unit", figure.unit},       {"value", figure.value}, {"ceiling_name", figure.ceiling_name},
      {"ceiling", figure.ceiling}, {"ratio", ratio},        {"holds", holds},
      {"detail", figure.detail}};
  if (figure.ratio_at_most.has_value()) json["ratio_at_most"] = *figure.ratio_at_most;
  if (figure.ratio_at_least.has_value()) json["ratio_at_least"] = *figure.ratio_at_least;
  figures_.push_back(json);
  std::printf("%-34s %10.4g %-5s (%s, training %s) | %s: %.4g | ratio %.3f%s\n",
              figure.name.c_str(), figure.value, figure.unit.c_str(), figure.where.c_str(),
              figure.training.c_str(), figure.ceiling_name.c_str(), figure.ceiling, ratio,
              holds ? "" : "  MISSED");
  std::fflush(stdout);
}

}  // namespace engram::bench
