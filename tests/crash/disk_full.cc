// disk_full: somebody else fills the disk under a server that learns and predicts, and frees it
// again. Learning must be refused with RESOURCE_EXHAUSTED and begin again by itself, no prediction
// may fail, nothing acked may be missing, and the server must not end.
//
// The disk is a tmpfs of this process's own namespaces; where those are not allowed, the shim plays
// a full disk. What ran is printed.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <thread>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "tests/crash/final_state.h"
#include "tests/crash/harness.h"
#include "tests/crash/oracle.h"
#include "tests/crash/stored_models.h"
#include "tests/testing/faults/fault_box.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"
#include "tests/testing/process/stubs.h"

ABSL_FLAG(int, cycles, 20, "how often the disk is filled and freed");
ABSL_FLAG(bool, play, false, "let the shim play the disk even where a tmpfs could be had");

namespace engram::crash {
namespace {

using testing::Call;
using testing::ServerProcess;

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kDiskBytes = 512 * kMiB;
constexpr char kReserve[] = "limits { disk_reserve_bytes: 201326592 }";  // the least allowed
constexpr char kModel[] = "plain";
const absl::Duration kResumeWithin = absl::Seconds(10);
const absl::Duration kFullFor = absl::Milliseconds(600);
const absl::Duration kFreeFor = absl::Milliseconds(300);

// A user and a mount namespace of its own.
bool EnterNamespaces() {
  const std::string user = absl::StrCat("0 ", getuid(), " 1");
  const std::string group = absl::StrCat("0 ", getgid(), " 1");
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
  std::ofstream("/proc/self/setgroups") << "deny";
  std::ofstream users("/proc/self/uid_map");
  std::ofstream groups("/proc/self/gid_map");
  users << user << std::flush;
  groups << group << std::flush;
  return users.good() && groups.good();
}

// Before any thread. A child tries first: whoever fails half way is nobody.
bool TakeNamespaces() {
  const pid_t child = fork();
  if (child == 0) _exit(EnterNamespaces() ? 0 : 1);
  int status = 1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0 && EnterNamespaces();
}

// The disk that is filled: a tmpfs with a file that grows, or a figure that the shim tells.
class Disk {
 public:
  Disk(const testing::ScratchFolder& scratch, bool real)
      : mount_(scratch.Subfolder("disk")), real_(real) {
    if (real_) {
      const std::string size = absl::StrCat("mode=0700,size=", kDiskBytes);
      real_ = mount("engram", mount_.c_str(), "tmpfs", 0, size.c_str()) == 0;
    }
    data_dir_ = mount_ + "/data_dir";
    ENGRAM_CHECK(std::filesystem::create_directory(data_dir_));
    std::filesystem::permissions(data_dir_, std::filesystem::perms::owner_all);
    if (!real_) {
      box_ = std::make_unique<testing::FaultBox>(scratch.Subfolder("faults"), data_dir_);
      Free();
    }
  }
  ~Disk() {
    if (real_) umount2(mount_.c_str(), MNT_DETACH);
  }

  bool real() const { return real_; }
  const std::string& data_dir() const { return data_dir_; }
  std::vector<std::string> Environment() const {
    return real_ ? std::vector<std::string>{} : box_->Environment();
  }

  // Leaves `bytes`, step by step, as a download would. The server may give some back meanwhile.
  void Fill(int64_t bytes) {
    for (int64_t room = Room(); room > bytes; room = Room()) {
      if (!Take(std::min<int64_t>(room - bytes, 32 * kMiB))) return;
      absl::SleepFor(absl::Milliseconds(20));
    }
  }
  void Free() {
    taken_ = 0;
    if (real_) {
      std::filesystem::remove(mount_ + "/ballast");
    } else {
      played_ = kDiskBytes;
      box_->PlayFreeBytes(played_);
    }
  }

 private:
  int64_t Room() const {
    if (!real_) return played_;
    struct statvfs disk {};
    ENGRAM_CHECK(statvfs(mount_.c_str(), &disk) == 0);
    return static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
  }
  // False when nothing is left to take.
  bool Take(int64_t bytes) {
    if (!real_) {
      played_ -= bytes;
      box_->PlayFreeBytes(played_);
      return true;
    }
    const int file = open((mount_ + "/ballast").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ENGRAM_CHECK(file >= 0);
    const bool took = posix_fallocate(file, taken_, bytes) == 0;
    if (took) taken_ += bytes;
    close(file);
    return took;
  }

  const std::string mount_;
  bool real_;
  std::string data_dir_;
  std::unique_ptr<testing::FaultBox> box_;
  int64_t taken_ = 0;
  int64_t played_ = 0;
};

// One producer that never gives up, and somebody who predicts, each on a thread.
class Load {
 public:
  explicit Load(const ServerProcess& server)
      : learning_(server.NewChannel()), predicting_(server.NewChannel()) {
    plan_.producer = absl::StrCat(kModel, "-0");
    learner_ = std::thread([this] { Learn(); });
    predictor_ = std::thread([this] { Predict(); });
  }
  ~Load() { Stop(); }
  void Stop() {
    stop_ = true;
    if (learner_.joinable()) learner_.join();
    if (predictor_.joinable()) predictor_.join();
  }

