// Erasing under kill -9, from outside. A real engramd learns a stream in which one subject carries
// a string that occurs nowhere else; the subject is erased (or, every other time, the producer that
// sent all of it), and the server killed at a random moment of it, while predictions go on. Then
// nobody may find the string in any file, and the weights must be those of a replay of the log with
// its tombstones.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/crash/harness.h"
#include "tests/crash/oracle.h"
#include "tests/crash/stored_models.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(int, kills, 4, "erasures that are killed midway");

namespace engram::crash {
namespace {

using testing::Call;
using testing::ServerProcess;
using testing::Stubs;

constexpr char kModel[] = "erased";
constexpr char kHostile[] = "hostile";
constexpr int kFeatures = 16;
constexpr int kMessageExamples = 20;
constexpr int kMessages = 60;
// Eight floats between 0.5 and 2: it is in the features as it is in id, subject and label.
constexpr char kCanary[] = "Cq7?anA?rTy?w9x?L2b?Zk4?mVe?uG8?";
static_assert(sizeof(kCanary) - 1 == 32, "eight floats");

struct Life {
  std::string data_dir;
  std::string config;
  int messages = kMessages;
  // The canary comes from a producer of its own, and is erased by its name.
  bool by_producer = false;
};

template <typename Reply>
absl::Status ToStatus(const testing::Outcome<Reply>& outcome, const std::string& what) {
  if (outcome.ok()) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, ": ", outcome.status.error_message()));
}

bool IsCanary(int message, int index) {
  return message >= 24 && message % 7 == 3 && index % 5 == 0;
}

// `own_class`: the canary's first label is a class that nobody else has.
v1::Example ExampleAt(int message, int index, bool own_class) {
  const auto number = static_cast<uint64_t>(message * kMessageExamples + index);
  const auto label = static_cast<int64_t>(testing::Mix(number) % 4);
  v1::Example example = testing::ToyExample({}, label, number);
  example.mutable_label()->set_text(absl::StrCat("class-", label));
  example.set_id(absl::StrCat("example-", number));
  example.set_subject_id(absl::StrCat("subject-", number % 11));
  if (index % 10 == 5) example.set_split(v1::HELD_OUT);
  if (!IsCanary(message, index)) return example;
  example.set_subject_id(kCanary);
  example.set_id(absl::StrCat(kCanary, number));
  if (own_class && index == 0) example.mutable_label()->set_text(absl::StrCat("class-", kCanary));
  std::memcpy(example.mutable_features()->mutable_dense()->data(), kCanary, sizeof(kCanary) - 1);
  return example;
}

// Files that hold the canary.
std::vector<std::string> Search(const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    std::ifstream file(entry.path(), std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    if (bytes.str().find(kCanary) != std::string::npos) {
      found.push_back(entry.path().filename().string());
    }
  }
  return found;
}

absl::StatusOr<std::unique_ptr<ServerProcess>> StartServer(const Life& life) {
  testing::ServerOptions options;
  options.data_dir = life.data_dir;
  options.config = life.config;
  return ServerProcess::Start(options);
}

absl::Status Create(const Stubs& stubs) {
  v1::CreateModelRequest request;
  request.set_name(kModel);
  v1::ModelSpec* spec = request.mutable_spec();
  spec->set_feature_count(kFeatures);
  spec->mutable_mlp()->add_hidden(24);
  spec->set_seed(3);
  spec->set_held_out_fraction(0.05);
  spec->set_checkpoint_every_examples(150);
  spec->add_strategies()->mutable_experience_replay()->set_memory_size(120);
  return ToStatus(Call(*stubs.models, &v1::Models::Stub::CreateModel, request), "CreateModel");
}

absl::StatusOr<v1::Checkpoint> MakeCheckpoint(const Stubs& stubs, const std::string& label) {
  v1::CreateCheckpointRequest request;
  request.set_model(kModel);
  request.set_label(label);
  const auto made = Call(*stubs.checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint, request);
  ENGRAM_RETURN_IF_ERROR(ToStatus(made, "CreateCheckpoint"));
  return made.reply;
}

