#include "server/feature_rows.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "server/errors.h"

namespace engram::server {

absl::Status ReadRows(const v1::Features& features, const FeatureRules& rules, int64_t rows_max,
                      std::vector<float>* values, int64_t* rows) {
  const auto dense = static_cast<int64_t>(features.dense().size() / sizeof(float));
  const int64_t count = dense > 0 ? dense : features.values_size();
  *rows = std::max<int64_t>(1, count / rules.feature_count);
  if (*rows > rows_max) {
    return BadField("features", absl::StrCat("batch ", *rows, " exceeds ", rows_max));
  }
  if (const auto violation = FindFeatureViolation(features, *rows, rules)) {
    return BadField(violation->field, violation->reason);
  }
  values->resize(count);
  const void* const source = dense > 0 ? static_cast<const void*>(features.dense().data())
                                       : static_cast<const void*>(features.values().data());
  std::memcpy(values->data(), source, count * sizeof(float));
  return absl::OkStatus();
}

}  // namespace engram::server
