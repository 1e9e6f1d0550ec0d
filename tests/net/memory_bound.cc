// memory_bound: what a server holds stays below what its limits add up to, whatever comes: 64
// producers that stream the largest messages it takes as fast as it takes them, 64 that send and
// never read an answer, and a flood of predictions, by gRPC and as JSON by HTTP, all at once. One
// client beside them asks for a prediction again and again and must get each. Memory does not grow
// over the second half, and once the flood is over nothing of it is on its way any more. What it
// took stays with the allocator for the next one, so how much is resident then is printed and not
// judged.
//
// The canary is the same flood on a server whose limits are as wide as they can be set: it must go
// through the bound, or the bound says nothing.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "server/http_exchange.h"
#include "storage/base/mutex.h"
#include "storage/base/status_macros.h"
#include "tests/crash/harness.h"
#include "tests/net/load.h"
#include "tests/net/net_run.h"
#include "tests/net/witness.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/toy_examples.h"
#include "tests/testing/server_edge/http_exchange.h"

ABSL_FLAG(double, seconds, 60, "how long the flood lasts");
ABSL_FLAG(double, canary_seconds, 30, "the longest that the canary may take; 0 = none");
ABSL_FLAG(bool, strict, true,
          "every prediction in time and no growth over the second half; without it the bound, and "
          "that predictions are answered at all");
ABSL_FLAG(int, clients, 64, "producers that flood, and as many that never read");
ABSL_FLAG(int64_t, examples_rate, 2000, "examples a second that the server lets in: 16 KiB each");

namespace engram::net {
namespace {

constexpr char kModel[] = "flooded";
constexpr int64_t kFeatures = 4096;
constexpr int kExamples = 15;  // in the largest message
constexpr int kPredictors = 8;
constexpr int kHttpCallers = 8;
constexpr int kHttpValues = 1'000'000;  // 5 MB as JSON: three such fill what HTTP may hold
constexpr int64_t kMemorySize = 500;
constexpr int64_t kMiB = int64_t{1} << 20;
constexpr absl::Duration kSampleEvery = absl::Milliseconds(20);
// One that fails to come this long was not answered.
constexpr absl::Duration kPredictPatience = absl::Seconds(10);
constexpr absl::Duration kArrival = absl::Seconds(30);
constexpr absl::Duration kRestPatience = absl::Seconds(20);

struct Limits {
  int64_t message_bytes = 256 << 10;
  int64_t queue_bytes = 8 * kMiB;
  int64_t in_flight_bytes = 16 * kMiB;
  int64_t unacked_bytes = kMiB;
  int64_t unacked_messages = 256;
  int64_t write_patience_seconds = 5;
  int64_t examples_per_second = 0;  // 0: no quota

  std::string Config() const {
    return absl::StrCat("limits { message_bytes: ", message_bytes, " queue_bytes: ", queue_bytes,
                        " in_flight_bytes: ", in_flight_bytes, " unacked_bytes: ", unacked_bytes,
                        " unacked_messages: ", unacked_messages,
                        " write_patience_seconds: ", write_patience_seconds,
                        " } quota { examples_per_second: ", examples_per_second, " }");
  }
};

Limits Off() {
  Limits off;
  off.queue_bytes = off.in_flight_bytes = 4096 * kMiB;
  off.unacked_bytes = 1024 * kMiB;
  off.unacked_messages = 65536;
  off.write_patience_seconds = 300;
  return off;
}

// Sessions of threads that may hang in one, to be cut off from outside.
class Sessions {
 public:
  bool stopped() const { return stopped_; }
  // Null once stopped.
  std::shared_ptr<testing::LearnSession> New(const std::shared_ptr<grpc::Channel>& channel) {
    auto session = std::make_shared<testing::LearnSession>(channel);
    base::MutexLock lock(&mutex_);
    if (stopped_) return nullptr;
    open_.push_back(session);
    return session;
  }
  void Stop() {
    base::MutexLock lock(&mutex_);
    stopped_ = true;
    for (const auto& each : open_) {
      if (const auto session = each.lock()) session->Cancel();
    }
  }

