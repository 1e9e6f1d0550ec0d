// The processes of one run: a real engramd, the bare server and the plain trainer, all on one
// folder.
//
// Threading: the main thread. Ownership: the destructor kills them.
// Failure: statuses; without all of them there is nothing to compare.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"
#include "tests/testing/process/subprocess.h"

namespace engram::bench {

class Opponents {
 public:
  // `self` is the path of this program, which starts itself for the bare roles.
  static absl::StatusOr<std::unique_ptr<Opponents>> Start(const std::string& self,
                                                          const std::string& folder, int batch);

  testing::ServerProcess& engramd() { return *engramd_; }
  // A bare server whose Predict answers this many bytes, its thread `busy` for so long.
  absl::StatusOr<std::string> StartBare(const std::string& name, int reply_bytes,
                                        absl::Duration busy);
  // The plain trainer runs only between these two.
  absl::Status ResumePlainTrainer();
  absl::Status PausePlainTrainer();

 private:
  std::string self_;
  std::string folder_;
  std::unique_ptr<testing::ServerProcess> engramd_;
  std::vector<std::unique_ptr<testing::Subprocess>> bare_;
  std::unique_ptr<testing::Subprocess> trainer_;
};

// A connection that shares nothing with others.
std::shared_ptr<grpc::Channel> ConnectTo(const std::string& address);

}  // namespace engram::bench
