#include "client/scenario/row_messages.h"

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "client/examples.h"
#include "client/scenario/row_features.h"

namespace engram::scenario {

void SetRowFeatures(const datasets::RowSet& source, int64_t row, const PixelMap& map,
                    v1::Features* features) {
  // A map may make a picture larger than it came.
  const size_t count = map.empty() ? static_cast<size_t>(source.FeatureCount()) : map.size();
  if (source.columns == 0) {
    std::vector<uint8_t> pixels(count);
    FillPixels(source, row, map, absl::MakeSpan(pixels));
    client::SetBytes(pixels, features);
    return;
  }
  std::vector<float> values(count);
  FillFeatures(source, row, map, absl::MakeSpan(values));
  client::SetDense(values, features);
}

}  // namespace engram::scenario
