#include "tests/tidy/readme_commands.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace engram::tidy {
namespace {

struct Fence {
  std::string language;
  std::string text;
};

std::vector<Fence> FencesOf(const std::string& markdown) {
  std::vector<Fence> fences;
  bool inside = false;
  for (absl::string_view line : absl::StrSplit(markdown, '\n')) {
    if (absl::ConsumePrefix(&line, "```")) {
      inside = !inside;
      if (inside) fences.push_back({std::string(line), ""});
    } else if (inside) {
      absl::StrAppend(&fences.back().text, line, "\n");
    }
  }
  return fences;
}

bool IsCommand(absl::string_view line) {
  constexpr absl::string_view kPrograms[] = {"engram", "engramd", "curl",    "pip",       "python3",
                                             "cmake",  "apt",     "install", "systemctl", "docker",
                                             "helm",   "kubectl", "export",  "promtool"};
  if (absl::StartsWith(line, "./") || absl::StartsWith(line, "deploy/")) return true;
  const absl::string_view first = line.substr(0, line.find(' '));
  return std::find(std::begin(kPrograms), std::end(kPrograms), first) != std::end(kPrograms);
}

}  // namespace

std::vector<std::string> FencedBlocks(const std::string& markdown, absl::string_view language) {
  std::vector<std::string> blocks;
  for (Fence& fence : FencesOf(markdown)) {
    if (fence.language == language) blocks.push_back(std::move(fence.text));
  }
  return blocks;
}

std::vector<std::string> CommandsInOtherFences(const std::string& markdown) {
  std::vector<std::string> commands;
  for (const Fence& fence : FencesOf(markdown)) {
    if (fence.language == "sh") continue;
    for (const absl::string_view line : absl::StrSplit(fence.text, '\n')) {
      if (IsCommand(line)) commands.emplace_back(line);
    }
  }
  return commands;
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
