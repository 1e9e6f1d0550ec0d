#include "client/datasets/imdb_reader.h"

#include <array>
#include <cstddef>
#include <map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/datasets/tar_reader.h"
#include "storage/base/status_macros.h"

namespace engram::datasets {
namespace {

struct Review {
  int32_t rating = 0;
  std::string text;
};

// The reviews of one folder by id, and the films of its list by line.
struct Folder {
  std::map<int32_t, Review> reviews;
  std::vector<int32_t> films;
};

struct Archive {
  // [negative, positive].
  std::array<Folder, 2> train;
  std::array<Folder, 2> test;
};

// "http://www.imdb.com/title/tt0453418/usercomments" -> 453418.
absl::StatusOr<int32_t> FilmOf(absl::string_view url) {
  constexpr absl::string_view kMark = "/title/tt";
  const size_t at = url.find(kMark);
  if (at != absl::string_view::npos) {
    absl::string_view number = url.substr(at + kMark.size());
    number = number.substr(0, number.find('/'));
    int32_t film = 0;
    if (absl::SimpleAtoi(number, &film)) return film;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("expected an address with /title/ttNUMBER, got \"", url, "\""));
}

absl::StatusOr<std::vector<int32_t>> FilmsOf(absl::string_view urls) {
  std::vector<int32_t> films;
  for (const absl::string_view url : absl::StrSplit(urls, '\n', absl::SkipEmpty())) {
    ENGRAM_ASSIGN_OR_RETURN(films.emplace_back(), FilmOf(url));
  }
  return films;
}

// `name` is ID_RATING.txt.
absl::Status AddReview(absl::string_view name, bool positive, std::string text, Folder* folder) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(absl::StripSuffix(name, ".txt"), absl::MaxSplits('_', 1));
  int32_t id = 0;
  Review review{0, std::move(text)};
  if (!absl::SimpleAtoi(parts.first, &id) || !absl::SimpleAtoi(parts.second, &review.rating)) {
    return absl::InvalidArgumentError("expected a name ID_RATING.txt");
  }
  const int32_t lowest = positive ? 7 : 1;
  if (review.rating < lowest || review.rating > lowest + 3) {
    return absl::InvalidArgumentError(absl::StrCat("expected a rating ", lowest, " to ", lowest + 3,
                                                   ", got ", review.rating));
  }
  if (!folder->reviews.emplace(id, std::move(review)).second) {
    return absl::InvalidArgumentError(absl::StrCat("expected one review ", id, ", got another"));
  }
  return absl::OkStatus();
}

// Puts one file of the archive where it belongs; what is neither review nor list goes.
absl::Status AddFile(const std::string& name, std::string content, Archive* archive) {
  const std::vector<std::string> path = absl::StrSplit(name, '/');
  if (path.size() < 3 || (path[1] != "train" && path[1] != "test")) return absl::OkStatus();
  std::array<Folder, 2>& folders = path[1] == "train" ? archive->train : archive->test;
  for (const bool positive : {false, true}) {
    const absl::string_view sign = positive ? "pos" : "neg";
    Folder* folder = &folders[positive ? 1 : 0];
    if (path.size() == 4 && path[2] == sign) {
      return AddReview(path[3], positive, std::move(content), folder);
    }
    if (path.size() == 3 && path[2] == absl::StrCat("urls_", sign, ".txt")) {
      ENGRAM_ASSIGN_OR_RETURN(folder->films, FilmsOf(content));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<RowSet> ToRows(std::array<Folder, 2> folders, ReviewGroup group, int64_t columns) {
  RowSet set;
  set.columns = columns;
  for (size_t label = 0; label < folders.size(); ++label) {
    const std::vector<int32_t>& films = folders[label].films;
    for (auto& entry : folders[label].reviews) {
      const auto id = static_cast<size_t>(entry.first);
      if (group == ReviewGroup::kFilm && id >= films.size()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "review ", id, ": expected its film in urls_*.txt, found ", films.size(), " films"));
      }
      set.groups.push_back(group == ReviewGroup::kFilm ? films[id] : entry.second.rating);
      set.labels.push_back(static_cast<uint8_t>(label));
      set.texts.push_back(std::move(entry.second.text));
    }
  }
  set.rows = static_cast<int64_t>(set.labels.size());
  if (set.rows == 0) return absl::InvalidArgumentError("expected reviews, found none");
  return set;
}

}  // namespace

absl::StatusOr<RowSplit> LoadImdb(const std::string& archive, ReviewGroup group,
                                  int64_t columns) {
  // A file of the archive, or the archive, for the message.
  const auto in = [&archive](absl::string_view name, const absl::Status& status) {
    return status.ok() ? status
                       : absl::Status(status.code(),
                                      absl::StrCat(archive, ": ", name, ": ", status.message()));
  };
  Archive files;
  ENGRAM_RETURN_IF_ERROR(WalkTar(archive, [&](const std::string& name, std::string content) {
    return in(name, AddFile(name, std::move(content), &files));
  }));
  auto train = ToRows(std::move(files.train), group, columns);
  if (!train.ok()) return in("train", train.status());
  auto test = ToRows(std::move(files.test), group, columns);
  if (!test.ok()) return in("test", test.status());
  return RowSplit{*std::move(train), *std::move(test)};
}

}  // namespace engram::datasets
