#include "client/scenario/row_messages.h"

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "client/examples.h"
#include "client/scenario/row_features.h"

namespace engram::scenario {

void SetRowFeatures(const datasets::RowSet& source, int64_t row, const PixelMap& map,
                    v1::Features* features) {
  std::vector<float> values(static_cast<size_t>(source.FeatureCount()));
  FillFeatures(source, row, map, absl::MakeSpan(values));
  client::SetDense(values, features);
}

}  // namespace engram::scenario
