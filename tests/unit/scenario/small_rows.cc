#include "tests/unit/scenario/small_rows.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "client/datasets/digit_generator.h"

namespace engram::scenario {
namespace {

datasets::RowSet Photos(int64_t per_class) {
  datasets::RowSet set;
  set.width = 2;
  set.height = 2;
  set.planes = 3;
  for (int64_t row = 0; row < 10 * per_class; ++row) {
    set.labels.push_back(static_cast<uint8_t>(row % 10));
    set.pixels.insert(set.pixels.end(), 12, static_cast<uint8_t>(row));
  }
  set.rows = 10 * per_class;
  return set;
}

// Each rating, or each of twenty films, with both labels where it may have them.
datasets::RowSet Reviews(bool by_film) {
  datasets::RowSet set;
  set.columns = 16;
  for (int32_t group = 1; group <= (by_film ? 20 : 10); ++group) {
    if (!by_film && (group == 5 || group == 6)) continue;
    for (const uint8_t label : {uint8_t{0}, uint8_t{1}}) {
      if (!by_film && (group > 5) != (label == 1)) continue;
      set.labels.push_back(label);
      set.groups.push_back(group);
      set.texts.push_back(absl::StrCat("review of ", group, " and ", label));
    }
  }
  set.rows = static_cast<int64_t>(set.labels.size());
  return set;
}

datasets::RowSet Stream() {
  datasets::RowSet set;
  set.columns = 2;
  set.labels = kStreamLabels;
  set.rows = static_cast<int64_t>(kStreamLabels.size());
  for (int64_t row = 0; row < set.rows; ++row) {
    set.values.push_back(static_cast<float>(row));
    set.values.push_back(-0.5f);
  }
  return set;
}

}  // namespace

const std::vector<uint8_t> kStreamLabels = {1, 1, 1, 0, 0, 1, 1, 1, 1, 0};

datasets::RowSplit SmallRows(RowSource source) {
  switch (source) {
    case RowSource::kDigits:
      return datasets::GenerateDigits({1, 6, 3}).value();
    case RowSource::kPhotos:
      return {Photos(4), Photos(2)};
    case RowSource::kReviewsByRating:
      return {Reviews(false), Reviews(false)};
    case RowSource::kReviewsByFilm:
      return {Reviews(true), Reviews(true)};
    case RowSource::kElectricity:
    case RowSource::kWeather:
      return {Stream(), {}};
  }
  return {};
}

}  // namespace engram::scenario
