// idem: examples are sent over connections that are cut after the server has made a message durable
// and before its ack passes; what was not acked is sent again under the same sequence. In the end
// the log holds each example exactly once. And a server that has forgotten what a repeat is must be
// caught.
#include <cstdio>
#include <memory>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/crash/final_state.h"
#include "tests/crash/harness.h"
#include "tests/net/net_run.h"
#include "tests/net/resender.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(int64_t, examples, 100000, "how many examples are made durable");
ABSL_FLAG(double, resent, 0.1, "share of unary messages that lose their reply at least once");
ABSL_FLAG(int, retries, 10, "most replies that one unary message loses");
ABSL_FLAG(int64_t, canary_examples, 1500, "the same for the server with the planted bug");

namespace engram::net {
namespace {

using testing::TcpProxy;

constexpr char kModel[] = "plain";

// One producer on a stream and the proxy that only it uses.
struct Streamer {
  std::unique_ptr<TcpProxy> proxy;
  crash::AddressBook address;
  std::unique_ptr<crash::Producer> producer;
};

struct Party {
  std::vector<std::unique_ptr<Streamer>> streamers;
  std::vector<std::unique_ptr<TcpProxy>> proxies;
  std::vector<std::unique_ptr<Resender>> resenders;
};

crash::ProducerOptions Options(const std::string& folder, const std::string& name, uint64_t seed) {
  crash::ProducerOptions options;
  options.model = kModel;
  options.plan = {seed, name, absl::EndsWith(name, "-0")};
  options.ledger_file = absl::StrCat(folder, ".ledger.", name);
  options.examples_per_second = 50000;
  return options;
}

absl::StatusOr<std::unique_ptr<TcpProxy>> ProxyTo(const std::string& server) {
  ENGRAM_ASSIGN_OR_RETURN(auto proxy, TcpProxy::Start());
  proxy->SetTarget(server);
  return proxy;
}

absl::StatusOr<std::unique_ptr<Party>> Invite(const std::string& folder, const std::string& server,
                                              uint64_t seed) {
  auto party = std::make_unique<Party>();
  for (int i = 0; i < 2; ++i) {
    auto streamer = std::make_unique<Streamer>();
    ENGRAM_ASSIGN_OR_RETURN(streamer->proxy, ProxyTo(server));
    streamer->address.Set(streamer->proxy->address());
    streamer->producer = std::make_unique<crash::Producer>(
        Options(folder, absl::StrCat("stream-", i), seed), &streamer->address);
    party->streamers.push_back(std::move(streamer));
    ENGRAM_ASSIGN_OR_RETURN(auto proxy, ProxyTo(server));
    ResenderOptions options;
    options.producer = Options(folder, absl::StrCat("unary-", i), seed);
    options.resent = absl::GetFlag(FLAGS_resent);
    options.retries = absl::GetFlag(FLAGS_retries);
    party->resenders.push_back(std::make_unique<Resender>(std::move(options), proxy.get()));
    party->proxies.push_back(std::move(proxy));
  }
  return party;
}

// The streams lose an ack every 10 to 40 ms.
absl::Status CutUntil(const Party& party, const std::string& server, uint64_t seed,
                      uint64_t durable_wanted) {
  for (uint64_t turn = 0;; ++turn) {
    const uint64_t draw = testing::Mix(seed + turn);
    absl::SleepFor(absl::Milliseconds(5 + draw % 16));
    const auto& streamer = party.streamers[turn % party.streamers.size()];
    streamer->proxy->CutBeforeNextReply((draw >> 8 & 1) == 0 ? TcpProxy::Cut::kClose
                                                             : TcpProxy::Cut::kReset);
    if (turn % 10 != 9) continue;
    ENGRAM_ASSIGN_OR_RETURN(const uint64_t durable, DurableSequence(server, kModel));
    if (durable >= durable_wanted) return absl::OkStatus();
  }
}

absl::Status BringHome(Party* party) {
  for (const auto& resender : party->resenders) resender->Finish();
  for (const auto& streamer : party->streamers) {
    if (streamer->producer->Finish()) continue;
    return absl::InternalError(
        absl::StrCat(streamer->producer->options().plan.producer, " could not finish"));
  }
  return absl::OkStatus();
}

// The three answers that a repeat can never be mistaken for.
bool WrongRepeatsAreRefused(const std::string& server, const crash::Testimony& producer) {
  const testing::Stubs stubs(Connect(server));
  const auto send = [&](uint64_t sequence, uint64_t content, uint64_t epoch) {
    v1::LearnBatchRequest request;
    request.set_model(kModel);
    request.set_producer(producer.plan.producer);
    request.set_producer_sequence(sequence);
    *request.add_examples() = testing::ToyExample({crash::kFeatureCount}, 0, content);
    request.set_epoch(epoch);
    const auto reply = testing::Call(*stubs.learning, &v1::Learning::Stub::LearnBatch, request);
    return absl::StrCat(reply.status.error_code(), " ", testing::Reason(reply.status));
  };
  const uint64_t last = producer.entries.last_acked;
  const std::string other = send(last, 7, 0);
  const std::string gap = send(last + 2, 7, 0);
  const std::string stale = send(last, 7, 1u << 20);
  std::printf("other content: %s; gap: %s; stale epoch: %s\n", other.c_str(), gap.c_str(),
              stale.c_str());
  return other == absl::StrCat(grpc::ALREADY_EXISTS, " PAYLOAD_MISMATCH") &&
         gap == absl::StrCat(grpc::ABORTED, " SEQUENCE_GAP") &&
         stale == absl::StrCat(grpc::ABORTED, " STALE_EPOCH");
}

bool ReportParty(const Party& party, const Findings& findings) {
  bool good = true;
  int64_t withheld = 0;
  uint64_t recognised = 0;
  for (const auto& streamer : party.streamers) {
    good = ReportViolations(streamer->producer->violations()) && good;
    withheld += streamer->proxy->counts().replies_withheld;
    recognised += streamer->producer->duplicates();
  }
  for (size_t i = 0; i < party.resenders.size(); ++i) {
    const Resender& resender = *party.resenders[i];
    good = ReportViolations(resender.violations()) && good;
    good = resender.AnswersNamed(findings.records) && good;
    withheld += party.proxies[i]->counts().replies_withheld;
    recognised += resender.duplicates();
  }
  std::printf("%ld replies withheld, %lu repeats recognised\n", withheld, recognised);
  return good && withheld > 0;
}

struct Outcome {
  Findings findings;
  bool good = false;  // everybody was answered as promised
};

absl::StatusOr<Outcome> Play(const testing::ScratchFolder& scratch, const std::string& name,
                             const std::string& planted, int64_t examples, uint64_t seed) {
  const std::string folder = scratch.Subfolder(name);
  ENGRAM_ASSIGN_OR_RETURN(auto server, StartServer(folder, {}, planted));
  const std::string address = server->grpc_address();
  ENGRAM_RETURN_IF_ERROR(CreateModel(address, kModel, crash::CrashModels().at(kModel)));
  ENGRAM_ASSIGN_OR_RETURN(auto party, Invite(folder, address, seed));
  ENGRAM_RETURN_IF_ERROR(CutUntil(*party, address, seed, static_cast<uint64_t>(examples)));
  ENGRAM_RETURN_IF_ERROR(BringHome(party.get()));
  std::vector<crash::Testimony> testimonies;
  for (const auto& each : party->streamers) {
    testimonies.push_back(TestimonyOf(each->producer->options()));
  }
  for (const auto& each : party->resenders) {
    testimonies.push_back(TestimonyOf(each->options().producer));
  }
  Outcome outcome;
  outcome.good = WrongRepeatsAreRefused(address, testimonies.back());
  ENGRAM_RETURN_IF_ERROR(DrainToZero(server.get()));
  ENGRAM_ASSIGN_OR_RETURN(outcome.findings, ReadAndJudge(folder, kModel, testimonies));
  outcome.good = ReportParty(*party, outcome.findings) && outcome.good;
  return outcome;
}

absl::StatusOr<bool> Run(const testing::ScratchFolder& scratch, uint64_t seed) {
  ENGRAM_ASSIGN_OR_RETURN(const Outcome real,
                          Play(scratch, "server", "", absl::GetFlag(FLAGS_examples), seed));
  const bool exact = ReportExactlyOnce("engramd", real.findings);
  const double share = static_cast<double>(real.findings.sent_again) /
                       static_cast<double>(real.findings.example_records);
  const bool enough = share >= absl::GetFlag(FLAGS_resent);
  std::printf("%.1f %% of the examples were sent again%s\n", 100 * share,
              enough ? "" : ": TOO FEW");
  std::printf("canary: a server that takes repeats for news\n");
  ENGRAM_ASSIGN_OR_RETURN(const Outcome forgetful,
                          Play(scratch, "forgetful", "bug.dedupe_dropped",
                               absl::GetFlag(FLAGS_canary_examples), seed));
  const bool caught = forgetful.findings.verdict.twice > 0 && !forgetful.good;
  std::printf("canary: %s, %ld examples twice\n", caught ? "caught" : "NOT CAUGHT",
              forgetful.findings.verdict.twice);
  return real.good && exact && enough && caught;
}

}  // namespace
}  // namespace engram::net

int main(int argc, char** argv) {
  return engram::crash::RunHarness(argc, argv, "idem", engram::net::Run);
}
