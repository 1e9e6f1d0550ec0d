// The commands that a README promises: every ```sh block, in order, as one script.
//
// Threading: free functions. Failure: none; an empty list when there is no block.
#pragma once

#include <string>
#include <vector>

namespace engram::tidy {

// The text of each ```sh block. Other fences (```text, ```cpp) are not commands.
std::vector<std::string> ShellBlocks(const std::string& markdown);

// One bash script: stops at the first command that fails, announces each block. A line that starts
// one of `long_programs` (it builds and runs everything; CI runs it) only checks that the program
// is there and executable.
std::string AsScript(const std::vector<std::string>& blocks, const std::string& source_folder,
                     const std::vector<std::string>& long_programs);

}  // namespace engram::tidy