absl::Status AwaitApplied(const Stubs& stubs) {
  v1::WaitAppliedRequest wait;
  wait.set_model(kModel);
  return ToStatus(Call(*stubs.learning, &v1::Learning::Stub::WaitApplied, wait), "WaitApplied");
}

absl::Status Send(const Stubs& stubs, const std::string& producer, uint64_t* sequence,
                  v1::LearnBatchRequest batch) {
  if (batch.examples().empty()) return absl::OkStatus();
  batch.set_model(kModel);
  batch.set_producer(producer);
  batch.set_producer_sequence(++*sequence);
  return ToStatus(Call(*stubs.learning, &v1::Learning::Stub::LearnBatch, batch), "LearnBatch");
}

absl::Status Learn(const Stubs& stubs, const Life& life, bool own_class) {
  uint64_t sequence = 0;
  uint64_t hostile_sequence = 0;
  for (int message = 0; message < life.messages; ++message) {
    v1::LearnBatchRequest batch;
    v1::LearnBatchRequest hostile;
    for (int i = 0; i < kMessageExamples; ++i) {
      const bool apart = life.by_producer && IsCanary(message, i);
      *(apart ? hostile : batch).add_examples() = ExampleAt(message, i, own_class);
    }
    ENGRAM_RETURN_IF_ERROR(Send(stubs, kHostile, &hostile_sequence, std::move(hostile)));
    ENGRAM_RETURN_IF_ERROR(Send(stubs, "p", &sequence, std::move(batch)));
    if (message == kMessages / 3) {
      ENGRAM_RETURN_IF_ERROR(AwaitApplied(stubs));
      ENGRAM_RETURN_IF_ERROR(MakeCheckpoint(stubs, "early").status());
    }
    if (message != kMessages / 2) continue;
    v1::MarkBoundaryRequest boundary;
    boundary.set_model(kModel);
    boundary.set_producer("p");
    boundary.set_producer_sequence(++sequence);
    ENGRAM_RETURN_IF_ERROR(ToStatus(
        Call(*stubs.learning, &v1::Learning::Stub::MarkBoundary, boundary), "MarkBoundary"));
  }
  ENGRAM_RETURN_IF_ERROR(AwaitApplied(stubs));
  return MakeCheckpoint(stubs, "late").status();
}

testing::Outcome<v1::EraseResponse> Erase(const Stubs& stubs, const Life& life) {
  v1::EraseRequest request;
  request.set_model(kModel);
  life.by_producer ? request.set_producer(kHostile) : request.set_subject_id(kCanary);
  return Call(*stubs.learning, &v1::Learning::Stub::Erase, request, absl::Seconds(60));
}

// Predictions beside an erasure: how many, and how many failed while the server lived.
class Reader {
 public:
  explicit Reader(const ServerProcess& server) : stubs_(server.NewChannel()) {
    thread_ = std::thread([this] { Run(); });
  }
  ~Reader() {
    if (thread_.joinable()) Stop();
  }
  void Stop() {
    stopping_ = true;
    thread_.join();
  }
  // From now on the server may be gone.
  void ExpectTheEnd() { ending_ = true; }
  int answered() const { return answered_; }
  int failed() const { return failed_; }

 private:
  void Run() {
    v1::PredictRequest request;
    request.set_model(kModel);
    request.mutable_features()->set_dense(testing::ToyRows({}, {1}, 7));
    while (!stopping_) {
      const auto reply = Call(*stubs_.prediction, &v1::Prediction::Stub::Predict, request);
      if (!reply.ok() && !ending_) ++failed_;
      if (reply.ok()) ++answered_;
      absl::SleepFor(absl::Milliseconds(1));
    }
  }

