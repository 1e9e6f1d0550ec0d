// The repository's own text files, and their code without comments and literals.
//
// Threading: free functions. Failure: a folder that is not there is an empty list: the tests say
// how
//   many files they expect at least.
#pragma once

#include <string>
#include <vector>

namespace engram::tidy {

struct SourceFile {
  std::string path;  // from the repository's root
  std::string text;
};

// Everything a person wrote: no build folders, nothing hidden but .ci.
std::vector<SourceFile> ReadTree(const std::string& root);

bool IsCpp(const std::string& path);
bool IsHeader(const std::string& path);

std::vector<std::string> Lines(const std::string& text);

// The same text, line for line, with comments and the contents of literals blanked out.
std::string CodeOnly(const std::string& text);

// One finding, as an editor reads it: "path:line: what".
std::string At(const SourceFile& file, size_t line, const std::string& what);

}  // namespace engram::tidy
