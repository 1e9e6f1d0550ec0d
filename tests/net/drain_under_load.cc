// drain_under_load: SIGTERM while four producers stream, again and again; every other time a second
// SIGTERM follows. The server ends with 0 in time, the next start has next to nothing to replay,
// and in the end the log holds each example exactly once.
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/crash/final_state.h"
#include "tests/crash/harness.h"
#include "tests/net/net_run.h"
#include "tests/testing/process/http_get.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(int, cycles, 100, "how often the server is drained");
ABSL_FLAG(double, drain_seconds_max, 10, "a drain that takes longer fails");
ABSL_FLAG(double, replay_seconds_max, 1, "a start that replays for longer fails");
ABSL_FLAG(double, examples_rate, 3000, "examples a second of each of the four producers");

namespace engram::net {
namespace {

struct Worst {
  double drain_seconds = 0;
  double replay_seconds = 0;
  double replayed_examples = 0;
};

struct Play {
  uint64_t seed = 0;
  std::string folder;
  crash::AddressBook address;
  std::vector<std::unique_ptr<crash::Producer>> producers;
  Worst worst_patient;  // one SIGTERM
  Worst worst_hurried;  // two
};

std::vector<std::string> Models() {
  std::vector<std::string> names;
  for (const auto& [name, spec] : crash::CrashModels()) names.push_back(name);
  return names;
}

// The largest value of a metric over its labels.
absl::StatusOr<double> Largest(const std::string& http_address, const std::string& metric) {
  ENGRAM_ASSIGN_OR_RETURN(const auto page, testing::HttpGet(http_address, "/metrics"));
  double largest = -1;
  for (const absl::string_view line : absl::StrSplit(page.body, '\n')) {
    double value = 0;
    if (!absl::StartsWith(line, metric + "{")) continue;
    if (!absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) continue;
    largest = std::max(largest, value);
  }
  if (largest < 0) return absl::NotFoundError(absl::StrCat("no ", metric, " in /metrics"));
  return largest;
}

absl::Status NoteReplay(const testing::ServerProcess& server, Worst* worst) {
  ENGRAM_ASSIGN_OR_RETURN(const double seconds,
                          Largest(server.http_address(), "engram_recovery_seconds"));
  ENGRAM_ASSIGN_OR_RETURN(const double examples,
                          Largest(server.http_address(), "engram_recovery_replayed_examples"));
  worst->replay_seconds = std::max(worst->replay_seconds, seconds);
  worst->replayed_examples = std::max(worst->replayed_examples, examples);
  return absl::OkStatus();
}

absl::Status DrainAmidLoad(testing::ServerProcess* server, bool hurried, uint64_t draw,
                           Worst* worst) {
  const absl::Time began = absl::Now();
  ENGRAM_RETURN_IF_ERROR(server->Signal(SIGTERM));
  if (hurried) {
    absl::SleepFor(absl::Milliseconds(draw % 40));
    // It may have ended by now.
    (void)server->Signal(SIGTERM);
  }
  const absl::Duration patience = absl::Seconds(absl::GetFlag(FLAGS_drain_seconds_max));
  while (!server->Poll().has_value()) {
    if (absl::Now() - began > patience) {
      return absl::DeadlineExceededError(absl::StrCat("still draining\n", server->Output()));
    }
    absl::SleepFor(absl::Milliseconds(1));
  }
  worst->drain_seconds =
      std::max(worst->drain_seconds, absl::ToDoubleSeconds(absl::Now() - began));
  const int code = server->Poll()->code;
  if (code == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("exit code ", code, "\n", server->Output()));
}

void StartProducers(Play* play) {
  for (const std::string& model : Models()) {
    for (int i = 0; i < 2; ++i) {
      crash::ProducerOptions options;
      options.model = model;
      options.plan = {play->seed, absl::StrCat(model, "-", i), i == 0};
      options.ledger_file = absl::StrCat(play->folder, ".ledger.", options.plan.producer);
      options.examples_per_second = absl::GetFlag(FLAGS_examples_rate);
      play->producers.push_back(
          std::make_unique<crash::Producer>(std::move(options), &play->address));
    }
  }
}

absl::Status Live(Play* play) {
  Worst* before = nullptr;
  for (int cycle = 0; cycle < absl::GetFlag(FLAGS_cycles); ++cycle) {
    const uint64_t draw = testing::Mix(play->seed + static_cast<uint64_t>(cycle));
    ENGRAM_ASSIGN_OR_RETURN(auto server,
                            StartServer(play->folder, cycle == 0 ? std::vector<std::string>{}
                                                                 : Models()));
    if (cycle == 0) {
      ENGRAM_RETURN_IF_ERROR(crash::CreateModels(*server));
      StartProducers(play);
    } else {
      ENGRAM_RETURN_IF_ERROR(NoteReplay(*server, before));
    }
    play->address.Set(server->grpc_address());
    absl::SleepFor(absl::Milliseconds(100 + draw % 200));
    const bool hurried = cycle % 2 == 1;
    before = hurried ? &play->worst_hurried : &play->worst_patient;
    ENGRAM_RETURN_IF_ERROR(DrainAmidLoad(server.get(), hurried, draw >> 16, before));
    play->address.Set("");
  }
  ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer(play->folder, Models()));
  ENGRAM_RETURN_IF_ERROR(NoteReplay(*server, before));
  play->address.Set(server->grpc_address());
  for (const auto& producer : play->producers) {
    if (producer->Finish()) continue;
    return absl::InternalError(
        absl::StrCat(producer->options().plan.producer, " could not finish\n", server->Output()));
  }
  return DrainToZero(server.get());
}

bool ReportWorst(const char* what, const Worst& worst) {
  std::printf("%s: longest drain %.3f s; longest replay %.3f s, of %.0f examples\n", what,
              worst.drain_seconds, worst.replay_seconds, worst.replayed_examples);
  return worst.replay_seconds <= absl::GetFlag(FLAGS_replay_seconds_max);
}

absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, uint64_t seed) {
  Play play;
  play.seed = seed;
  play.folder = scratch.Subfolder("server");
  ENGRAM_RETURN_IF_ERROR(Live(&play));
  const bool patient = ReportWorst("one SIGTERM", play.worst_patient);
  const bool hurried = ReportWorst("two SIGTERM", play.worst_hurried);
  std::vector<const crash::Producer*> producers;
  for (const auto& producer : play.producers) producers.push_back(producer.get());
  ENGRAM_ASSIGN_OR_RETURN(const bool good, JudgeProducers(play.folder, producers));
  return good && patient && hurried;
}

}  // namespace
}  // namespace engram::net

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "drain_under_load", engram::net::Run);
}
