// What ATen chose to compute with; compute.cc asks it, kernels.cc follows it.
//
// Threading: free function. Failure: empty when ATen does not say.
#pragma once

#include <string>

namespace engram::strategies {

// "DEFAULT", "AVX2", "AVX512".
std::string AtenCapability();

}  // namespace engram::strategies
