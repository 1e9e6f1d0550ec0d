#include "server/server_info.h"

#include "absl/strings/str_cat.h"
#include "grpcpp/grpcpp.h"
#include "server/logging.h"

namespace engram::server {

v1::ServerInfo MakeServerInfo(const strategies::ComputeIdentity& compute,
                              const std::string& storage_engine) {
  v1::ServerInfo facts;
  facts.set_version(ENGRAM_VERSION);
  facts.set_libtorch(compute.libtorch);
  facts.set_blas_path(compute.blas_path);
  facts.set_blas_core(compute.blas_core);
  facts.set_blas_is_fast(compute.blas_is_fast);
  facts.set_compute_threads(compute.threads);
  facts.set_compute_fingerprint(compute.Fingerprint());
  facts.set_rocksdb(storage_engine);
  facts.set_grpc(grpc::Version());
  if (!compute.blas_is_fast) {
    facts.add_warnings(absl::StrCat(
        "the BLAS in use, ", compute.blas_path,
        ", trains up to ten times slower than OpenBLAS with OpenMP; install libopenblas0-openmp"));
  }
  return facts;
}

void LogServerInfo(const v1::ServerInfo& facts) {
  Log(LogLevel::kInfo, "server_starting",
      {{"version", facts.version()},
       {"libtorch", facts.libtorch()},
       {"blas", facts.blas_path()},
       {"blas_core", facts.blas_core()},
       {"blas_is_fast", facts.blas_is_fast()},
       {"compute_threads", facts.compute_threads()},
       {"storage", facts.rocksdb()},
       {"grpc", facts.grpc()}});
  for (const std::string& warning : facts.warnings()) {
    Log(LogLevel::kWarning, "operator_attention", {{"reason", warning}});
  }
}

}  // namespace engram::server
