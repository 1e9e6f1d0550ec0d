// The tables of deploy/OPERATING.md, and what the sources say that must be in them.
//
// Threading: free functions. Failure: none; what is not found is an empty set.
#pragma once

#include <set>
#include <string>

#include "absl/strings/string_view.h"

namespace engram::deploy {

// The words of the first column of the table whose first heading begins with `heading`; a cell may
// hold several with commas. Column 1 is the second.
std::set<std::string> TableColumn(absl::string_view page, absl::string_view heading, int column);

// First groups of every match in every source (*.cc) of a folder.
std::set<std::string> WordsInSources(const std::string& folder, const std::string& pattern);
std::set<std::string> WordsIn(const std::string& text, const std::string& pattern);

}  // namespace engram::deploy
