#include "client/scenario/row_features.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "client/datasets/hashed_text.h"

namespace engram::scenario {
namespace {

const std::array<float, 256>& UnitRange() {
  static const auto* const kValues = [] {
    auto* values = new std::array<float, 256>;
    for (size_t i = 0; i < values->size(); ++i) (*values)[i] = static_cast<float>(i) / 255.0f;
    return values;
  }();
  return *kValues;
}

}  // namespace

void FillFeatures(const datasets::RowSet& source, int64_t row, const PixelMap& map,
                  absl::Span<float> out) {
  if (!source.texts.empty()) {
    datasets::HashText(source.texts[static_cast<size_t>(row)], out);
    return;
  }
  if (source.columns > 0) {
    std::copy_n(source.Values(row), out.size(), out.begin());
    return;
  }
  const std::array<float, 256>& unit = UnitRange();
  const uint8_t* pixels = source.Pixels(row);
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t from = map.empty() ? static_cast<int64_t>(i) : map[i];
    out[i] = from < 0 ? 0.0f : unit[pixels[from]];
  }
}

}  // namespace engram::scenario