  uint64_t acked() const { return acked_; }
  int64_t refused() const { return refused_; }
  int64_t predictions() const { return predictions_; }
  int64_t failed_predictions() const { return failed_predictions_; }
  // An answer to a producer that a full disk does not explain.
  std::string other_answer() const { return other_answer_; }
  // The last of the predictions that failed; once stopped.
  std::string failed_prediction() const { return failed_prediction_; }
  std::vector<Testimony> testimonies() const {
    std::vector<Testimony> testimonies = probes_;
    testimonies.push_back({plan_, {}});
    testimonies.back().entries.last_sent = acked_ + 1;
    testimonies.back().entries.last_acked = acked_;
    return testimonies;
  }

  // The first message of one more producer. The other one's may wait in the log for room,
  // unanswered, since before the disk was full; who comes then is refused.
  void Probe() {
    MessagePlan plan;
    plan.producer = absl::StrCat(kModel, "-probe-", probes_.size());
    Testimony probe{plan, {}};
    probe.entries.last_sent = 1;
    const grpc::Status status = Send(plan, 1, absl::Seconds(1));
    probe.entries.last_acked = status.ok() ? 1 : 0;
    refused_ += status.error_code() == grpc::RESOURCE_EXHAUSTED ? 1 : 0;
    probes_.push_back(probe);
  }

 private:
  void Learn() {
    while (!stop_) {
      const grpc::Status answer = Send(plan_, acked_ + 1, absl::Seconds(60));
      if (answer.ok()) {
        ++acked_;
      } else if (answer.error_code() == grpc::RESOURCE_EXHAUSTED) {
        ++refused_;
        absl::SleepFor(absl::Milliseconds(20));
      } else {
        other_answer_ = answer.error_message();
        return;
      }
    }
  }

  grpc::Status Send(const MessagePlan& plan, uint64_t number, absl::Duration patience) {
    v1::LearnBatchRequest request;
    request.set_model(kModel);
    request.set_producer(plan.producer);
    request.set_producer_sequence(number);
    *request.mutable_examples() = plan.Message(number).examples();
    return Call(*learning_.learning, &v1::Learning::Stub::LearnBatch, request, patience).status;
  }

  // From the first answer on: a class must have been learned.
  void Predict() {
    v1::PredictRequest request;
    request.set_model(kModel);
    *request.mutable_features() = plan_.Message(1).examples(0).features();
    while (!stop_) {
      absl::SleepFor(absl::Milliseconds(2));
      const auto row = Call(*predicting_.prediction, &v1::Prediction::Stub::Predict, request);
      if (!row.ok() && predictions_ == 0) continue;
      ++predictions_;
      if (row.ok()) continue;
      ++failed_predictions_;
      failed_prediction_ = row.status.error_message();
    }
  }

