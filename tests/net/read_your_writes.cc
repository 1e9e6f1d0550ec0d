// read_your_writes: writers ask, right after each ack, for a prediction that has applied what they
// wrote, and then for some that need not have. No answer may be older than what was asked for, than
// what this writer saw before, or than what anybody saw before the server was last killed.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/mutex.h"
#include "storage/base/status_macros.h"
#include "tests/crash/harness.h"
#include "tests/net/net_run.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(int64_t, checks, 100000, "predictions that are looked at");
ABSL_FLAG(int, restarts, 20, "how often the server is killed meanwhile");

namespace engram::net {
namespace {

constexpr char kModel[] = "toy";
constexpr int kWriters = 8;
constexpr int kFreeReads = 3;           // predictions after each write that ask for nothing
constexpr uint64_t kNewClassEvery = 64;  // writes
const testing::ToyShape kShape{16, 5, 1.0F};

// What everybody shares.
struct Board {
  crash::AddressBook address;
  std::atomic<bool> stop{false};
  std::atomic<int64_t> checks{0};
  std::atomic<uint64_t> newest_seen{0};  // version
  std::atomic<uint64_t> floor{0};        // what was seen before the last kill
  std::atomic<int> classes{0};           // whose first example is acked
  base::Mutex mutex;
  std::vector<std::string> violations ABSL_GUARDED_BY(mutex);

  void Violation(std::string what) {
    base::MutexLock lock(&mutex);
    violations.push_back(std::move(what));
  }
};

class Writer {
 public:
  Writer(int number, uint64_t seed, Board* board)
      : name_(absl::StrCat("writer-", number)), number_(number), seed_(seed), board_(board) {
    thread_ = std::thread([this] { Run(); });
  }
  ~Writer() { thread_.join(); }

 private:
  void Run() {
    while (!board_->stop) {
      const std::string address = board_->address.Get();
      if (address.empty()) {
        absl::SleepFor(absl::Milliseconds(2));
        continue;
      }
      const uint64_t floor = board_->floor;
      stubs_ = std::make_unique<testing::Stubs>(Connect(address));
      while (!board_->stop && WriteAndRead(floor)) {
      }
    }
  }

  // False once the server is gone; the write is then made again, under the same sequence.
  bool WriteAndRead(uint64_t floor) {
    const uint64_t sequence = written_ + 1;
    const bool new_class = sequence % kNewClassEvery == 1;
    const int64_t label =
        new_class ? number_ * 1000000 + static_cast<int64_t>(sequence) : last_label_;
    const int classes = board_->classes + (new_class ? 1 : 0);
    v1::LearnBatchRequest request;
    request.set_model(kModel);
    request.set_producer(name_);
    request.set_producer_sequence(sequence);
    *request.add_examples() = testing::ToyExample(kShape, label, seed_ ^ sequence);
    const auto reply = testing::Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, request);
    if (!reply.ok()) return Failed("LearnBatch", reply.status);
    written_ = sequence;
    last_label_ = label;
    if (new_class) ++board_->classes;
    const uint64_t mine = reply->first_sequence();
    if (!Read(mine, std::max(floor, mine), classes)) return false;
    for (int i = 0; i < kFreeReads; ++i) {
      if (!Read(0, std::max(floor, last_seen_), 0)) return false;
    }
    return true;
  }

  bool Read(uint64_t min_applied, uint64_t at_least, int classes) {
    v1::PredictRequest request;
    request.set_model(kModel);
    request.mutable_features()->set_dense(testing::ToyRows(kShape, {last_label_}, written_));
    request.set_min_applied_sequence(min_applied);
    const auto reply = testing::Call(*stubs_->prediction, &v1::Prediction::Stub::Predict, request);
    if (!reply.ok()) return Failed("Predict", reply.status);
    const uint64_t version = reply->model_version();
    if (version < at_least || version < last_seen_) {
      board_->Violation(absl::StrCat(name_, ": version ", version, " after ", last_seen_,
                                     ", asked for ", min_applied, ", at least ", at_least));
    }
    if (reply->predictions(0).scores_size() < classes) {
      board_->Violation(absl::StrCat(name_, ": version ", version, " knows ",
                                     reply->predictions(0).scores_size(), " classes of ", classes));
    }
    last_seen_ = std::max(last_seen_, version);
    uint64_t newest = board_->newest_seen;
    while (newest < version && !board_->newest_seen.compare_exchange_weak(newest, version)) {
    }
    ++board_->checks;
    return true;
  }

  bool Failed(const std::string& what, const grpc::Status& status) {
    if (status.error_code() != grpc::UNAVAILABLE) {
      board_->Violation(absl::StrCat(name_, ": ", what, " ended with ", status.error_code(), " ",
                                     status.error_message()));
    }
    absl::SleepFor(absl::Milliseconds(2));
    return false;
  }

  const std::string name_;
  const int64_t number_;
  const uint64_t seed_;
  Board* const board_;
  std::unique_ptr<testing::Stubs> stubs_;
  uint64_t written_ = 0;
  int64_t last_label_ = 0;
  uint64_t last_seen_ = 0;
  std::thread thread_;
};

v1::ModelSpec Spec() {
  v1::ModelSpec spec;
  spec.set_feature_count(kShape.feature_count);
  spec.mutable_mlp()->add_hidden(16);
  spec.set_batch_size(1);
  spec.set_publish_every_ms(5);
  spec.set_held_out_fraction(0);
  spec.set_evaluate_every_examples(0);
  return spec;
}

absl::Status Live(Board* board, const std::string& folder) {
  const int lives = absl::GetFlag(FLAGS_restarts) + 1;
  for (int life = 0; life < lives; ++life) {
    const std::vector<std::string> models(life == 0 ? 0 : 1, kModel);
    ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer(folder, models));
    if (life == 0) ENGRAM_RETURN_IF_ERROR(CreateModel(server->grpc_address(), kModel, Spec()));
    board->floor = board->newest_seen.load();
    board->address.Set(server->grpc_address());
    const int64_t until = absl::GetFlag(FLAGS_checks) * (life + 1) / lives;
    const absl::Time deadline = absl::Now() + absl::Minutes(10);
    while (board->checks < until && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(1));
    if (board->checks < until) return absl::DeadlineExceededError("the checks come to nothing");
    board->address.Set("");
    server->Kill();
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, uint64_t seed) {
  Board board;
  std::vector<std::unique_ptr<Writer>> writers;
  for (int i = 0; i < kWriters; ++i) writers.push_back(std::make_unique<Writer>(i, seed, &board));
  const absl::Time began = absl::Now();
  const absl::Status lived = Live(&board, scratch.Subfolder("server"));
  board.stop = true;
  writers.clear();
  ENGRAM_RETURN_IF_ERROR(lived);
  std::printf("%ld checks in %.1f s, %d kills, up to version %lu with %d classes\n",
              board.checks.load(), absl::ToDoubleSeconds(absl::Now() - began),
              absl::GetFlag(FLAGS_restarts), board.newest_seen.load(), board.classes.load());
  base::MutexLock lock(&board.mutex);
  return ReportViolations(board.violations);
}

}  // namespace
}  // namespace engram::net

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "read_your_writes", engram::net::Run);
}
