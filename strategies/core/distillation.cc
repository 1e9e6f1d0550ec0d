#include "strategies/core/distillation.h"

#include <algorithm>
#include <cmath>

namespace engram::strategies {
namespace {

// log sum_u exp(outputs_u / T).
double LogNormaliser(const float* outputs, absl::Span<const int64_t> units, double temperature) {
  double highest = outputs[units.front()];
  for (const int64_t unit : units) highest = std::max<double>(highest, outputs[unit]);
  double sum = 0;
  for (const int64_t unit : units) sum += std::exp((outputs[unit] - highest) / temperature);
  return highest / temperature + std::log(sum);
}

}  // namespace

double AddDistillation(const float* teacher, const float* student, absl::Span<const int64_t> units,
                       double temperature, double scale, float* gradient) {
  if (units.empty()) return 0;
  const double teacher_normaliser = LogNormaliser(teacher, units, temperature);
  const double student_normaliser = LogNormaliser(student, units, temperature);
  double divergence = 0;
  for (const int64_t unit : units) {
    const double log_q = teacher[unit] / temperature - teacher_normaliser;
    const double log_p = student[unit] / temperature - student_normaliser;
    const double q = std::exp(log_q), p = std::exp(log_p);
    divergence += q * (log_q - log_p);
    gradient[unit] += static_cast<float>(scale * (p - q) / temperature);
  }
  return scale * divergence;
}

}  // namespace engram::strategies
