#include "server/server_info.h"

#include "absl/strings/str_cat.h"
#include "grpcpp/grpcpp.h"
#include "server/logging.h"

namespace engram::server {

v1::ServerInfo MakeServerInfo(const strategies::ComputeIdentity& compute,
                              const std::string& storage_engine) {
  v1::ServerInfo info;
  info.set_version(ENGRAM_VERSION);
  info.set_libtorch(compute.libtorch);
  info.set_blas_path(compute.blas_path);
  info.set_blas_core(compute.blas_core);
  info.set_blas_is_fast(compute.blas_is_fast);
  info.set_compute_threads(compute.threads);
  info.set_compute_fingerprint(compute.Fingerprint());
  info.set_rocksdb(storage_engine);
  info.set_grpc(grpc::Version());
  if (!compute.blas_is_fast) {
    info.add_warnings(absl::StrCat(
        "the BLAS in use, ", compute.blas_path,
        ", trains up to ten times slower than OpenBLAS with OpenMP; install libopenblas0-openmp"));
  }
  return info;
}

void LogServerInfo(const v1::ServerInfo& info) {
  Log(LogLevel::kInfo, "server_starting",
      {{"version", info.version()},
       {"libtorch", info.libtorch()},
       {"blas", info.blas_path()},
       {"blas_core", info.blas_core()},
       {"blas_is_fast", info.blas_is_fast()},
       {"compute_threads", info.compute_threads()},
       {"storage", info.rocksdb()},
       {"grpc", info.grpc()}});
  for (const std::string& warning : info.warnings()) {
    Log(LogLevel::kWarning, "operator_attention", {{"reason", warning}});
  }
}

}  // namespace engram::server
