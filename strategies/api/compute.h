// What computes: LibTorch's version, the BLAS really loaded, threads. Results depend on it bit by
// bit, so checkpoints record it; a slow BLAS costs tenfold, so the server states it and warns.
#pragma once

#include <string>

namespace engram::strategies {

struct ComputeIdentity {
  std::string libtorch;    // "1.13.1"
  std::string blas_path;   // real path of the shared object that provides cblas_sgemm
  std::string blas_core;   // kernel the BLAS chose, "SkylakeX"; empty when it does not say
  std::string capability;  // ATen's vector capability, "AVX512"
  std::string kernels;     // instruction set of our own loops, "AVX512"
  int threads = 1;         // intra-op threads of a compute thread
  bool blas_is_fast = false;  // an OpenBLAS (openmp or serial) or MKL; false for reference BLAS
                              // and for openblas-pthread
  // One line of all the above: equal lines promise equal bits.
  std::string Fingerprint() const;
};

// Process-wide, before any learner is made: intra-op threads (>= 1).
void SetComputeThreads(int threads);

// LibTorch's thread count does not reach new threads: each that enters torch calls this first.
void EnterComputeThread();

ComputeIdentity DescribeCompute();

}  // namespace engram::strategies
