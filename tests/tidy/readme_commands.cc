#include "tests/tidy/readme_commands.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace engram::tidy {

std::vector<std::string> ShellBlocks(const std::string& markdown) {
  std::vector<std::string> blocks;
  bool in_fence = false;
  bool in_shell = false;
  for (const absl::string_view line : absl::StrSplit(markdown, '\n')) {
    if (absl::StartsWith(line, "```")) {
      in_shell = !in_fence && line == "```sh";
      in_fence = !in_fence;
      if (in_shell) blocks.emplace_back();
    } else if (in_shell) {
      absl::StrAppend(&blocks.back(), line, "\n");
    }
  }
  return blocks;
}

std::string AsScript(const std::vector<std::string>& blocks, const std::string& source_folder,
                     const std::vector<std::string>& long_programs) {
  std::string script = "set -euo pipefail\n";
  for (size_t i = 0; i < blocks.size(); ++i) {
    absl::StrAppend(&script, "echo '--- block ", i + 1, "'\n");
    for (absl::string_view line : absl::StrSplit(blocks[i], '\n')) {
      for (const std::string& program : long_programs) {
        if (!absl::StartsWith(line, program)) continue;
        absl::StrAppend(&script, "test -x ", source_folder, "/", program, "\n");
        line = "";
      }
      absl::StrAppend(&script, line, "\n");
    }
  }
  return script;
}

}  // namespace engram::tidy
