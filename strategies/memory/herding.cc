#include "strategies/memory/herding.h"

#include <algorithm>
#include <limits>

namespace engram::strategies {
namespace {

double SquaredDistance(const std::vector<double>& a, const float* b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum;
}

}  // namespace

std::vector<int64_t> Herd(absl::Span<const float> embeddings, int64_t width, int64_t count) {
  const size_t rows = embeddings.size() / static_cast<size_t>(width);
  return Herd(embeddings, width, count, {std::vector<size_t>(rows), {count}});
}

std::vector<int64_t> Herd(absl::Span<const float> embeddings, int64_t width, int64_t count,
                          const OwnerLimits& owners) {
  const int64_t rows = static_cast<int64_t>(embeddings.size()) / width;
  const auto row = [&](int64_t index) { return embeddings.data() + index * width; };
  std::vector<double> mean(static_cast<size_t>(width));
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < width; ++j) mean[j] += static_cast<double>(row(i)[j]) / rows;
  }
  std::vector<bool> taken(static_cast<size_t>(rows));
  std::vector<int64_t> left = owners.limits;
  std::vector<int64_t> chosen;
  // k || mu - (phi + sum) / k || = || (k mu - sum) - phi ||: the nearest to what is missing.
  std::vector<double> missing = mean;
  while (static_cast<int64_t>(chosen.size()) < std::min(count, rows)) {
    int64_t best = -1;
    double smallest = std::numeric_limits<double>::infinity();
    for (int64_t i = 0; i < rows; ++i) {
      if (taken[i] || left[owners.owner_of_row[i]] <= 0) continue;
      const double distance = SquaredDistance(missing, row(i));
      if (best < 0 || distance < smallest) {
        best = i;
        smallest = distance;
      }
    }
    if (best < 0) break;  // every owner of what is left has reached its limit
    taken[best] = true;
    --left[owners.owner_of_row[best]];
    chosen.push_back(best);
    for (int64_t j = 0; j < width; ++j) missing[j] += mean[j] - row(best)[j];
  }
  return chosen;
}

}  // namespace engram::strategies
