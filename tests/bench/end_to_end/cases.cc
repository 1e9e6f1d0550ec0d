#include "tests/bench/end_to_end/cases.h"

#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "tests/bench/end_to_end/loads.h"
#include "tests/testing/process/stubs.h"

namespace engram::bench {
namespace {

using testing::Call;
using testing::Stubs;

constexpr char kServed[] = "served";  // what Predict asks
constexpr uint64_t kWindow = 16;      // messages in flight

absl::Status ToStatus(const grpc::Status& status, const char* what) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                      absl::StrCat(what, ": ", status.error_message()));
}

Stubs Connect(const Run& run) { return Stubs(ConnectTo(run.opponents->engramd().grpc_address())); }

absl::Status Create(const Run& run, const std::string& name, bool paused) {
  const Stubs stubs = Connect(run);
  v1::CreateModelRequest create;
  create.set_name(name);
  *create.mutable_spec() = ReferenceSpec(run.batch);
  ENGRAM_RETURN_IF_ERROR(
      ToStatus(Call(*stubs.models, &v1::Models::Stub::CreateModel, create).status, "CreateModel"));
  if (!paused) return absl::OkStatus();
  v1::PauseTrainingRequest pause;
  pause.set_name(name);
  return ToStatus(Call(*stubs.models, &v1::Models::Stub::PauseTraining, pause).status, "Pause");
}

absl::Status Delete(const Run& run, const std::string& name) {
  v1::DeleteModelRequest request;
  request.set_name(name);
  return ToStatus(Call(*Connect(run).models, &v1::Models::Stub::DeleteModel, request).status,
                  "DeleteModel");
}

absl::Status WaitApplied(const Run& run, const std::string& name) {
  v1::WaitAppliedRequest request;
  request.set_model(name);
  return ToStatus(
      Call(*Connect(run).learning, &v1::Learning::Stub::WaitApplied, request, absl::Minutes(2))
          .status,
      "WaitApplied");
}

// Quantiles of each turn, by who took it.
struct Turns {
  std::vector<double> p50;
  std::vector<double> p99;
  size_t calls = 0;
  void Add(const Latencies& latencies) {
    p50.push_back(latencies.At(0.5));
    p99.push_back(latencies.At(0.99));
    calls += latencies.count();
  }
};

// A file as durable as a checkpoint must be: temp, fsync, rename, fsync of the folder.
double WriteDurableFile(const std::string& folder, int64_t bytes) {
  const std::string text(static_cast<size_t>(bytes), 'x');
  const absl::Time began = absl::Now();
  const std::string file = folder + "/durable";
  const int out = open((file + ".new").c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600);
  ENGRAM_CHECK(write(out, text.data(), text.size()) == static_cast<ssize_t>(text.size()));
  ENGRAM_CHECK(fsync(out) == 0 && close(out) == 0);
  ENGRAM_CHECK(rename((file + ".new").c_str(), file.c_str()) == 0);
  const int directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY);
  ENGRAM_CHECK(fsync(directory) == 0 && close(directory) == 0);
  return absl::ToDoubleSeconds(absl::Now() - began);
}

}  // namespace

absl::Status Prepare(Run* run) {
  ENGRAM_RETURN_IF_ERROR(Create(*run, kServed, false));
  const auto channel = ConnectTo(run->opponents->engramd().grpc_address());
  ENGRAM_RETURN_IF_ERROR(StreamAll(channel, kServed, "warm", MakeFrames(1, 20), 4).status());
  ENGRAM_RETURN_IF_ERROR(WaitApplied(*run, kServed));
  int reply_bytes = 0;
  ENGRAM_RETURN_IF_ERROR(
      PredictFor(channel, PredictBody(kServed), absl::Milliseconds(500), &reply_bytes).status());
  ENGRAM_ASSIGN_OR_RETURN(run->bare_address,
                          run->opponents->StartBare("bare", reply_bytes, absl::ZeroDuration()));
  ENGRAM_RETURN_IF_ERROR(
      PredictFor(ConnectTo(run->bare_address), PredictBody(kServed), absl::Milliseconds(500))
          .status());
  ENGRAM_RETURN_IF_ERROR(run->in_process->Train(20 * kExamplesPerMessage).status());
  ENGRAM_ASSIGN_OR_RETURN(const auto forward, run->in_process->Predict(3000));
  ENGRAM_ASSIGN_OR_RETURN(
      run->busy_address,
      run->opponents->StartBare("busy", reply_bytes, absl::Seconds(forward.At(0.5))));
  return absl::OkStatus();
}

