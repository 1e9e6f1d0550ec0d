// overload: ten times as many producers as the server can have in flight. What it refuses it
// refuses in words (RESOURCE_EXHAUSTED, which limit, when to come back), what it acks it keeps, it
// goes on storing nearly as much as before, and once the crowd has gone it stores as much as ever.
//
// Throughput is measured in the same run, of the same producers, through the same calls.
//
// The canary is the same crowd before a server whose limits are as wide as they can be set: nothing
// is refused, and that must be called a failure.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "google/rpc/error_details.pb.h"
#include "server/record_kind.h"
#include "storage/base/mutex.h"
#include "storage/base/status_macros.h"
#include "tests/crash/harness.h"
#include "tests/crash/stored_models.h"
#include "tests/net/load.h"
#include "tests/net/net_run.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(double, seconds, 60, "how long the overload lasts");
ABSL_FLAG(double, measure_seconds, 5, "how long throughput is measured before");
ABSL_FLAG(double, recover_seconds_max, 5, "throughput that is not back by then fails");
ABSL_FLAG(double, goodput_min, 0.8, "share of the throughput before that is kept, and comes back");
ABSL_FLAG(int, clients, 16, "producers before and after; ten times as many at once in between");
ABSL_FLAG(double, canary_seconds, 2, "how long the canary lasts; 0 = none");

namespace engram::net {
namespace {

constexpr char kModel[] = "crowded";
constexpr int kCrowd = 10;
constexpr int64_t kFeatures = 256;
constexpr int kExamples = 32;  // a message
// For everybody to be connected and answered once.
constexpr absl::Duration kArrival = absl::Seconds(30);
constexpr int64_t kInFlightBytes = 1 << 20;

std::string Config(int64_t in_flight_bytes) {
  return absl::StrCat("limits { message_bytes: 65536 queue_bytes: ", in_flight_bytes,
                      " in_flight_bytes: ", in_flight_bytes, " }");
}

// What all producers together were told.
struct Tally {
  std::atomic<int64_t> acked{0};  // examples
  std::atomic<int64_t> refused{0};
  std::atomic<int> arrived{0};  // producers of this crowd that have had an answer
  base::Mutex mutex;
  std::vector<std::string> violations ABSL_GUARDED_BY(mutex);

  void Violation(std::string what) {
    base::MutexLock lock(&mutex);
    violations.push_back(std::move(what));
  }
};

// One producer of unary calls, each sent until it is taken. Its own thread while it runs.
class Sender {
 public:
  Sender(const std::string& address, int number)
      : producer_(absl::StrCat("producer-", number)), stubs_(Connect(address)) {
    request_.set_model(kModel);
    request_.set_producer(producer_);
    const testing::ToyShape shape{kFeatures, 7, 1.5F};
    for (int i = 0; i < kExamples; ++i) {
      *request_.add_examples() = testing::ToyExample(shape, i % 4, static_cast<uint64_t>(i));
    }
  }

  void Run(const std::atomic<bool>& stop, Tally* tally) {
    for (bool first = true; !stop; first = false) {
      request_.set_producer_sequence(acked_ + 1);
      for (int i = 0; i < kExamples; ++i) {
        request_.mutable_examples(i)->set_id(absl::StrCat(acked_ + 1, ".", i));
      }
      const auto answer =
          testing::Call(*stubs_.learning, &v1::Learning::Stub::LearnBatch, request_);
      if (first) ++tally->arrived;
      if (answer.ok()) {
        ++acked_;
        tally->acked += kExamples;
        continue;
      }
      ++tally->refused;
      absl::SleepFor(PauseOf(answer.status, tally));
    }
  }

  const std::string& producer() const { return producer_; }
  uint64_t acked() const { return acked_; }  // messages

 private:
  // What a refusal asks for; one that is not as promised is a violation.
  absl::Duration PauseOf(const grpc::Status& status, Tally* tally) {
    const auto retry = testing::FindDetail<google::rpc::RetryInfo>(status);
    const auto quota = testing::FindDetail<google::rpc::QuotaFailure>(status);
    const bool named = quota.has_value() && quota->violations_size() > 0 &&
                       !quota->violations(0).subject().empty();
    if (status.error_code() == grpc::RESOURCE_EXHAUSTED && retry.has_value() && named) {
      const auto& delay = retry->retry_delay();
      const absl::Duration pause =
          absl::Seconds(delay.seconds()) + absl::Nanoseconds(delay.nanos());
      if (pause > absl::ZeroDuration()) return std::min(pause, absl::Seconds(1));
    }
    tally->Violation(absl::StrCat(producer_, ": refused with ", status.error_code(), " ",
                                  status.error_message(), retry.has_value() ? "" : ", no RetryInfo",
                                  named ? "" : ", no QuotaFailure"));
    return absl::Milliseconds(100);
  }

