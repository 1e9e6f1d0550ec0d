// The commands that a page promises: every ```sh block, in order, as one script; and those in its
// other fences, which no test looks at.
//
// Threading: free functions. Failure: none; an empty list when there is no block.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace engram::tidy {

// The text of each block fenced as `language`; "": fenced without a word.
std::vector<std::string> FencedBlocks(const std::string& markdown, absl::string_view language);

// Lines of fences that are not "sh" which begin with a program of ours, or one that installs or
// calls it: commands that nobody would notice to be wrong.
std::vector<std::string> CommandsInOtherFences(const std::string& markdown);

// One bash script: stops at the first command that fails, announces each block. A line that starts
// one of `long_programs` (it builds and runs everything; CI runs it) only checks that the program
// is there and executable.
std::string AsScript(const std::vector<std::string>& blocks, const std::string& source_folder,
                     const std::vector<std::string>& long_programs);

}  // namespace engram::tidy
