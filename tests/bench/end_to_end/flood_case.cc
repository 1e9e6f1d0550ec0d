#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/bench/end_to_end/cases.h"
#include "tests/bench/end_to_end/flood.h"
#include "tests/bench/end_to_end/loads.h"
#include "tests/testing/process/stubs.h"

namespace engram::bench {
namespace {

// What a caller may learn of what the flood sends: the rest is refused.
constexpr char kQuota[] = "quota { examples_per_second: 500 }";
constexpr absl::Duration kWarm = absl::Seconds(1);

struct Side {
  std::vector<double> p50;
  std::vector<double> p99;
  std::vector<double> flood_rate;
  size_t calls = 0;
};

// One turn: the flood comes up, then one client predicts, and every one of its calls must succeed.
absl::Status Turn(const Run& run, const std::string& address, const std::string& body, Side* side) {
  ENGRAM_ASSIGN_OR_RETURN(const auto flood, FloodProcess::Start("/proc/self/exe", address,
                                                                run.folder + "/flood.count"));
  const auto channel = ConnectTo(address);
  ENGRAM_RETURN_IF_ERROR(PredictFor(channel, body, kWarm).status());
  const double before = flood->Calls();
  ENGRAM_ASSIGN_OR_RETURN(const Latencies latencies, PredictFor(channel, body, run.turn));
  side->flood_rate.push_back((flood->Calls() - before) / absl::ToDoubleSeconds(run.turn));
  side->p50.push_back(latencies.At(0.5));
  side->p99.push_back(latencies.At(0.99));
  side->calls += latencies.count();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<testing::ServerProcess>> StartLimited(const Run& run) {
  testing::ServerOptions options;
  options.data_dir = run.folder + "/flooded";
  options.config = kQuota;
  mkdir(options.data_dir.c_str(), 0700);
  ENGRAM_ASSIGN_OR_RETURN(auto server, testing::ServerProcess::Start(options));
  const testing::Stubs stubs(ConnectTo(server->grpc_address()));
  v1::CreateModelRequest create;
  create.set_name(kFlooded);
  *create.mutable_spec() = ReferenceSpec(run.batch);
  const auto made = testing::Call(*stubs.models, &v1::Models::Stub::CreateModel, create);
  if (!made.ok()) return absl::InternalError(made.status.error_message());
  ENGRAM_RETURN_IF_ERROR(
      StreamAll(stubs.channel, kFlooded, "warm", MakeFrames(1, 2), 1).status());
  v1::WaitAppliedRequest wait;
  wait.set_model(kFlooded);
  const auto waited = testing::Call(*stubs.learning, &v1::Learning::Stub::WaitApplied, wait);
  if (!waited.ok()) return absl::InternalError(waited.status.error_message());
  return server;
}

}  // namespace

absl::Status PredictUnderFlood(const Run& run) {
  ENGRAM_ASSIGN_OR_RETURN(const auto limited, StartLimited(run));
  const std::string body = PredictBody(kFlooded);
  Side engram, echo;
  for (int i = 0; i < run.repetitions; ++i) {
    ENGRAM_RETURN_IF_ERROR(Turn(run, limited->grpc_address(), body, &engram));
    ENGRAM_RETURN_IF_ERROR(Turn(run, run.bare_address, body, &echo));
  }
  const nlohmann::json detail = {{"flooders", kFlooders},
                                 {"clients_that_never_read", kDeafClients},
                                 {"flood_calls_per_second", Median(engram.flood_rate)},
                                 {"flood_calls_per_second_bare", Median(echo.flood_rate)},
                                 {"calls", engram.calls},
                                 {"p99_of_each_turn", engram.p99},
                                 {"p99_of_each_turn_bare", echo.p99},
                                 {"errors", 0}};
  run.results->Add({"predict_p99_under_flood", "through the server", "on", "s",
                    Median(engram.p99), "bare echo p99 under the same flood", Median(echo.p99), 2.0,
                    absl::nullopt, detail});
  run.results->Add({"predict_p50_under_flood", "through the server", "on", "s",
                    Median(engram.p50), "bare echo p50 under the same flood", Median(echo.p50),
                    absl::nullopt, absl::nullopt, detail});
  return absl::OkStatus();
}

}  // namespace engram::bench
