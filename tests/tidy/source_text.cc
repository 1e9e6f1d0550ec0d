#include "tests/tidy/source_text.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace engram::tidy {
namespace {

namespace fs = std::filesystem;

bool Skipped(const std::string& name) {
  if (absl::StartsWith(name, "build") || name == "__pycache__") return true;
  return absl::StartsWith(name, ".") && name != ".ci";
}

std::string ReadFile(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

// Walks over C++ text, blanking what is not code; newlines stay.
class Blanker {
 public:
  explicit Blanker(const std::string& text) : text_(text), out_(text) {}

  std::string Run() {
    while (at_ < text_.size()) Step();
    return out_;
  }

 private:
  bool See(const char* what) const { return text_.compare(at_, strlen_(what), what) == 0; }
  static size_t strlen_(const char* what) { return std::char_traits<char>::length(what); }

  // Blanks [at_, end) and goes there.
  void BlankTo(size_t end) {
    for (; at_ < std::min(end, text_.size()); ++at_) {
      if (text_[at_] != '\n') out_[at_] = ' ';
    }
  }

  void Step() {
    if (See("//")) return BlankTo(text_.find('\n', at_));
    if (See("/*")) return BlankTo(After(text_.find("*/", at_ + 2), 2));
    if (See("R\"")) return RawLiteral();
    if (text_[at_] == '"' || (text_[at_] == '\'' && !DigitSeparator())) return Literal(text_[at_]);
    ++at_;
  }

  static size_t After(size_t found, size_t length) {
    return found == std::string::npos ? found : found + length;
  }

  bool DigitSeparator() const {
    return at_ > 0 && isalnum(static_cast<unsigned char>(text_[at_ - 1])) != 0;
  }

  void RawLiteral() {
    const size_t open = text_.find('(', at_);
    const std::string mark = ")" + text_.substr(at_ + 2, open - at_ - 2) + "\"";
    BlankTo(After(text_.find(mark, open), mark.size()));
  }

  void Literal(char quote) {
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote && text_[end] != '\n') {
      end += text_[end] == '\\' ? 2 : 1;
    }
    ++at_;
    BlankTo(end);
    ++at_;
  }

  const std::string& text_;
  std::string out_;
  size_t at_ = 0;
};

}  // namespace

std::vector<SourceFile> ReadTree(const std::string& root) {
  std::vector<SourceFile> files;
  auto walk = fs::recursive_directory_iterator(root);
  for (const auto& entry : walk) {
    if (Skipped(entry.path().filename().string())) {
      if (entry.is_directory()) walk.disable_recursion_pending();
      continue;
    }
    if (!entry.is_regular_file()) continue;
    files.push_back({fs::relative(entry.path(), root).string(), ReadFile(entry.path())});
  }
  std::sort(files.begin(), files.end(),
            [](const SourceFile& a, const SourceFile& b) { return a.path < b.path; });
  return files;
}

bool IsHeader(const std::string& path) { return absl::EndsWith(path, ".h"); }

bool IsCpp(const std::string& path) { return IsHeader(path) || absl::EndsWith(path, ".cc"); }

std::vector<std::string> Lines(const std::string& text) { return absl::StrSplit(text, '\n'); }

std::string CodeOnly(const std::string& text) { return Blanker(text).Run(); }

std::string At(const SourceFile& file, size_t line, const std::string& what) {
  return absl::StrCat(file.path, ":", line, ": ", what);
}

}  // namespace engram::tidy