 private:
  std::atomic<bool> stopped_{false};
  base::Mutex mutex_;
  std::vector<std::weak_ptr<testing::LearnSession>> open_ ABSL_GUARDED_BY(mutex_);
};

struct Counts {
  std::atomic<int> arrived{0};  // streams that were opened
  std::atomic<uint64_t> messages{0};     // written by those that flood
  std::atomic<uint64_t> unread{0};       // by those that never read
  std::atomic<uint64_t> predictions{0};  // of the flood
  std::atomic<uint64_t> bodies{0};       // by HTTP, and answered, whatever the answer
};

class Flood {
 public:
  Flood(std::string address, std::string http_address)
      : address_(std::move(address)), http_address_(std::move(http_address)) {}

  // Returns once everybody is connected.
  void Start() {
    const int clients = absl::GetFlag(FLAGS_clients);
    const auto add = [this](int count, void (Flood::*body)(int)) {
      for (auto& thread : StartGently(count, [this, body](int i) { (this->*body)(i); })) {
        threads_.push_back(std::move(thread));
      }
    };
    add(clients, &Flood::Stream);
    add(clients, &Flood::NeverRead);
    add(kPredictors, &Flood::Predict);
    add(kHttpCallers, &Flood::PostJson);
    const absl::Time late = absl::Now() + kArrival;
    while (counts_.arrived < 2 * clients && absl::Now() < late) {
      absl::SleepFor(absl::Milliseconds(5));
    }
  }
  void Stop() {
    sessions_.Stop();
    JoinAll(&threads_);
  }
  const Counts& counts() const { return counts_; }

 private:
  bool OpenOrPause(testing::LearnSession* session, const std::string& producer) {
    if (session->Open(kModel, producer)) {
      ++counts_.arrived;
      return true;
    }
    absl::SleepFor(absl::Milliseconds(20));
    return false;
  }

  void Stream(int client) {
    const auto channel = Connect(address_);
    v1::LearnMessage message;
    const testing::ToyShape shape{kFeatures, 7, 1.5F};
    for (int i = 0; i < kExamples; ++i) {
      *message.add_examples() = testing::ToyExample(shape, i % 4, static_cast<uint64_t>(i));
    }
    while (const auto session = sessions_.New(channel)) {
      if (!OpenOrPause(session.get(), absl::StrCat("flooder-", client))) continue;
      std::thread reader([session] {
        for (v1::LearnAck ack; session->ReadAck(&ack);) ack.Clear();
      });
      uint64_t sequence = session->welcome().last_producer_sequence();
      do {
        message.set_producer_sequence(++sequence);
        ++counts_.messages;
      } while (session->Write(message));
      session->Cancel();
      reader.join();
    }
  }

  // Messages without examples: each is rejected with an answer of its own.
  void NeverRead(int client) {
    const auto channel = Connect(address_);
    v1::LearnMessage message;
    while (const auto session = sessions_.New(channel)) {
      if (!OpenOrPause(session.get(), absl::StrCat("deaf-", client))) continue;
      uint64_t sequence = session->welcome().last_producer_sequence();
      do {
        message.set_producer_sequence(++sequence);
        ++counts_.unread;
      } while (session->Write(message));
      session->Cancel();
    }
  }

  void Predict(int /*client*/) {
    const testing::Stubs stubs(Connect(address_));
    const v1::PredictRequest request = Rows(kExamples);
    while (!sessions_.stopped()) {
      testing::Call(*stubs.prediction, &v1::Prediction::Stub::Predict, request, kPredictPatience);
      ++counts_.predictions;
    }
  }

  void PostJson(int /*client*/) {
    std::string body = R"({"features":{"values":[1)";
    for (int i = 1; i < kHttpValues; ++i) body += ",1.25";
    body += "]}}";
    const std::string request = absl::StrCat(
        "POST /v1/models/", kModel, "/predict HTTP/1.1\r\nHost: ", http_address_,
        "\r\nContent-Type: application/json\r\nContent-Length: ", body.size(), "\r\n\r\n", body);
    while (!sessions_.stopped()) {
      if (!testing::HttpExchange(http_address_, request).empty()) ++counts_.bodies;
    }
  }

  static v1::PredictRequest Rows(int64_t count) {
    v1::PredictRequest request;
    request.set_model(kModel);
    request.mutable_features()->set_dense(testing::ToyRows(
        {kFeatures, 7, 1.5F}, std::vector<int64_t>(static_cast<size_t>(count), 1), 1));
    return request;
  }