  const testing::Stubs learning_;
  const testing::Stubs predicting_;
  MessagePlan plan_;
  std::atomic<bool> stop_{false};
  std::vector<Testimony> probes_;  // the caller's thread
  std::atomic<uint64_t> acked_{0};
  std::atomic<int64_t> refused_{0};
  std::atomic<int64_t> predictions_{0};
  std::atomic<int64_t> failed_predictions_{0};
  std::string other_answer_;
  std::string failed_prediction_;
  std::thread learner_;
  std::thread predictor_;
};

// Waits until `done`, at most so long. How long it took.
template <typename Done>
absl::Duration Await(absl::Duration longest, Done done) {
  const absl::Time began = absl::Now();
  while (!done() && absl::Now() - began < longest) absl::SleepFor(absl::Milliseconds(2));
  return absl::Now() - began;
}

absl::Status CheckRuns(ServerProcess* server) {
  const auto ended = server->Poll();
  if (!ended.has_value()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat("engramd ended with ", ended->code, ":\n", server->Output()));
}

// One fill and free. An odd one fills the disk to its last byte, the others to half the reserve.
absl::StatusOr<absl::Duration> FillAndFree(int cycle, Disk* disk, ServerProcess* server,
                                           Load* load) {
  const int64_t refused = load->refused();
  disk->Fill(cycle % 2 == 1 ? 0 : 96 * kMiB);
  Await(absl::Seconds(5), [&] {
    load->Probe();
    return load->refused() > refused;
  });
  absl::SleepFor(kFullFor);
  ENGRAM_RETURN_IF_ERROR(CheckRuns(server));
  if (load->refused() == refused) {
    return absl::InternalError(absl::StrCat("a full disk, and nothing is refused; ", load->acked(),
                                            " messages acked, ", load->predictions(),
                                            " predictions; ", load->other_answer()));
  }
  disk->Free();
  const uint64_t acked = load->acked();
  const absl::Duration resumed = Await(kResumeWithin, [&] { return load->acked() > acked; });
  if (load->acked() == acked) {
    return absl::InternalError(
        absl::StrCat("learning does not begin again; ", load->other_answer(), "\n",
                     server->Output()));
  }
  ENGRAM_RETURN_IF_ERROR(CheckRuns(server));
  absl::SleepFor(kFreeFor);
  return resumed;
}

absl::StatusOr<bool> JudgeLog(const Disk& disk, const Load& load) {
  ENGRAM_ASSIGN_OR_RETURN(const auto models, ReadModels(disk.data_dir(), {}));
  bool good = false;
  for (const StoredModel& model : models) {
    if (model.name != kModel) continue;
    const Verdict verdict = Judge(model.records, load.testimonies(), {});
    std::printf("%ld acked examples, %ld lost, %ld twice, %ld torn\n", verdict.acked_examples,
                verdict.lost, verdict.twice, verdict.torn);
    for (const auto& finding : verdict.first_findings) std::printf("  %s\n", finding.c_str());
    auto fewer = model.records;
    fewer.erase(fewer.begin());
    const bool notices = Judge(fewer, load.testimonies(), {}).lost > 0;
    std::printf("canary: a record taken away is %s\n", notices ? "found" : "NOT FOUND");
    good = verdict.Clean() && notices;
  }
  ENGRAM_RETURN_IF_ERROR(ScrubStored(disk.data_dir()));
  return good;
}

absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, bool namespaces) {
  Disk disk(scratch, namespaces && !absl::GetFlag(FLAGS_play));
  std::printf("the disk: %s\n", disk.real() ? "a tmpfs of 512 MiB" : "played by the shim");
  testing::ServerOptions options;
  options.data_dir = disk.data_dir();
  options.config = kReserve;
  options.environment = disk.Environment();
  ENGRAM_ASSIGN_OR_RETURN(auto server, ServerProcess::Start(std::move(options)));
  ENGRAM_RETURN_IF_ERROR(CreateModels(*server));
  Load load(*server);
  Await(absl::Seconds(10), [&] { return load.predictions() > 10; });
  absl::Duration slowest;
  for (int cycle = 0; cycle < absl::GetFlag(FLAGS_cycles); ++cycle) {
    ENGRAM_ASSIGN_OR_RETURN(const absl::Duration resumed,
                            FillAndFree(cycle, &disk, server.get(), &load));
    slowest = std::max(slowest, resumed);
  }
  load.Stop();
  ENGRAM_ASSIGN_OR_RETURN(const int code, server->Drain());
  std::printf("%d cycles: exit code %d, %ld predictions, %ld failed, %lu messages acked, "
              "%ld refused, slowest to begin again %.2f s\n",
              absl::GetFlag(FLAGS_cycles), code, load.predictions(), load.failed_predictions(),
              load.acked(), load.refused(), absl::ToDoubleSeconds(slowest));
  if (!load.other_answer().empty()) {
    std::printf("a producer got: %s\n", load.other_answer().c_str());
  }
  if (load.failed_predictions() > 0) {
    std::printf("a prediction got: %s\n", load.failed_prediction().c_str());
  }
  ENGRAM_ASSIGN_OR_RETURN(const bool kept, JudgeLog(disk, load));
  return kept && code == 0 && load.failed_predictions() == 0 && load.other_answer().empty() &&
         load.predictions() > 0 && slowest < kResumeWithin;
}

}  // namespace
}  // namespace engram::crash

int main(int argc, char** argv) {
  const bool namespaces = engram::crash::TakeNamespaces();
  return engram::crash::RunHarness(
      argc, argv, "disk_full",
      [namespaces](const engram::testing::ScratchFolder& scratch, uint64_t /*seed*/) {
        return engram::crash::Run(scratch, namespaces);
      });
}