absl::Status PredictIdle(const Run& run) {
  const auto ours = ConnectTo(run.opponents->engramd().grpc_address());
  const auto bare = ConnectTo(run.bare_address);
  const auto busy = ConnectTo(run.busy_address);
  const std::string body = PredictBody(kServed);
  Turns engram, echo, forward, busy_echo;
  for (int i = 0; i < run.repetitions; ++i) {
    ENGRAM_ASSIGN_OR_RETURN(const auto a, PredictFor(ours, body, run.turn));
    ENGRAM_ASSIGN_OR_RETURN(const auto b, PredictFor(bare, body, run.turn));
    ENGRAM_ASSIGN_OR_RETURN(const auto c, run.in_process->Predict(3000));
    ENGRAM_ASSIGN_OR_RETURN(const auto d, PredictFor(busy, body, run.turn));
    engram.Add(a);
    echo.Add(b);
    forward.Add(c);
    busy_echo.Add(d);
  }
  Figure figure{"predict_p50",
                "through the server",
                "none",
                "s",
                Median(engram.p50),
                "bare echo p50 + bare forward p50",
                Median(echo.p50) + Median(forward.p50),
                1.2,
                absl::nullopt,
                {{"echo_p50", Median(echo.p50)},
                 {"forward_p50", Median(forward.p50)},
                 {"calls", engram.calls},
                 {"clients", 1}}};
  run.results->Add(figure);
  // A core that waits longer for its reply sleeps deeper and wakes later: with the echo's sum alone
  // that looks like work of the server.
  run.results->Add({"predict_p50_beside_busy_echo",
                    "through the server",
                    "none",
                    "s",
                    Median(engram.p50),
                    "p50 of a bare echo that keeps its thread for a forward pass's time",
                    Median(busy_echo.p50),
                    absl::nullopt,
                    absl::nullopt,
                    {{"calls", busy_echo.calls}}});
  run.results->Add({"predict_p99",
                    "through the server",
                    "none",
                    "s",
                    Median(engram.p99),
                    "bare echo p99",
                    Median(echo.p99),
                    absl::nullopt,
                    absl::nullopt,
                    {{"calls", engram.calls}}});
  return absl::OkStatus();
}

