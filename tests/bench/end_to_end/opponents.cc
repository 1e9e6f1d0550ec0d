#include "tests/bench/end_to_end/opponents.h"

#include <signal.h>
#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "storage/base/status_macros.h"

namespace engram::bench {
namespace {

absl::StatusOr<std::string> WaitForFile(const std::string& file) {
  for (int turn = 0; turn < 3000; ++turn) {
    const std::string text = testing::ReadWholeFile(file);
    if (!text.empty()) return text;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return absl::DeadlineExceededError(absl::StrCat(file, " did not come"));
}

}  // namespace

std::shared_ptr<grpc::Channel> ConnectTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

absl::StatusOr<std::unique_ptr<Opponents>> Opponents::Start(const std::string& self,
                                                            const std::string& folder, int batch) {
  auto opponents = std::make_unique<Opponents>();
  opponents->self_ = self;
  opponents->folder_ = folder;
  const std::string ready = folder + "/trainer.ready";
  ENGRAM_ASSIGN_OR_RETURN(
      opponents->trainer_,
      testing::Subprocess::Start(
          {self, "--role=plain_trainer", "--file=" + ready, absl::StrCat("--batch=", batch)},
          folder + "/trainer.log", {"OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"}));
  ENGRAM_RETURN_IF_ERROR(WaitForFile(ready).status());
  ENGRAM_RETURN_IF_ERROR(opponents->PausePlainTrainer());
  testing::ServerOptions options;
  options.data_dir = folder + "/engramd";
  mkdir(options.data_dir.c_str(), 0700);
  ENGRAM_ASSIGN_OR_RETURN(opponents->engramd_, testing::ServerProcess::Start(options));
  return opponents;
}

absl::StatusOr<std::string> Opponents::StartBare(const std::string& name, int reply_bytes,
                                                 absl::Duration busy) {
  const std::string file = absl::StrCat(folder_, "/", name, ".address");
  ENGRAM_ASSIGN_OR_RETURN(
      auto server, testing::Subprocess::Start(
                       {self_, "--role=bare_server", "--file=" + file,
                        absl::StrCat("--folder=", folder_, "/", name),
                        absl::StrCat("--reply_bytes=", reply_bytes),
                        absl::StrCat("--busy=", absl::FormatDuration(busy))},
                       absl::StrCat(folder_, "/", name, ".log")));
  bare_.push_back(std::move(server));
  return WaitForFile(file);
}

absl::Status Opponents::ResumePlainTrainer() { return trainer_->Signal(SIGCONT); }
absl::Status Opponents::PausePlainTrainer() { return trainer_->Signal(SIGSTOP); }

}  // namespace engram::bench
