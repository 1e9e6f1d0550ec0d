#include "tests/deploy/operating_page.h"

#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"

namespace engram::deploy {
namespace {

std::vector<absl::string_view> Cells(absl::string_view line) {
  std::vector<absl::string_view> cells = absl::StrSplit(line, '|');
  if (cells.size() < 3) return {};
  return {cells.begin() + 1, cells.end() - 1};
}

}  // namespace

std::set<std::string> TableColumn(absl::string_view page, absl::string_view heading, int column) {
  std::set<std::string> words;
  bool inside = false;
  for (const absl::string_view line : absl::StrSplit(page, '\n')) {
    const std::vector<absl::string_view> cells = Cells(line);
    if (cells.size() <= static_cast<size_t>(column)) {
      inside = false;
    } else if (absl::StartsWith(absl::StripAsciiWhitespace(cells[0]), heading)) {
      inside = true;
    } else if (inside && !absl::StartsWith(cells[0], "-")) {
      for (const absl::string_view word : absl::StrSplit(cells[static_cast<size_t>(column)], ',')) {
        words.insert(std::string(absl::StripAsciiWhitespace(word)));
      }
    }
  }
  return words;
}

std::set<std::string> WordsIn(const std::string& text, const std::string& pattern) {
  std::set<std::string> words;
  const std::regex expression(pattern);
  for (std::sregex_iterator at(text.begin(), text.end(), expression), end; at != end; ++at) {
    words.insert((*at)[1].str());
  }
  return words;
}

std::set<std::string> WordsInSources(const std::string& folder, const std::string& pattern) {
  std::set<std::string> words;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".cc") continue;
    std::ostringstream text;
    text << std::ifstream(entry.path()).rdbuf();
    words.merge(WordsIn(text.str(), pattern));
  }
  return words;
}

}  // namespace engram::deploy