  const std::string producer_;
  const testing::Stubs stubs_;
  v1::LearnBatchRequest request_;
  uint64_t acked_ = 0;
};

// The first `count` senders, for as long as it lives.
class Crowd {
 public:
  // Returns once all are there.
  Crowd(const std::vector<std::unique_ptr<Sender>>& senders, int count, Tally* tally) {
    tally->arrived = 0;
    threads_ = StartGently(count, [this, &senders, tally](int i) {
      senders[static_cast<size_t>(i)]->Run(stop_, tally);
    });
    const absl::Time late = absl::Now() + kArrival;
    while (tally->arrived < count && absl::Now() < late) absl::SleepFor(absl::Milliseconds(5));
  }
  ~Crowd() {
    stop_ = true;
    JoinAll(&threads_);
  }

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

class Play {
 public:
  explicit Play(std::string folder) : folder_(std::move(folder)) {}

  absl::Status Start(int64_t in_flight_bytes) {
    testing::ServerOptions options;
    options.data_dir = folder_;
    options.config = Config(in_flight_bytes);
    ENGRAM_ASSIGN_OR_RETURN(server_, testing::ServerProcess::Start(std::move(options)));
    v1::ModelSpec spec;
    spec.set_feature_count(kFeatures);
    spec.mutable_mlp()->add_hidden(8);
    spec.set_batch_size(32);
    ENGRAM_RETURN_IF_ERROR(CreateModel(server_->grpc_address(), kModel, spec));
    for (int i = 0; i < kCrowd * few(); ++i) {
      senders_.push_back(std::make_unique<Sender>(server_->grpc_address(), i));
    }
    return absl::OkStatus();
  }

  // Examples stored a second by the first `count` producers; `largest_in_flight` is what /metrics
  // said meanwhile, which takes its own share of the cores.
  absl::StatusOr<double> Measure(int count, absl::Duration time, double* largest_in_flight) {
    const Crowd crowd(senders_, count, &tally_);
    const int64_t before = tally_.acked;
    const absl::Time began = absl::Now();
    while (absl::Now() - began < time) {
      ENGRAM_ASSIGN_OR_RETURN(const double bytes,
                              MetricSum(server_->http_address(), "engram_in_flight_bytes"));
      *largest_in_flight = std::max(*largest_in_flight, bytes);
      absl::SleepFor(absl::Milliseconds(50));
    }
    return static_cast<double>(tally_.acked - before) /
           absl::ToDoubleSeconds(absl::Now() - began);
  }

  // How long until the few store at least `rate` again; the best they did when they never do.
  absl::StatusOr<absl::Duration> Recover(double rate, double* best) {
    const absl::Time began = absl::Now();
    const absl::Duration patience = absl::Seconds(absl::GetFlag(FLAGS_recover_seconds_max));
    double in_flight = 0;
    while (*best < rate && absl::Now() - began < patience) {
      ENGRAM_ASSIGN_OR_RETURN(const double now,
                              Measure(few(), absl::Milliseconds(500), &in_flight));
      *best = std::max(*best, now);
    }
    return absl::Now() - began;
  }

  // Everything acked is in the log, once and in order, and nothing else.
  absl::StatusOr<bool> JudgeLog() {
    ENGRAM_RETURN_IF_ERROR(DrainToZero(server_.get()));
    ENGRAM_ASSIGN_OR_RETURN(const auto stored, crash::ReadModels(folder_, {}));
    std::map<std::string, uint64_t> next;  // by producer: the examples found so far
    int64_t found = 0, wrong = 0;
    for (const storage::LogRecord& record : stored.front().records) {
      if (record.kind != static_cast<uint8_t>(server::RecordKind::kExample)) continue;
      v1::Example example;
      if (!example.ParseFromString(record.payload)) return absl::DataLossError("not an Example");
      const uint64_t at = next[record.producer]++;
      wrong += example.id() == absl::StrCat(at / kExamples + 1, ".", at % kExamples) ? 0 : 1;
      ++found;
    }
    for (const auto& sender : senders_) {
      wrong += next[sender->producer()] == sender->acked() * kExamples ? 0 : 1;
    }
    std::printf("%ld examples acked, %ld in the log, %ld not as they should be\n",
                tally_.acked.load(), found, wrong);
    return wrong == 0 && found == tally_.acked && found > 0;
  }

