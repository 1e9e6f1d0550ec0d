// The form of the house: lengths, names, and what may not be written at all.
//
// Threading: free functions. A rule looks at one file and answers its findings.
#pragma once

#include <string>
#include <vector>

#include "tests/tidy/source_text.h"

namespace engram::tidy {

using Findings = std::vector<std::string>;

Findings LongFile(const SourceFile& file);       // above 600 lines
Findings LongFunctions(const SourceFile& file);  // above 70 lines
Findings LongLines(const SourceFile& file);      // above 100 columns, C++ only
Findings BannedNames(const SourceFile& file);    // the words that say nothing
Findings BannedFileName(const SourceFile& file);
Findings OpenEnds(const SourceFile& file);          // a to-do without an issue, a test switched off
Findings MachinePaths(const SourceFile& file);      // folders of the machine it was written on
Findings UntrustedLoaders(const SourceFile& file);  // loaders that run what they load
Findings WallClocks(const SourceFile& file);        // in the server, outside its Clock
Findings MissingOpening(const SourceFile& file);    // a header that does not say what it is for

}  // namespace engram::tidy
