#include "tests/testing/server_edge/exposition.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace engram::testing {
namespace {

std::string FamilyOf(absl::string_view series) {
  return std::string(series.substr(0, series.find('{')));
}

bool IsDeclared(const Exposition& page, const std::string& family) {
  if (page.types.count(family) > 0) return true;
  for (const absl::string_view suffix : {"_bucket", "_sum", "_count"}) {
    absl::string_view stem = family;
    if (!absl::ConsumeSuffix(&stem, suffix)) continue;
    const auto found = page.types.find(std::string(stem));
    if (found != page.types.end() && found->second == "histogram") return true;
  }
  return false;
}

absl::Status AddSample(absl::string_view line, Exposition* page) {
  const size_t space = line.rfind(' ');
  double value = 0;
  if (space == absl::string_view::npos || !absl::SimpleAtod(line.substr(space + 1), &value)) {
    return absl::InvalidArgumentError(absl::StrCat("not a sample: ", line));
  }
  const std::string series(line.substr(0, space));
  if (!IsDeclared(*page, FamilyOf(series))) {
    return absl::InvalidArgumentError(absl::StrCat("no TYPE before: ", line));
  }
  if (!page->samples.emplace(series, value).second) {
    return absl::InvalidArgumentError(absl::StrCat("given twice: ", line));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Exposition> ParseExposition(absl::string_view text) {
  Exposition page;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (absl::StartsWith(line, "# HELP ")) continue;
    if (absl::StartsWith(line, "# TYPE ")) {
      const std::vector<std::string> words = absl::StrSplit(line, ' ');
      if (words.size() != 4 || !page.types.emplace(words[2], words[3]).second) {
        return absl::InvalidArgumentError(absl::StrCat("bad or repeated TYPE: ", line));
      }
      continue;
    }
    const absl::Status added = AddSample(line, &page);
    if (!added.ok()) return added;
  }
  return page;
}

}  // namespace engram::testing
