#include "strategies/core/kernels.h"

#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "strategies/core/capability.h"

namespace engram::strategies {

// kernels_variant.cc, once for each instruction set.
Kernels BaselineKernels(const char* name);
#ifdef ENGRAM_X86_KERNELS
Kernels Avx2Kernels(const char* name);
Kernels Avx512Kernels(const char* name);
#endif

namespace {

#ifdef ENGRAM_X86_KERNELS
// ATen 1.13 keeps to AVX2 on processors where AVX-512 is the faster by a fifth; those that have
// vbmi2 do not pay for it with their clock. A capability asked for by name is followed.
bool PreferAvx512(const std::string& capability) {
  if (absl::EqualsIgnoreCase(capability, "AVX512")) return true;
  if (std::getenv("ATEN_CPU_CAPABILITY") != nullptr) return false;
  return __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}
#endif

Kernels Choose() {
#ifdef ENGRAM_X86_KERNELS
  const std::string capability = AtenCapability();
  if (PreferAvx512(capability)) return Avx512Kernels("AVX512");
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
