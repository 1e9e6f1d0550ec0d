// bad_network: producers stream through proxies whose weather changes all the time - delay,
// throttle, pieces of a few bytes, cuts, resets, lost replies, half-open connections, black holes -
// and now and then the server itself is killed. In the end the log holds each example exactly once.
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/crash/final_state.h"
#include "tests/crash/harness.h"
#include "tests/net/net_run.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/tcp_proxy.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(double, seconds, 7200, "how long the weather changes");
ABSL_FLAG(double, blackhole_seconds, 30, "how long nothing passes, when nothing passes");
ABSL_FLAG(int, delay_ms, 500, "longest delay, each way");
ABSL_FLAG(int, kill_one_in, 60, "how seldom a change of weather is a kill -9; 0 = never");
ABSL_FLAG(double, examples_rate, 1000, "examples a second of each of the four producers");

namespace engram::net {
namespace {

using testing::TcpProxy;

constexpr absl::Duration kArrival = absl::Minutes(1);

struct Line {
  std::unique_ptr<TcpProxy> proxy;
  crash::AddressBook address;
  std::unique_ptr<crash::Producer> producer;
};

struct Play {
  uint64_t seed = 0;
  std::string folder;
  std::unique_ptr<testing::ServerProcess> server;
  std::vector<std::unique_ptr<Line>> lines;
  std::map<std::string, int> happened;
};

TcpProxy::Cut HowOf(uint64_t draw) {
  return (draw & 1) == 0 ? TcpProxy::Cut::kClose : TcpProxy::Cut::kReset;
}
TcpProxy::Way WayOf(uint64_t draw) {
  return (draw & 1) == 0 ? TcpProxy::Way::kUp : TcpProxy::Way::kDown;
}

// What a line's weather is until its next change. Returns its name.
const char* ChangeWeather(TcpProxy* proxy, uint64_t draw, TcpProxy::Weather* weather) {
  switch (draw % 5) {
    case 0:
      weather->delay = absl::Milliseconds(1 + (draw >> 8) % absl::GetFlag(FLAGS_delay_ms));
      return "delay";
    case 1:
      weather->bytes_per_second = 2000 + static_cast<int64_t>((draw >> 8) % 200000);
      return "throttle";
    case 2:
      weather->chunk_bytes = 1 + static_cast<int64_t>((draw >> 8) % 32);
      return "pieces";
    case 3:
      proxy->CutNewConnectionsAfter(WayOf(draw >> 8), static_cast<int64_t>((draw >> 9) % 60000),
                                    HowOf(draw >> 40));
      return "cut after some bytes";
    default:
      return "calm";
  }
}

// What happens to a line at this moment. Returns its name.
const char* Strike(TcpProxy* proxy, uint64_t draw) {
  switch (draw % 4) {
    case 0:
      proxy->CutAll(HowOf(draw >> 8));
      return "cut";
    case 1:
      proxy->CutBeforeNextReply(HowOf(draw >> 8));
      return "lost reply";
    case 2:
      // The producer would wait for ever on a connection that only it believes in, so that one is
      // ended with the next change.
      proxy->LeaveHalfOpen(WayOf(draw >> 8));
      return "half open";
    default:
      return "no strike";
  }
}

void ChangeLine(Play* play, Line* line, uint64_t draw) {
  line->proxy->LetNewConnectionsLive();
  TcpProxy::Weather weather;
  ++play->happened[ChangeWeather(line->proxy.get(), draw, &weather)];
  line->proxy->SetWeather(weather);
  const char* strike = Strike(line->proxy.get(), draw >> 48);
  ++play->happened[strike];
}

void BlackHole(Play* play, Line* line) {
  ++play->happened["black hole"];
  TcpProxy::Weather weather;
  weather.blackhole = true;
  line->proxy->SetWeather(weather);
  absl::SleepFor(absl::Seconds(absl::GetFlag(FLAGS_blackhole_seconds)));
  line->proxy->SetWeather({});
}

absl::Status KillServer(Play* play) {
  ++play->happened["kill -9"];
  play->server->Kill();
  ENGRAM_ASSIGN_OR_RETURN(play->server, StartServer(play->folder, {"plain", "replay-ewc"}));
  for (const auto& line : play->lines) line->proxy->SetTarget(play->server->grpc_address());
  return absl::OkStatus();
}

uint64_t Streams(const Play& play) {
  uint64_t streams = 0;
  for (const auto& line : play.lines) streams += line->producer->streams();
  return streams;
}

// A line must have had a stream that weather can break.
absl::Status AwaitFirstAcks(const Play& play) {
  const absl::Time late = absl::Now() + kArrival;
  for (const auto& line : play.lines) {
    while (line->producer->acked() == 0) {
      if (absl::Now() > late) return absl::DeadlineExceededError("a producer gets no ack");
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  return absl::OkStatus();
}

// For as long as asked, and on a slow machine until a stream was broken.
absl::Status Rage(Play* play) {
  ENGRAM_RETURN_IF_ERROR(AwaitFirstAcks(*play));
  const absl::Time end = absl::Now() + absl::Seconds(absl::GetFlag(FLAGS_seconds));
  const auto kill_one_in = static_cast<uint64_t>(absl::GetFlag(FLAGS_kill_one_in));
  const auto goes_on = [&] {
    const absl::Time now = absl::Now();
    return now < end || (now < end + kArrival && Streams(*play) <= play->lines.size());
  };
  for (uint64_t turn = 0; goes_on(); ++turn) {
    const uint64_t draw = testing::Mix(play->seed + 0x77 * turn);
    Line* line = play->lines[turn % play->lines.size()].get();
    // Ends what was left half open, too.
    if (draw % 3 == 0) line->proxy->CutAll(HowOf(draw >> 2));
    ChangeLine(play, line, testing::Mix(draw));
    if (draw >> 16 & 1) absl::SleepFor(absl::Milliseconds((draw >> 17) % 150));
    if ((draw >> 32) % 50 == 49) BlackHole(play, line);
    if (kill_one_in > 0 && (draw >> 40) % kill_one_in == kill_one_in - 1) {
      ENGRAM_RETURN_IF_ERROR(KillServer(play));
    }
  }
  return absl::OkStatus();
}

absl::Status Begin(Play* play) {
  ENGRAM_ASSIGN_OR_RETURN(play->server, StartServer(play->folder, {}));
  for (const auto& [model, spec] : crash::CrashModels()) {
    ENGRAM_RETURN_IF_ERROR(CreateModel(play->server->grpc_address(), model, spec));
    for (int i = 0; i < 2; ++i) {
      auto line = std::make_unique<Line>();
      ENGRAM_ASSIGN_OR_RETURN(line->proxy, TcpProxy::Start());
      line->proxy->SetTarget(play->server->grpc_address());
      line->address.Set(line->proxy->address());
      crash::ProducerOptions options;
      options.model = model;
      options.plan = {play->seed, absl::StrCat(model, "-", i), i == 0};
      options.ledger_file = absl::StrCat(play->folder, ".ledger.", options.plan.producer);
      options.examples_per_second = absl::GetFlag(FLAGS_examples_rate);
      line->producer = std::make_unique<crash::Producer>(std::move(options), &line->address);
      play->lines.push_back(std::move(line));
    }
  }
  return absl::OkStatus();
}

absl::Status ClearUp(Play* play) {
  for (const auto& line : play->lines) {
    line->proxy->LetNewConnectionsLive();
    line->proxy->SetWeather({});
    line->proxy->CutAll(TcpProxy::Cut::kClose);
  }
  for (const auto& line : play->lines) {
    if (line->producer->Finish()) continue;
    return absl::InternalError(absl::StrCat(line->producer->options().plan.producer,
                                            " could not finish\n", play->server->Output()));
  }
  return DrainToZero(play->server.get());
}

absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, uint64_t seed) {
  Play play;
  play.seed = seed;
  play.folder = scratch.Subfolder("server");
  ENGRAM_RETURN_IF_ERROR(Begin(&play));
  ENGRAM_RETURN_IF_ERROR(Rage(&play));
  ENGRAM_RETURN_IF_ERROR(ClearUp(&play));
  for (const auto& [what, times] : play.happened) std::printf("%s: %d\n", what.c_str(), times);
  const uint64_t streams = Streams(play);
  std::vector<const crash::Producer*> producers;
  for (const auto& line : play.lines) producers.push_back(line->producer.get());
  std::printf("%lu streams of %zu producers\n", streams, producers.size());
  ENGRAM_ASSIGN_OR_RETURN(const bool good, JudgeProducers(play.folder, producers));
  return good && streams > play.lines.size();
}

}  // namespace
}  // namespace engram::net

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "bad_network", engram::net::Run);
}
