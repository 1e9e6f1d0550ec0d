#include "client/scenario/row_features.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include "client/datasets/hashed_text.h"

namespace engram::scenario {

void FillFeatures(const datasets::RowSet& source, int64_t row, const PixelMap& map,
                  absl::Span<float> out) {
  if (!source.texts.empty()) {
    datasets::HashText(source.texts[static_cast<size_t>(row)], out);
  } else if (source.columns > 0) {
    std::copy_n(source.Values(row), out.size(), out.begin());
  } else {
    std::vector<uint8_t> pixels(out.size());
    FillPixels(source, row, map, absl::MakeSpan(pixels));
    std::transform(pixels.begin(), pixels.end(), out.begin(), [](uint8_t pixel) {
      return static_cast<float>(pixel) * datasets::kPixelScale;
    });
  }
}

void FillPixels(const datasets::RowSet& source, int64_t row, const PixelMap& map,
                absl::Span<uint8_t> out) {
  const uint8_t* pixels = source.Pixels(row);
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t from = map.empty() ? static_cast<int64_t>(i) : map[i];
    out[i] = from < 0 ? 0 : pixels[from];
  }
}

}  // namespace engram::scenario
