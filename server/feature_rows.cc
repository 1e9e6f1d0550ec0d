#include "server/feature_rows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/feature_values.h"

namespace engram::server {

absl::Status ReadRows(const v1::Features& features, const FeatureRules& rules, int64_t rows_max,
                      std::vector<float>* values, int64_t* rows) {
  const int64_t count = ValueCount(features);
  *rows = std::max<int64_t>(1, count / rules.feature_count);
  if (*rows > rows_max) {
    return BadField("features", absl::StrCat("batch ", *rows, " exceeds ", rows_max));
  }
  if (const auto violation = FindFeatureViolation(features, *rows, rules)) {
    return BadField(violation->field, violation->reason);
  }
  values->resize(count);
  CopyValues(features, values->data());
  return absl::OkStatus();
}

}  // namespace engram::server