absl::Status PredictWhileTraining(const Run& run) {
  const auto ours = ConnectTo(run.opponents->engramd().grpc_address());
  const auto bare = ConnectTo(run.bare_address);
  const std::string body = PredictBody(kServed);
  const std::vector<Frame> frames =
      MakeFrames(1, run.frames * kExamplesPerMessage / run.steady_examples, run.steady_examples);
  const absl::Duration warm = absl::Milliseconds(500);
  Turns engram, echo, loaded_echo;
  std::vector<double> learned;
  for (int i = 0; i < run.repetitions; ++i) {
    {
      std::atomic<uint64_t> applied{0};
      Load learner([&](const std::atomic<bool>& stop) {
        return LearnSteadily(run.opponents->engramd().grpc_address(), kServed, frames, stop,
                             &applied);
      });
      ENGRAM_RETURN_IF_ERROR(PredictFor(ours, body, warm).status());
      const uint64_t before = applied;
      ENGRAM_ASSIGN_OR_RETURN(const auto a, PredictFor(ours, body, run.turn));
      learned.push_back(static_cast<double>(applied - before) /
                        absl::ToDoubleSeconds(run.turn));
      engram.Add(a);
      learner.Stop();
      ENGRAM_RETURN_IF_ERROR(learner.status());
    }
    ENGRAM_RETURN_IF_ERROR(WaitApplied(run, kServed));
    ENGRAM_RETURN_IF_ERROR(run.opponents->ResumePlainTrainer());
    ENGRAM_RETURN_IF_ERROR(PredictFor(bare, body, warm).status());
    ENGRAM_ASSIGN_OR_RETURN(const auto b, PredictFor(bare, body, run.turn));
    echo.Add(b);
    {
      const double messages = learned.back() / static_cast<double>(run.steady_examples);
      Load learner([&](const std::atomic<bool>& stop) {
        return LearnAtPace(run.bare_address, messages, frames, stop);
      });
      ENGRAM_RETURN_IF_ERROR(PredictFor(bare, body, warm).status());
      ENGRAM_ASSIGN_OR_RETURN(const auto c, PredictFor(bare, body, run.turn));
      loaded_echo.Add(c);
      learner.Stop();
      ENGRAM_RETURN_IF_ERROR(learner.status());
    }
    ENGRAM_RETURN_IF_ERROR(run.opponents->PausePlainTrainer());
  }
  const nlohmann::json detail = {{"examples_learned_per_second", Median(learned)},
                                 {"batch", run.batch},
                                 {"examples_per_message", run.steady_examples},
                                 {"calls", engram.calls},
                                 {"clients", 1}};
  run.results->Add({"predict_p99_while_training", "through the server", "on", "s",
                    Median(engram.p99), "bare echo p99 beside a plain LibTorch loop",
                    Median(echo.p99), 3.0, absl::nullopt, detail});
  // What the machine leaves when a bare server also takes in the stream, parsing nothing.
  run.results->Add({"predict_p99_beside_stream", "through the server", "on", "s",
                    Median(engram.p99),
                    "bare echo p99 beside a plain LibTorch loop and the stream into bare RocksDB",
                    Median(loaded_echo.p99), absl::nullopt, absl::nullopt, detail});
  run.results->Add({"predict_p50_while_training", "through the server", "on", "s",
                    Median(engram.p50), "bare echo p50 beside a plain LibTorch loop",
                    Median(echo.p50), absl::nullopt, absl::nullopt, detail});
  return absl::OkStatus();
}

absl::Status LearnPaused(const Run& run) {
  ENGRAM_RETURN_IF_ERROR(Create(run, "paused", true));
  const auto ours = ConnectTo(run.opponents->engramd().grpc_address());
  const auto bare = ConnectTo(run.bare_address);
  const std::vector<Frame> frames = MakeFrames(1, run.frames);
  const auto examples = static_cast<double>(frames.size() * kExamplesPerMessage);
  std::vector<double> engram_rates, bare_rates;
  for (int i = 0; i <= run.repetitions; ++i) {
    const std::string producer = absl::StrCat("p", i);
    ENGRAM_ASSIGN_OR_RETURN(const double a, StreamAll(ours, "paused", producer, frames, kWindow));
    ENGRAM_ASSIGN_OR_RETURN(const double b, StreamAll(bare, "paused", producer, frames, kWindow));
    if (i == 0) continue;  // warms both
    engram_rates.push_back(examples / a);
    bare_rates.push_back(examples / b);
  }
  run.results->Add({"learn_durable_acks",
                    "through the server",
                    "paused",
                    "ex/s",
                    Median(engram_rates),
                    "bare gRPC stream + synced RocksDB write",
                    Median(bare_rates),
                    absl::nullopt,
                    0.6,
                    {{"examples_per_message", kExamplesPerMessage}, {"window", kWindow}}});
  return Delete(run, "paused");
}