  const std::string address_;
  const std::string http_address_;
  Sessions sessions_;
  Counts counts_;
  std::vector<std::thread> threads_;
};

absl::StatusOr<std::unique_ptr<testing::ServerProcess>> StartLimited(const std::string& folder,
                                                                     const Limits& limits) {
  testing::ServerOptions options;
  options.data_dir = folder;
  options.config = limits.Config();
  ENGRAM_ASSIGN_OR_RETURN(auto server, testing::ServerProcess::Start(std::move(options)));
  v1::ModelSpec spec;
  spec.set_feature_count(kFeatures);
  spec.mutable_mlp()->add_hidden(8);
  spec.set_held_out_fraction(0);
  spec.add_strategies()->mutable_experience_replay()->set_memory_size(kMemorySize);
  ENGRAM_RETURN_IF_ERROR(CreateModel(server->grpc_address(), kModel, spec));
  const auto learned =
      testing::CallRaw(Connect(server->grpc_address()), "/engram.v1.Learning/LearnBatch",
                       LearnBatchBody(kModel, "first", 1, kExamples, kFeatures));
  if (!learned.status.ok()) return absl::InternalError(learned.status.error_message());
  const testing::Stubs stubs(Connect(server->grpc_address()));
  v1::WaitAppliedRequest wait;
  wait.set_model(kModel);
  const auto waited = testing::Call(*stubs.learning, &v1::Learning::Stub::WaitApplied, wait);
  if (!waited.ok()) return absl::InternalError(waited.status.error_message());
  return server;
}

// Everything that the limits let the server hold at once, beside what it holds at rest.
int64_t Bound(int64_t at_rest, const Limits& limits) {
  const int64_t callers = 2 * absl::GetFlag(FLAGS_clients) + kPredictors + 1;
  const std::vector<std::pair<const char*, int64_t>> terms = {
      {"at rest", at_rest},
      {"gRPC's buffers, as its memory quota has them", 256 * kMiB},
      {"limits.in_flight_bytes, parsed", limits.in_flight_bytes},
      {"limits.queue_bytes, as records", limits.queue_bytes},
      {"limits.message_bytes of each caller, as it came and parsed",
       2 * callers * limits.message_bytes},
      // An answer names its message and says in a sentence what is wrong.
      {"limits.unacked_messages of each stream, 1 KiB each",
       2 * absl::GetFlag(FLAGS_clients) * limits.unacked_messages * 1024},
      {"http.bytes: bodies, read, and replies", server::kHttpBytesMax},
      {"the store's write buffers and cache", (3 * 64 + 2 * 2 * 16 + 3 * 2 * 8 + 32) * kMiB},
      {"episodic memory, as kept and as stored", 2 * kMemorySize * (4 * kFeatures + 100)},
  };
  int64_t bound = 0;
  for (const auto& [what, bytes] : terms) {
    std::printf("  %8.1f MiB  %s\n", static_cast<double>(bytes) / kMiB, what);
    bound += bytes;
  }
  std::printf("  %8.1f MiB  in all\n", static_cast<double>(bound) / kMiB);
  std::fflush(stdout);
  return bound;
}

// Bytes, every kSampleEvery, for so long, or until one exceeds `stop_above`.
absl::StatusOr<std::vector<double>> Sample(pid_t pid, absl::Duration time, int64_t stop_above) {
  std::vector<double> samples;
  for (const absl::Time end = absl::Now() + time; absl::Now() < end;) {
    ENGRAM_ASSIGN_OR_RETURN(const int64_t bytes, ResidentBytes(pid));
    samples.push_back(static_cast<double>(bytes));
    if (bytes > stop_above) break;
    absl::SleepFor(kSampleEvery);
  }
  return samples;
}

// What is resident once nothing is on its way into the log.
absl::StatusOr<double> AfterTheFlood(const testing::ServerProcess& server) {
  for (const absl::Time end = absl::Now() + kRestPatience; absl::Now() < end;) {
    ENGRAM_ASSIGN_OR_RETURN(const double in_flight,
                            MetricSum(server.http_address(), "engram_in_flight_bytes"));
    if (in_flight > 0) {
      absl::SleepFor(absl::Milliseconds(100));
      continue;
    }
    ENGRAM_ASSIGN_OR_RETURN(const int64_t bytes, ResidentBytes(server.pid()));
    return static_cast<double>(bytes);
  }
  return absl::DeadlineExceededError("the flood is over, and some of it is still in flight");
}

bool Check(bool good, const std::string& what) {
  std::printf("  %s: %s\n", good ? "yes" : "NO ", what.c_str());
  std::fflush(stdout);
  return good;
}

std::string InMiB(double bytes) { return absl::StrCat(static_cast<int64_t>(bytes / kMiB), " MiB"); }

bool Judge(const std::vector<double>& samples, double rest, double bound, const Counts& counts,
           const WitnessAccount& witness) {
  const double peak = *std::max_element(samples.begin(), samples.end());
  const std::vector<double> second_half(
      samples.begin() + static_cast<std::ptrdiff_t>(samples.size() / 2), samples.end());
  const double rise = RisePerSecond(second_half, kSampleEvery) * absl::GetFlag(FLAGS_seconds) / 2;
  std::printf("%lu large messages, %lu never answered to, %lu predictions of a flood, %lu bodies "
              "by HTTP, %lu predictions beside it, the longest %.3f s\n",
              counts.messages.load(), counts.unread.load(), counts.predictions.load(),
              counts.bodies.load(), witness.answered, absl::ToDoubleSeconds(witness.longest));
  if (witness.refused > 0) {
    std::printf("%lu predictions refused, first: %s\n", witness.refused,
                witness.first_error.c_str());
  }
  bool good = Check(peak <= bound, absl::StrCat("at most ", InMiB(peak), ", bound ", InMiB(bound)));
  good &= Check(witness.answered > 0, "predictions were answered");
  good &= Check(counts.bodies > 0, "bodies by HTTP were answered");
  if (!absl::GetFlag(FLAGS_strict)) return good;
  good &= Check(rise <= 0.1 * (bound - rest),
                absl::StrCat("rose by ", InMiB(rise), " over the second half"));
  good &= Check(witness.refused == 0, absl::StrCat(witness.refused, " predictions refused"));
  return good;
}

absl::StatusOr<bool> Limited(const std::string& folder, int64_t* bound) {
  Limits limits;
  limits.examples_per_second = absl::GetFlag(FLAGS_examples_rate);
  ENGRAM_ASSIGN_OR_RETURN(const auto server, StartLimited(folder, limits));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t rest, ResidentBytes(server->pid()));
  *bound = Bound(rest, limits);
  Flood flood(server->grpc_address(), server->http_address());
  ENGRAM_ASSIGN_OR_RETURN(
      Witness witness,
      Witness::Start(server->grpc_address(), kModel, kFeatures, folder + ".witness"));
  flood.Start();
  const auto samples = Sample(server->pid(), absl::Seconds(absl::GetFlag(FLAGS_seconds)),
                              std::numeric_limits<int64_t>::max());
  const auto account = witness.Stop();
  flood.Stop();
  ENGRAM_RETURN_IF_ERROR(samples.status());
  ENGRAM_RETURN_IF_ERROR(account.status());
  ENGRAM_ASSIGN_OR_RETURN(const double after, AfterTheFlood(*server));
  const bool good = Judge(*samples, static_cast<double>(rest), static_cast<double>(*bound),
                          flood.counts(), *account);
  std::printf("  %s resident afterwards, %s before\n", InMiB(after).c_str(),
              InMiB(static_cast<double>(rest)).c_str());
  ENGRAM_RETURN_IF_ERROR(DrainToZero(server.get()));
  return good;
}

// True when the bound was broken, as it must be.
absl::StatusOr<bool> Canary(const std::string& folder, int64_t bound) {
  ENGRAM_ASSIGN_OR_RETURN(const auto server, StartLimited(folder, Off()));
  Flood flood(server->grpc_address(), server->http_address());
  flood.Start();
  const auto samples =
      Sample(server->pid(), absl::Seconds(absl::GetFlag(FLAGS_canary_seconds)), bound);
  server->Kill();
  flood.Stop();
  ENGRAM_RETURN_IF_ERROR(samples.status());
  const double peak = *std::max_element(samples->begin(), samples->end());
  return Check(peak > static_cast<double>(bound),
               absl::StrCat("with the limits off it goes beyond the bound: ", InMiB(peak)));
}

absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, uint64_t /*seed*/) {
  int64_t bound = 0;
  ENGRAM_ASSIGN_OR_RETURN(const bool good, Limited(scratch.Subfolder("limited"), &bound));
  if (absl::GetFlag(FLAGS_canary_seconds) == 0) return good;
  ENGRAM_ASSIGN_OR_RETURN(const bool caught, Canary(scratch.Subfolder("canary"), bound));
  return good && caught;
}

}  // namespace
}  // namespace engram::net

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  if (engram::net::ActAsWitness()) return 0;
  return engram::crash::RunHarness(argc, argv, "memory_bound", engram::net::Run);
}
