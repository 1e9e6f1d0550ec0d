// Which folder may include what: the table of the house, as a function.
//
// Threading: free functions.
#pragma once

#include <string>
#include <vector>

#include "tests/tidy/source_text.h"

namespace engram::tidy {

// Arrows and third parties that this file may not have, one finding each.
std::vector<std::string> ForbiddenIncludes(const SourceFile& file);

}  // namespace engram::tidy
