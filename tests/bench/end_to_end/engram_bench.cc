// engram_bench: what a client sees, beside what the bare packages do with the same bytes in the
// same run.
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iostream>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/status_macros.h"
#include "strategies/api/compute.h"
#include "tests/bench/end_to_end/bare_roles.h"
#include "tests/bench/end_to_end/cases.h"
#include "tests/bench/end_to_end/flood.h"
#include "tests/testing/process/stubs.h"

ABSL_FLAG(std::string, cases, 
          "predict,predict_training,flood,learn,learn_training,publish,checkpoint",
          "which comparisons to run");
ABSL_FLAG(int, repetitions, 5, "turns of each side");
ABSL_FLAG(double, turn_seconds, 2, "length of a turn of Predict");
ABSL_FLAG(int, batch, 10, "examples a training step");
ABSL_FLAG(int, frames, 100, "messages of 256 examples in a turn of Learn");
ABSL_FLAG(int, steady_examples, 32, "examples a message of the stream beside timed predictions");
ABSL_FLAG(std::string, json, "", "file to write the figures to");
ABSL_FLAG(std::string, folder, "",
          "where the stores live; empty: a new folder for temporary files");
ABSL_FLAG(std::string, role, "", "used by the bench itself: bare_server, plain_trainer, flood");
ABSL_FLAG(std::string, file, "", "used by the bench itself");
ABSL_FLAG(std::string, address, "", "used by the bench itself");
ABSL_FLAG(int, reply_bytes, 0, "used by the bench itself");
ABSL_FLAG(absl::Duration, busy, absl::ZeroDuration(), "used by the bench itself");

namespace engram::bench {
namespace {

nlohmann::json Machine(const Run& run) {
  const testing::Stubs stubs(ConnectTo(run.opponents->engramd().grpc_address()));
  const auto server =
      testing::Call(*stubs.admin, &v1::Admin::Stub::GetServerInfo, v1::GetServerInfoRequest());
  return {{"cores", sysconf(_SC_NPROCESSORS_ONLN)},
          {"server_compute", server->compute_fingerprint()},
          {"bench_compute", strategies::DescribeCompute().Fingerprint()},
          {"rocksdb", server->rocksdb()},
          {"grpc", server->grpc()},
          {"repetitions", run.repetitions},
          {"batch", run.batch}};
}

absl::Status RunCases(const Run& run) {
  const struct {
    const char* name;
    absl::Status (*compare)(const Run&);
  } cases[] = {{"predict", PredictIdle}, {"predict_training", PredictWhileTraining},
               {"flood", PredictUnderFlood}, {"learn", LearnPaused},
               {"learn_training", LearnTraining}, {"publish", Publish},
               {"checkpoint", CheckpointAndRollback}};
  const std::vector<std::string> wanted = absl::StrSplit(absl::GetFlag(FLAGS_cases), ',');
  for (const auto& one : cases) {
    for (const std::string& name : wanted) {
      if (name == one.name) ENGRAM_RETURN_IF_ERROR(one.compare(run));
    }
  }
  return absl::OkStatus();
}

absl::Status Compare(const std::string& self, Results* results) {
  testing::ScratchFolder scratch;
  Run run;
  run.folder = absl::GetFlag(FLAGS_folder).empty() ? scratch.path() : absl::GetFlag(FLAGS_folder);
  run.results = results;
  run.repetitions = absl::GetFlag(FLAGS_repetitions);
  run.turn = absl::Seconds(absl::GetFlag(FLAGS_turn_seconds));
  run.batch = absl::GetFlag(FLAGS_batch);
  run.frames = static_cast<size_t>(absl::GetFlag(FLAGS_frames));
  run.steady_examples = static_cast<size_t>(absl::GetFlag(FLAGS_steady_examples));
  ENGRAM_ASSIGN_OR_RETURN(const auto opponents,
                          Opponents::Start(self, run.folder, static_cast<int>(run.batch)));
  ENGRAM_ASSIGN_OR_RETURN(const auto in_process, InProcessModel::Make(run.batch));
  run.opponents = opponents.get();
  run.in_process = in_process.get();
  ENGRAM_RETURN_IF_ERROR(Prepare(&run));
  const nlohmann::json machine = Machine(run);
  std::printf("%s\n", machine.dump().c_str());
  ENGRAM_RETURN_IF_ERROR(RunCases(run));
  if (!absl::GetFlag(FLAGS_json).empty()) {
    const nlohmann::json all = {{"machine", machine}, {"figures", results->ToJson()}};
    std::ofstream(absl::GetFlag(FLAGS_json)) << all.dump(2) << "\n";
  }
  return absl::OkStatus();
}

int Main(const std::string& self) {
  const std::string role = absl::GetFlag(FLAGS_role);
  if (role == "bare_server") {
    ServeBare(absl::GetFlag(FLAGS_file), absl::GetFlag(FLAGS_folder),
              absl::GetFlag(FLAGS_reply_bytes), absl::GetFlag(FLAGS_busy));
  } else if (role == "flood") {
    Flood(absl::GetFlag(FLAGS_address), absl::GetFlag(FLAGS_file));
  } else if (role == "plain_trainer") {
    TrainPlain(absl::GetFlag(FLAGS_file), absl::GetFlag(FLAGS_batch));
  }
  Results results;
  const absl::Status status = Compare(self, &results);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() && results.all_hold() ? 0 : 1;
}

}  // namespace
}  // namespace engram::bench

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as engramd
  absl::ParseCommandLine(argc, argv);
  return engram::bench::Main("/proc/self/exe");
}
