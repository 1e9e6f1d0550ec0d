#include "tests/tidy/form_rules.h"

#include <algorithm>
#include <filesystem>
#include <regex>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace engram::tidy {
namespace {

constexpr size_t kFileLinesMax = 600;
constexpr size_t kFunctionLinesMax = 70;
constexpr size_t kColumnsMax = 100;

// Words are put together here, so that this file does not find itself.
std::string Join(const char* a, const char* b) { return absl::StrCat(a, b); }

// Every line that matches, as a finding.
Findings Grep(const SourceFile& file, const std::string& text, const std::regex& pattern,
              const std::string& what) {
  Findings findings;
  const std::vector<std::string> lines = Lines(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    std::smatch match;
    if (!std::regex_search(lines[i], match, pattern)) continue;
    findings.push_back(At(file, i + 1, absl::StrCat(what, ": ", match.str())));
  }
  return findings;
}

// Follows braces; a block that opens where only namespaces and classes are open is a function,
// unless what leads to it says otherwise.
class FunctionScanner {
 public:
  explicit FunctionScanner(const SourceFile& file) : file_(file), code_(CodeOnly(file.text)) {}

  Findings Run() {
    for (const char c : code_) {
      if (c == '\n') ++line_;
      if (c == '{') {
        Open();
      } else if (c == '}') {
        Close();
      } else if (c == ';') {
        lead_.clear();
      } else {
        lead_.push_back(c);
      }
    }
    return findings_;
  }

 private:
  struct Block {
    bool transparent = false;  // functions may begin inside
    bool function = false;
    size_t line = 0;
  };

  void Open() {
    static const std::regex scope("\\b(namespace|class|struct|union|enum|extern)\\b[^()]*$");
    const std::string lead(absl::StripAsciiWhitespace(lead_));
    const bool outside =
        std::all_of(blocks_.begin(), blocks_.end(), [](const Block& b) { return b.transparent; });
    Block block;
    block.line = line_;
    block.transparent = outside && std::regex_search(lead, scope);
    block.function = outside && !block.transparent && !absl::EndsWith(lead, "=");
    blocks_.push_back(block);
    lead_.clear();
  }

  void Close() {
    lead_.clear();
    if (blocks_.empty()) return;
    const Block block = blocks_.back();
    blocks_.pop_back();
    const size_t length = line_ - block.line + 1;
    if (!block.function || length <= kFunctionLinesMax) return;
    findings_.push_back(At(file_, block.line, absl::StrCat("function of ", length, " lines")));
  }

  const SourceFile& file_;
  const std::string code_;
  std::vector<Block> blocks_;
  std::string lead_;
  size_t line_ = 1;
  Findings findings_;
};

}  // namespace

Findings LongFile(const SourceFile& file) {
  const size_t lines = Lines(file.text).size();
  const bool judged = IsCpp(file.path) || absl::EndsWith(file.path, ".proto") ||
                      absl::EndsWith(file.path, ".txt") || absl::EndsWith(file.path, ".py");
  if (!judged || lines <= kFileLinesMax) return {};
  return {At(file, 1, absl::StrCat("file of ", lines, " lines"))};
}

Findings LongFunctions(const SourceFile& file) {
  return IsCpp(file.path) ? FunctionScanner(file).Run() : Findings{};
}

Findings LongLines(const SourceFile& file) {
  Findings findings;
  if (!IsCpp(file.path)) return findings;
  const std::vector<std::string> lines = Lines(file.text);
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto continuation = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
    const size_t columns = lines[i].size() - static_cast<size_t>(std::count_if(
                                                 lines[i].begin(), lines[i].end(), continuation));
    if (columns <= kColumnsMax || absl::StrContains(lines[i], "http")) continue;
    findings.push_back(At(file, i + 1, absl::StrCat(columns, " columns")));
  }
  return findings;
}

