#include "strategies/core/kernels.h"

#include "absl/strings/match.h"
#include "strategies/api/compute.h"

namespace engram::strategies {

// kernels_variant.cc, once for each instruction set.
Kernels BaselineKernels(const char* name);
#ifdef ENGRAM_X86_KERNELS
Kernels Avx2Kernels(const char* name);
Kernels Avx512Kernels(const char* name);
#endif

namespace {

Kernels Choose() {
#ifdef ENGRAM_X86_KERNELS
  const std::string capability = DescribeCompute().capability;
  if (absl::EqualsIgnoreCase(capability, "AVX512")) return Avx512Kernels("AVX512");
  if (absl::EqualsIgnoreCase(capability, "AVX2")) return Avx2Kernels("AVX2");
#endif
  return BaselineKernels("baseline");
}

}  // namespace

const Kernels& ActiveKernels() {
  static const Kernels kernels = Choose();
  return kernels;
}

}  // namespace engram::strategies