absl::Status LearnTraining(const Run& run) {
  ENGRAM_RETURN_IF_ERROR(Create(run, "training", false));
  const auto ours = ConnectTo(run.opponents->engramd().grpc_address());
  const std::vector<Frame> frames = MakeFrames(1, run.frames);
  const size_t examples = frames.size() * kExamplesPerMessage;
  std::vector<double> engram_rates, in_process_rates;
  for (int i = 0; i <= run.repetitions; ++i) {
    const absl::Time began = absl::Now();
    ENGRAM_RETURN_IF_ERROR(
        StreamAll(ours, "training", absl::StrCat("p", i), frames, kWindow).status());
    ENGRAM_RETURN_IF_ERROR(WaitApplied(run, "training"));
    const double a = absl::ToDoubleSeconds(absl::Now() - began);
    ENGRAM_ASSIGN_OR_RETURN(const double b, run.in_process->Train(examples));
    if (i == 0) continue;
    engram_rates.push_back(static_cast<double>(examples) / a);
    in_process_rates.push_back(static_cast<double>(examples) / b);
  }
  run.results->Add({"examples_trained",
                    "through the server",
                    "on",
                    "ex/s",
                    Median(engram_rates),
                    "the same learner in process",
                    Median(in_process_rates),
                    absl::nullopt,
                    absl::nullopt,
                    {{"batch", run.batch}}});
  return Delete(run, "training");
}

absl::Status Publish(const Run& run) {
  std::vector<double> publish, copy;
  for (int i = 0; i < run.repetitions; ++i) {
    ENGRAM_ASSIGN_OR_RETURN(const auto a, run.in_process->Publish(200));
    publish.push_back(a.At(0.5));
    copy.push_back(run.in_process->CopyParameters(200).At(0.5));
  }
  run.results->Add({"publish",
                    "in process",
                    "none",
                    "s",
                    Median(publish),
                    "plain copy of as many floats",
                    Median(copy),
                    absl::nullopt,
                    absl::nullopt,
                    {{"parameters", run.in_process->parameters()}}});
  return absl::OkStatus();
}

absl::Status CheckpointAndRollback(const Run& run) {
  const Stubs stubs = Connect(run);
  std::vector<double> create, file, rollback, restore;
  int64_t bytes = 0;
  for (int i = 0; i < run.repetitions; ++i) {
    v1::CreateCheckpointRequest request;
    request.set_model(kServed);
    const absl::Time began = absl::Now();
    const auto made = Call(*stubs.checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint, request);
    create.push_back(absl::ToDoubleSeconds(absl::Now() - began));
    ENGRAM_RETURN_IF_ERROR(ToStatus(made.status, "CreateCheckpoint"));
    bytes = made->bytes();
    file.push_back(WriteDurableFile(run.folder, bytes));
    // Something to undo.
    ENGRAM_RETURN_IF_ERROR(
        StreamAll(stubs.channel, kServed, absl::StrCat("undo", i), MakeFrames(1, 4), kWindow)
            .status());
    ENGRAM_RETURN_IF_ERROR(WaitApplied(run, kServed));
    v1::RollbackRequest back;
    back.set_model(kServed);
    back.set_checkpoint(made->id());
    const absl::Time asked = absl::Now();
    const auto done = Call(*stubs.checkpoints, &v1::Checkpoints::Stub::Rollback, back);
    rollback.push_back(absl::ToDoubleSeconds(absl::Now() - asked));
    ENGRAM_RETURN_IF_ERROR(ToStatus(done.status, "Rollback"));
    ENGRAM_RETURN_IF_ERROR(run.in_process->Save(1).status());
    ENGRAM_ASSIGN_OR_RETURN(const auto restored, run.in_process->Restore(3));
    restore.push_back(restored.At(0.5));
  }
  run.results->Add({"checkpoint",
                    "through the server",
                    "none",
                    "s",
                    Median(create),
                    "a file of as many bytes, as durable",
                    Median(file),
                    absl::nullopt,
                    absl::nullopt,
                    {{"bytes", bytes}}});
  run.results->Add({"rollback",
                    "through the server",
                    "none",
                    "s",
                    Median(rollback),
                    "Learner::Restore in process",
                    Median(restore),
                    absl::nullopt,
                    absl::nullopt,
                    {{"bytes", bytes}, {"at_most_seconds", 1.0}}});
  return absl::OkStatus();
}

}  // namespace engram::bench