Findings BannedNames(const SourceFile& file) {
  // What somebody else named is not ours to name: x.data(), spdlog::info(...), rocksdb::...
  static const std::regex nouns(
      "(^|[^A-Za-z0-9_.>:])(data|info|manager|util|utils|helper|helpers|tmp)_?($|[^A-Za-z0-9_])");
  static const std::regex types(
      "(^|[^A-Za-z0-9_:])[A-Za-z]*(Manager|Util|Utils|Helper|Helpers)\\b");
  static const std::regex verbs("(^|[^A-Za-z0-9_.>:])(process|handle)\\(");
  Findings findings;
  if (!IsCpp(file.path)) return findings;
  const std::string code = CodeOnly(file.text);
  for (const std::regex* pattern : {&nouns, &types, &verbs}) {
    for (auto& finding : Grep(file, code, *pattern, "banned name")) findings.push_back(finding);
  }
  return findings;
}

Findings BannedFileName(const SourceFile& file) {
  static const std::regex word("^(data|info|managers?|utils?|helpers?|common|misc|tmp)$");
  for (const auto& part : std::filesystem::path(file.path).parent_path()) {
    if (std::regex_match(part.string(), word)) return {At(file, 1, "banned folder name")};
  }
  const std::string stem = std::filesystem::path(file.path).stem().string();
  if (stem == "server_info") return {};  // the surface's own word: ServerInfo
  for (const absl::string_view piece : absl::StrSplit(stem, '_')) {
    if (std::regex_match(std::string(piece), word)) return {At(file, 1, "banned file name")};
  }
  return {};
}

Findings OpenEnds(const SourceFile& file) {
  static const std::regex to_do(Join("\\b(TO", "DO|FIX") + Join("ME|XX", "X)\\b(?!\\(#[0-9]+\\))"));
  static const std::regex switched_off(Join("\\b(DISA", "BLED_[A-Z]|GTEST_") +
                                       Join("SK", "IP\\b)"));
  Findings findings = Grep(file, file.text, to_do, "no issue is named");
  const std::vector<std::string> lines = Lines(file.text);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (!std::regex_search(lines[i], switched_off)) continue;
    if (i > 0 && absl::StrContains(lines[i - 1], "// Disabled because ")) continue;
    findings.push_back(At(file, i + 1, "a test is switched off without a reason above it"));
  }
  return findings;
}

Findings MachinePaths(const SourceFile& file) {
  static const std::regex path(Join("(^|[^A-Za-z0-9_.}/-])/(wo", "rk|ro") +
                               Join("ot|fa", "rm|home/") + "[a-z]+)(/|\\b)(?!dir)");
  return Grep(file, file.text, path, "a path of one machine");
}

Findings UntrustedLoaders(const SourceFile& file) {
  // Loads what it had written just before.
  if (file.path == "tests/contract/export_contract_test.cc") return {};
  static const std::regex loader(Join("torch::lo", "ad\\b|jit::lo") +
                                 Join("ad\\b|\\bimport pic", "kle|") +
                                 Join("pic", "kle_load|torch\\.lo") + "ad\\b");
  return Grep(file, file.text, loader, "runs what it loads");
}

Findings WallClocks(const SourceFile& file) {
  static const std::regex wall("absl::Now\\(|system_clock|gettimeofday|CLOCK_REALTIME");
  if (!absl::StartsWith(file.path, "server/") || file.path == "server/clock.cc") return {};
  return Grep(file, CodeOnly(file.text), wall, "the wall clock; Clock says which one is meant");
}

Findings MissingOpening(const SourceFile& file) {
  if (!IsHeader(file.path)) return {};
  const size_t guard = file.text.find("#pragma once");
  if (guard == std::string::npos) return {At(file, 1, "no #pragma once")};
  if (!absl::StartsWith(file.text, "// ")) return {At(file, 1, "does not say what it is for")};
  return {};
}

}  // namespace engram::tidy
