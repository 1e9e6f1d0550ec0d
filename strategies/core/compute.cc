#include "strategies/api/compute.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <dlfcn.h>
#include <torch/version.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "strategies/core/capability.h"
#include "strategies/core/kernels.h"

namespace engram::strategies {
namespace {

std::string RealPath(const char* path) {
  char* resolved = ::realpath(path, nullptr);
  std::string result = resolved == nullptr ? path : resolved;
  std::free(resolved);
  return result;
}

// The object whose sgemm LibTorch's own calls are bound to: the first in the global scope.
std::string BlasPath() {
  for (const char* symbol : {"sgemm_", "cblas_sgemm"}) {
    Dl_info where;
    void* address = ::dlsym(RTLD_DEFAULT, symbol);
    if (address != nullptr && ::dladdr(address, &where) != 0 && where.dli_fname != nullptr) {
      return RealPath(where.dli_fname);
    }
  }
  return "";
}

std::string CallForText(const char* symbol) {
  using TextFunction = char* (*)();
  auto function = reinterpret_cast<TextFunction>(::dlsym(RTLD_DEFAULT, symbol));
  const char* text = function == nullptr ? nullptr : function();
  return text == nullptr ? "" : text;
}

}  // namespace

std::string AtenCapability() {
  constexpr absl::string_view kMark = "CPU capability usage: ";
  for (absl::string_view line : absl::StrSplit(at::show_config(), '\n')) {
    const size_t found = line.find(kMark);
    if (found != absl::string_view::npos) return std::string(line.substr(found + kMark.size()));
  }
  return "";
}

std::string ComputeIdentity::Fingerprint() const {
  return absl::StrCat("libtorch ", libtorch, "; blas ", blas_path, " ", blas_core, "; ", capability,
                      "; kernels ", kernels, "; threads ", threads);
}

void SetComputeThreads(int threads) {
  at::set_num_threads(threads);
  EnterComputeThread();
}

void EnterComputeThread() {
  at::init_num_threads();
  // Denormals cost a hundredfold and carry nothing.
  at::globalContext().setFlushDenormal(true);
}

ComputeIdentity DescribeCompute() {
  ComputeIdentity identity;
  identity.libtorch = TORCH_VERSION;
  identity.blas_path = BlasPath();
  identity.blas_core = CallForText("openblas_get_corename");
  identity.capability = AtenCapability();
  identity.kernels = ActiveKernels().name;
  identity.threads = at::get_num_threads();
  for (absl::string_view fast : {"openblas-openmp", "openblas-serial", "mkl"}) {
    identity.blas_is_fast |= absl::StrContains(identity.blas_path, fast);
  }
  // A LibTorch that carries its BLAS inside carries MKL.
  identity.blas_is_fast |= identity.blas_path.empty() && at::hasMKL();
  return identity;
}

}  // namespace engram::strategies