  bool ReportRefusals() {
    base::MutexLock lock(&tally_.mutex);
    std::printf("%ld messages refused\n", tally_.refused.load());
    return ReportViolations(tally_.violations);
  }
  int64_t refused() const { return tally_.refused; }

 private:
  static int few() { return absl::GetFlag(FLAGS_clients); }

  const std::string folder_;
  std::unique_ptr<testing::ServerProcess> server_;
  std::vector<std::unique_ptr<Sender>> senders_;
  Tally tally_;
};

bool Check(bool good, const std::string& what) {
  std::printf("  %s: %s\n", good ? "yes" : "NO ", what.c_str());
  std::fflush(stdout);
  return good;
}

bool MetItsLimit(const Play& play) { return play.refused() > 0; }

absl::StatusOr<bool> Crowded(const std::string& folder) {
  Play play(folder);
  ENGRAM_RETURN_IF_ERROR(play.Start(kInFlightBytes));
  const double share = absl::GetFlag(FLAGS_goodput_min);
  const int few = absl::GetFlag(FLAGS_clients);
  double in_flight = 0;
  ENGRAM_ASSIGN_OR_RETURN(
      const double before,
      play.Measure(few, absl::Seconds(absl::GetFlag(FLAGS_measure_seconds)), &in_flight));
  const bool quiet = Check(!MetItsLimit(play), absl::StrCat(before, " examples/s, none refused"));
  ENGRAM_ASSIGN_OR_RETURN(
      const double meanwhile,
      play.Measure(kCrowd * few, absl::Seconds(absl::GetFlag(FLAGS_seconds)), &in_flight));
  double best = 0;
  ENGRAM_ASSIGN_OR_RETURN(const absl::Duration back, play.Recover(share * before, &best));
  bool good = quiet;
  good &= Check(MetItsLimit(play), "the crowd met the limit");
  good &= Check(in_flight <= kInFlightBytes, absl::StrCat(in_flight, " bytes in flight at most"));
  good &= Check(meanwhile >= share * before,
                absl::StrCat(meanwhile, " examples/s in the crowd, ", meanwhile / before,
                             " of what it was, at least ", share));
  good &= Check(best >= share * before,
                absl::StrCat(best, " examples/s ", absl::FormatDuration(back), " afterwards"));
  good &= Check(play.ReportRefusals(), "every refusal says what, and when to come back");
  ENGRAM_ASSIGN_OR_RETURN(const bool kept, play.JudgeLog());
  return good && Check(kept, "everything acked is stored once");
}

// True when the lack of a limit was seen.
absl::StatusOr<bool> Canary(const std::string& folder) {
  Play play(folder);
  ENGRAM_RETURN_IF_ERROR(play.Start(int64_t{4096} << 20));
  double in_flight = 0;
  ENGRAM_RETURN_IF_ERROR(
      play.Measure(kCrowd * absl::GetFlag(FLAGS_clients),
                   absl::Seconds(absl::GetFlag(FLAGS_canary_seconds)), &in_flight)
          .status());
  const bool caught = !MetItsLimit(play) && in_flight > kInFlightBytes;
  return Check(caught, absl::StrCat("with the limits off nothing is refused and ", in_flight,
                                    " bytes are in flight"));
}

absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, uint64_t /*seed*/) {
  ENGRAM_ASSIGN_OR_RETURN(const bool good, Crowded(scratch.Subfolder("server")));
  if (absl::GetFlag(FLAGS_canary_seconds) == 0) return good;
  ENGRAM_ASSIGN_OR_RETURN(const bool caught, Canary(scratch.Subfolder("canary")));
  return good && caught;
}

}  // namespace
}  // namespace engram::net

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "overload", engram::net::Run);
}
