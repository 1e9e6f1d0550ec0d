// timed_restart: a server is killed with many examples beyond its newest checkpoint and started
// again. Until it has caught up it is NOT_SERVING and answers nothing; its first answer has applied
// all that was applied before; and it takes no longer than it may.
#include <algorithm>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/crash/harness.h"
#include "tests/net/net_run.h"
#include "tests/testing/process/health.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(int64_t, examples, 100000, "beyond the newest checkpoint");
ABSL_FLAG(int, feature_count, 784, "values of an example; the network is 256-256");
ABSL_FLAG(double, seconds_max, 30, "a restart that takes longer fails");

namespace engram::net {
namespace {

using testing::Call;
using testing::ServingStatus;
using testing::Stubs;

constexpr char kModel[] = "reference";
constexpr int64_t kBeforeCheckpoint = 500;
constexpr int64_t kExamplesOfMessage = 250;

testing::ToyShape Shape() { return {absl::GetFlag(FLAGS_feature_count), 3, 1.0F}; }

absl::Status Learn(const Stubs& stubs, int64_t count, uint64_t* producer_sequence) {
  for (int64_t sent = 0; sent < count;) {
    v1::LearnBatchRequest request;
    request.set_model(kModel);
    request.set_producer("p");
    request.set_producer_sequence(++*producer_sequence);
    const int64_t end = std::min(count, sent + kExamplesOfMessage);
    for (; sent < end; ++sent) {
      *request.add_examples() =
          testing::ToyExample(Shape(), sent % 10, *producer_sequence * 1000 + sent);
    }
    const auto reply = Call(*stubs.learning, &v1::Learning::Stub::LearnBatch, request);
    if (!reply.ok()) return absl::InternalError(reply.status.error_message());
  }
  return absl::OkStatus();
}

// Applied beyond a checkpoint, and not drained. Returns how far.
absl::StatusOr<uint64_t> MakeAndKill(const std::string& folder) {
  ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer(folder, {}));
  v1::ModelSpec spec;
  spec.set_feature_count(absl::GetFlag(FLAGS_feature_count));
  spec.set_checkpoint_every_examples(int64_t{1000000} * 1000000);
  spec.set_evaluate_every_examples(0);
  ENGRAM_RETURN_IF_ERROR(CreateModel(server->grpc_address(), kModel, spec));
  const Stubs stubs(Connect(server->grpc_address()));
  uint64_t producer_sequence = 0;
  ENGRAM_RETURN_IF_ERROR(Learn(stubs, kBeforeCheckpoint, &producer_sequence));
  v1::CreateCheckpointRequest request;
  request.set_model(kModel);
  request.set_min_applied_sequence(kBeforeCheckpoint);
  const auto made = Call(*stubs.checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint, request);
  if (!made.ok()) return absl::InternalError(made.status.error_message());
  ENGRAM_RETURN_IF_ERROR(Learn(stubs, absl::GetFlag(FLAGS_examples), &producer_sequence));
  v1::WaitAppliedRequest wait;
  wait.set_model(kModel);
  const auto waited =
      Call(*stubs.learning, &v1::Learning::Stub::WaitApplied, wait, absl::Minutes(5));
  if (!waited.ok()) return absl::InternalError(waited.status.error_message());
  server->Kill();
  return waited->applied_sequence();
}

// What was seen from outside while the server recovered.
struct Watch {
  uint64_t applied = 0;  // before the kill
  int not_serving = 0;   // health answers
  int refused = 0;       // predictions
  std::vector<std::string> violations;
};

testing::Outcome<v1::PredictResponse> Predict(const Stubs& stubs) {
  v1::PredictRequest request;
  request.set_model(kModel);
  request.mutable_features()->set_dense(testing::ToyRows(Shape(), {1}, 1));
  return Call(*stubs.prediction, &v1::Prediction::Stub::Predict, request);
}

// One look at both; true once it serves.
bool Look(const Stubs& stubs, Watch* watch) {
  const auto health = testing::CheckHealth(stubs.channel, kModel);
  const bool serving = health.ok() && *health == ServingStatus::kServing;
  watch->not_serving += health.ok() && *health == ServingStatus::kNotServing ? 1 : 0;
  const auto answer = Predict(stubs);
  if (answer.ok() && answer->model_version() < watch->applied) {
    watch->violations.push_back(absl::StrCat("version ", answer->model_version(),
                                             " was served, before the kill ", watch->applied));
  }
  const bool says_why = answer.status.error_code() == grpc::UNAVAILABLE &&
                        absl::StrContains(answer.status.error_message(), "recovering");
  if (!answer.ok() && (serving || !says_why)) {
    watch->violations.push_back(absl::StrCat(serving ? "SERVING" : "not serving", ", and Predict ",
                                             answer.status.error_code(), " ",
                                             answer.status.error_message()));
  }
  watch->refused += answer.ok() ? 0 : 1;
  return serving;
}

absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, uint64_t /*seed*/) {
  const std::string folder = scratch.Subfolder("server");
  Watch watch;
  ENGRAM_ASSIGN_OR_RETURN(watch.applied, MakeAndKill(folder));
  const absl::Time began = absl::Now();
  testing::ServerOptions options;
  options.data_dir = folder;
  options.ready_within = absl::Seconds(absl::GetFlag(FLAGS_seconds_max));
  ENGRAM_ASSIGN_OR_RETURN(auto server, testing::ServerProcess::Launch(std::move(options)));
  ENGRAM_RETURN_IF_ERROR(server->WaitListening());
  const absl::Duration listening = absl::Now() - began;
  const Stubs stubs(Connect(server->grpc_address()));
  while (!Look(stubs, &watch)) {
    if (absl::Now() - began > absl::Seconds(absl::GetFlag(FLAGS_seconds_max))) {
      return absl::DeadlineExceededError(absl::StrCat("not serving yet\n", server->Output()));
    }
    // Seldom enough to take no time from the replay.
    absl::SleepFor(absl::Milliseconds(20));
  }
  const absl::Duration serving = absl::Now() - began;
  std::printf(
      "%ld examples of %d values beyond the checkpoint: listening after %.2f s, serving after "
      "%.2f s; %d times NOT_SERVING, %d predictions refused meanwhile\n",
      absl::GetFlag(FLAGS_examples), absl::GetFlag(FLAGS_feature_count),
      absl::ToDoubleSeconds(listening), absl::ToDoubleSeconds(serving), watch.not_serving,
      watch.refused);
  // A replay of a moment may be over before anybody looks.
  const bool seen = watch.not_serving > 0 || serving - listening < absl::Milliseconds(50);
  if (!seen) watch.violations.push_back("it was never NOT_SERVING");
  return ReportViolations(watch.violations);
}

}  // namespace
}  // namespace engram::net

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "timed_restart", engram::net::Run);
}