  const Stubs stubs_;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> ending_{false};
  std::atomic<int> answered_{0};
  std::atomic<int> failed_{0};
  std::thread thread_;
};

// Erases, killed `kill_after` the call began unless that is infinite; then to the end.
absl::StatusOr<v1::EraseResponse> EraseThroughKill(const Life& life,
                                                   std::unique_ptr<ServerProcess>* server,
                                                   absl::Duration kill_after, bool* good) {
  Reader reader(**server);
  if (kill_after < absl::InfiniteDuration()) {
    std::thread caller(
        [&life, stubs = Stubs((*server)->NewChannel())] { (void)Erase(stubs, life); });
    absl::SleepFor(kill_after);
    reader.ExpectTheEnd();
    (*server)->Kill();
    caller.join();
    reader.Stop();
    ENGRAM_ASSIGN_OR_RETURN(*server, StartServer(life));
  }
  const auto receipt = Erase(Stubs((*server)->NewChannel()), life);
  ENGRAM_RETURN_IF_ERROR(ToStatus(receipt, "Erase"));
  if (kill_after == absl::InfiniteDuration()) reader.Stop();
  std::printf("  %d predictions beside it, %d failed\n", reader.answered(), reader.failed());
  *good = *good && reader.failed() == 0;
  const auto again = Erase(Stubs((*server)->NewChannel()), life);
  ENGRAM_RETURN_IF_ERROR(ToStatus(again, "Erase again"));
  if (again->SerializeAsString() != receipt->SerializeAsString()) {
    std::printf("  ANOTHER RECEIPT for the same call\n");
    *good = false;
  }
  return receipt.reply;
}

absl::StatusOr<v1::Checkpoint> LastCheckpoint(ServerProcess* server) {
  const Stubs stubs(server->NewChannel());
  ENGRAM_RETURN_IF_ERROR(AwaitApplied(stubs));
  ENGRAM_ASSIGN_OR_RETURN(auto checkpoint, MakeCheckpoint(stubs, "end"));
  ENGRAM_ASSIGN_OR_RETURN(const int code, server->Drain());
  if (code != 0) return absl::InternalError(server->Output());
  return checkpoint;
}

// The log as it lies there, learned from its start by another server.
absl::StatusOr<bool> SameAsReplay(const Life& life, const std::string& folder,
                                  const v1::Checkpoint& lived) {
  ENGRAM_ASSIGN_OR_RETURN(const auto stored, ReadModels(life.data_dir, {{kModel, lived.id()}}));
  ENGRAM_RETURN_IF_ERROR(WriteModels(
      folder, {{stored[0].name, stored[0].spec, Everything(stored[0].records)}}));
  ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer({folder, ""}));
  ENGRAM_ASSIGN_OR_RETURN(const auto replayed, LastCheckpoint(server.get()));
  ENGRAM_ASSIGN_OR_RETURN(const auto again, ReadModels(folder, {{kModel, replayed.id()}}));
  const bool same = lived.sha256() == replayed.sha256() &&
                    lived.applied_sequence() == replayed.applied_sequence() &&
                    stored[0].members == again[0].members;
  std::printf("  sequence %lu, sha256 %.16s... against %.16s...: %s\n", lived.applied_sequence(),
              lived.sha256().c_str(), replayed.sha256().c_str(),
              same ? "bit-identical" : "DIFFERENT");
  return same;
}

bool NothingIsLeft(const Life& life) {
  const std::vector<std::string> found = Search(life.data_dir);
  for (const std::string& file : found) std::printf("  CANARY FOUND in %s\n", file.c_str());
  return found.empty();
}

