#include "client/scenario/scenario_rows.h"

#include <initializer_list>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/datasets/byte_file.h"
#include "client/datasets/cifar10_reader.h"
#include "client/datasets/digit_generator.h"
#include "client/datasets/idx_reader.h"
#include "client/datasets/imdb_reader.h"
#include "client/datasets/stream_columns.h"
#include "client/datasets/table_reader.h"
#include "client/scenario/scenario.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

using datasets::RowSplit;

// Of a review's hashed words: 25 000 reviews of about 230 words collide little enough.
constexpr int64_t kTextColumns = 2048;

absl::StatusOr<RowSplit> LoadReviews(const std::string& path, datasets::ReviewGroup group) {
  ENGRAM_ASSIGN_OR_RETURN(
      const std::string archive,
      datasets::FindFile(path, {"aclImdb_v1.tar", "aclImdb_v1.labelled.tar"}));
  return datasets::LoadImdb(archive, group, kTextColumns);
}

// A stream has no held-out rows: each is predicted before it is learned.
absl::StatusOr<RowSplit> LoadStream(const RowOptions& options,
                                    std::initializer_list<absl::string_view> names) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string table, datasets::FindFile(options.path, names));
  RowSplit split;
  ENGRAM_ASSIGN_OR_RETURN(split.train, datasets::ReadTable(table));
  datasets::StandardiseOnline(&split.train);
  if (options.previous_label) datasets::AppendPreviousLabel(&split.train);
  return split;
}

absl::StatusOr<RowSplit> LoadFrom(RowSource source, const RowOptions& options) {
  switch (source) {
    case RowSource::kDigits:
      return datasets::LoadDigitFolder(options.path);
    case RowSource::kPhotos:
      return datasets::LoadCifar10Folder(options.path);
    case RowSource::kReviewsByRating:
      return LoadReviews(options.path, datasets::ReviewGroup::kRating);
    case RowSource::kReviewsByFilm:
      return LoadReviews(options.path, datasets::ReviewGroup::kFilm);
    case RowSource::kElectricity:
      return LoadStream(options, {"elec.csv", "elecNorm.arff"});
    case RowSource::kWeather:
      return LoadStream(options, {"weather.csv"});
  }
  return absl::InternalError("no such source of rows");
}

}  // namespace

absl::StatusOr<RowSplit> LoadScenarioRows(const RowOptions& options) {
  ENGRAM_ASSIGN_OR_RETURN(const ScenarioHelp help, FindScenario(options.scenario));
  const bool stream =
      help.source == RowSource::kElectricity || help.source == RowSource::kWeather;
  if (options.previous_label && !stream) {
    return absl::InvalidArgumentError(
        absl::StrCat("previous_label: ", help.name, " is shuffled: no label comes before"));
  }
  if (!options.path.empty()) return LoadFrom(help.source, options);
  if (help.source == RowSource::kDigits) return datasets::GenerateDigits({});
  return absl::InvalidArgumentError(
      absl::StrCat("data: ", help.name, " needs the folder of its files, got none"));
}

}  // namespace engram::scenario