// One folder from its first example to its erasure. Returns how long the erasure took.
absl::StatusOr<absl::Duration> Round(const testing::ScratchFolder& scratch, int number,
                                     absl::Duration kill_after, bool* good) {
  Life life{scratch.Subfolder(absl::StrCat("server-", number)), ""};
  life.by_producer = number % 2 == 1;
  ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer(life));
  const Stubs stubs(server->NewChannel());
  ENGRAM_RETURN_IF_ERROR(Create(stubs));
  ENGRAM_RETURN_IF_ERROR(Learn(stubs, life, /*own_class=*/true));
  if (Search(life.data_dir).empty()) {
    std::printf("  the canary was never there: the search is blind\n");
    *good = false;
  }
  std::printf("erasure %d by %s, killed after %s\n", number,
              life.by_producer ? "producer" : "subject", absl::FormatDuration(kill_after).c_str());
  const absl::Time began = absl::Now();
  ENGRAM_ASSIGN_OR_RETURN(const auto receipt, EraseThroughKill(life, &server, kill_after, good));
  const absl::Duration took = absl::Now() - began;
  std::printf("  %ld examples, %ld exemplars, %ld held-out rows, weights %s from %lu, %.0f ms\n",
              receipt.erased_examples(), receipt.erased_exemplars(), receipt.erased_held_out(),
              v1::EraseResponse::Weights_Name(receipt.weights()).c_str(), receipt.rebuilt_from(),
              absl::ToDoubleMilliseconds(took));
  *good = *good && receipt.weights() == v1::EraseResponse::WEIGHTS_REBUILT;
  *good = NothingIsLeft(life) && *good;  // while it serves
  ENGRAM_ASSIGN_OR_RETURN(const auto checkpoint, LastCheckpoint(server.get()));
  *good = NothingIsLeft(life) && *good;
  ENGRAM_ASSIGN_OR_RETURN(
      const bool same,
      SameAsReplay(life, scratch.Subfolder(absl::StrCat("replay-", number)), checkpoint));
  *good = *good && same;
  return took;
}

// The log is trimmed beyond the first of them: the weights stay, the string does not.
absl::Status TrimmedRound(const testing::ScratchFolder& scratch, bool* good) {
  std::printf("erasure in a trimmed log\n");
  Life life{scratch.Subfolder("trimmed"), "retention { log_seconds: 1 log_bytes: 1048576 }"};
  life.messages = 900;
  ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer(life));
  const Stubs stubs(server->NewChannel());
  ENGRAM_RETURN_IF_ERROR(Create(stubs));
  ENGRAM_RETURN_IF_ERROR(Learn(stubs, life, /*own_class=*/false));
  absl::SleepFor(absl::Milliseconds(1200));
  ENGRAM_RETURN_IF_ERROR(MakeCheckpoint(stubs, "last").status());
  ENGRAM_ASSIGN_OR_RETURN(const auto receipt,
                          EraseThroughKill(life, &server, absl::InfiniteDuration(), good));
  std::printf("  %ld examples, %ld exemplars, weights %s\n", receipt.erased_examples(),
              receipt.erased_exemplars(),
              v1::EraseResponse::Weights_Name(receipt.weights()).c_str());
  *good = *good && receipt.data() == v1::EraseResponse::DATA_REMOVED &&
          receipt.weights() == v1::EraseResponse::WEIGHTS_NOT_REBUILT;
  *good = NothingIsLeft(life) && *good;
  return LastCheckpoint(server.get()).status();
}

absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, uint64_t seed) {
  std::seed_seq seeds{seed};
  absl::BitGen random(seeds);
  bool good = true;
  ENGRAM_ASSIGN_OR_RETURN(const absl::Duration took,
                          Round(scratch, 0, absl::InfiniteDuration(), &good));
  for (int i = 1; i <= absl::GetFlag(FLAGS_kills); ++i) {
    const absl::Duration after = took * absl::Uniform(random, 0.02, 1.0);
    ENGRAM_RETURN_IF_ERROR(Round(scratch, i, after, &good).status());
  }
  ENGRAM_RETURN_IF_ERROR(TrimmedRound(scratch, &good));
  return good;
}

}  // namespace
}  // namespace engram::crash

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "erase_kill9", engram::crash::Run);
}
