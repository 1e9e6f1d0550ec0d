// What an operator meets on a real server: reloading, locks and their acknowledgement, the audit
// log, a damaged model beside a whole one, a listener that went deaf, a clock that is set.
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"
#include "tests/integration/credentials.h"
#include "tests/integration/server_test.h"
#include "tests/testing/process/health.h"
#include "tests/testing/process/http_get.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/safetensors_file.h"
#include "tests/testing/process/status_details.h"

namespace engram::integration {
namespace {

using testing::Call;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class OperationsTest : public ServerTest {
 protected:
  void SetUp() override {}  // each test starts its own

  void Start(const std::string& config = "") {
    options_.data_dir = scratch_.Subfolder(absl::StrCat("store-", ++runs_));
    options_.config = config;
    StartServer();
    model_.UseStubs(stubs_.get());
  }
  void Rewrite(const std::string& config) {
    std::ofstream(options_.data_dir + ".textproto", std::ios::trunc) << config;
  }
  testing::Outcome<v1::ReloadConfigResponse> Reload() {
    return Call(*stubs_->admin, &v1::Admin::Stub::ReloadConfig, v1::ReloadConfigRequest());
  }
  std::string Limit(const std::string& name) {
    const auto limits = Call(*stubs_->admin, &v1::Admin::Stub::GetLimits, v1::GetLimitsRequest());
    for (const v1::Limit& limit : limits->limits()) {
      if (limit.name() == name) return limit.value();
    }
    return "";
  }
  std::vector<v1::AuditEntry> Audit() {
    const auto listed =
        Call(*stubs_->admin, &v1::Admin::Stub::ListAudit, v1::ListAuditRequest());
    EXPECT_TRUE(listed.ok()) << listed.status.error_message();
    return {listed->entries().begin(), listed->entries().end()};
  }
  // The newest entry once there are so many.
  v1::AuditEntry AwaitAudit(size_t entries) {
    const absl::Time end = absl::Now() + absl::Seconds(10);
    while (Audit().size() < entries && absl::Now() < end) absl::SleepFor(absl::Milliseconds(10));
    return Audit().empty() ? v1::AuditEntry() : Audit().front();
  }
  testing::Finished Command(const std::string& arguments) {
    const auto finished = testing::RunToEnd(
        {"/bin/sh", "-c", absl::StrCat("exec ", testing::CommandBinary(), " --server ",
                                       server_->grpc_address(), " ", arguments)},
        absl::Seconds(30), absl::StrCat(scratch_.path(), "/output.", ++runs_));
    EXPECT_TRUE(finished.ok()) << finished.status();
    return finished.ok() ? *finished : testing::Finished{};
  }
  grpc::Status HelloAs(const std::string& producer, uint64_t last_acked) {
    testing::LearnSession session(server_->NewChannel());
    if (!session.Open("toy", producer, last_acked)) return session.Finish();
    session.Cancel();
    return grpc::Status::OK;
  }

  ToyModel model_{nullptr, "toy"};
  int runs_ = 0;
};

TEST_F(OperationsTest, AReloadTakesOverWhatMayChangeAndKeepsTheOldOtherwise) {
  Start("limits { tasks: 2 }");
  model_.Create(ToySpec());
  model_.Learn({0, 1}, 20);
  model_.Boundary("second");
  model_.Learn({0, 1}, 20);
  v1::MarkBoundaryRequest third;
  third.set_model("toy");
  third.set_producer("q");
  third.set_producer_sequence(1);
  EXPECT_EQ(Call(*stubs_->learning, &v1::Learning::Stub::MarkBoundary, third).status.error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);

  Rewrite("limits { tasks: 3 queue_bytes: 2000000 }");
  const auto refused = Reload();
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.status.error_message(), HasSubstr("limits.queue_bytes: cannot change"));
  EXPECT_EQ(Limit("tasks"), "2");

  Rewrite("limits { tasks: 3 }");
  const testing::Finished reloaded = Command("reload");
  EXPECT_EQ(reloaded.code, 0) << reloaded.output;
  EXPECT_EQ(reloaded.output, "limits.tasks: 2 -> 3\n");
  EXPECT_EQ(Limit("tasks"), "3");
  third.set_producer_sequence(2);
  EXPECT_TRUE(Call(*stubs_->learning, &v1::Learning::Stub::MarkBoundary, third).ok());

  const size_t before = Audit().size();
  Rewrite("limits { tasks: -3 }");
  ASSERT_TRUE(server_->Signal(SIGHUP).ok());
  const v1::AuditEntry entry = AwaitAudit(before + 1);
  EXPECT_EQ(entry.role(), "operator");
  EXPECT_EQ(entry.name(), "SIGHUP");
  EXPECT_EQ(entry.outcome(), "INVALID_ARGUMENT");
  EXPECT_THAT(entry.message(), HasSubstr("limits.tasks"));
  EXPECT_EQ(Limit("tasks"), "3");
  Rewrite("limits { tasks: 4 }");
  ASSERT_TRUE(server_->Signal(SIGHUP).ok());
  EXPECT_EQ(AwaitAudit(before + 2).outcome(), "OK");
  EXPECT_EQ(Limit("tasks"), "4");
  EXPECT_EQ(*server_->Drain(), 0) << server_->Output();
}

TEST_F(OperationsTest, ALossLocksLearningThroughKillNineUntilItIsAcknowledged) {
  Start();
  model_.Create(ToySpec());
  model_.Learn({0, 1}, 200);
  model_.WaitApplied();
  EXPECT_EQ(HelloAs("p", 99).error_code(), grpc::StatusCode::DATA_LOSS);
  Restart(/*kill=*/true, &model_);
  EXPECT_EQ(model_.Describe().state(), v1::Model::LOCKED);
  const grpc::Status locked = HelloAs("q", 0);
  EXPECT_EQ(locked.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(locked.error_message(), HasSubstr("producer \"p\" holds ack 99, server has 2"));
  EXPECT_EQ(model_.Predict({0, 1}).predictions_size(), 2);
  EXPECT_THAT(testing::HttpGet(server_->http_address(), "/metrics")->body,
              HasSubstr("engram_ingest_locked{model=\"toy\"} 1"));

  const testing::Finished done = Command("loss acknowledge toy");
  EXPECT_EQ(done.code, 0) << done.output;
  EXPECT_THAT(done.output, HasSubstr("producer p holds ack 99, server has 2"));
  EXPECT_THAT(Command("loss acknowledge toy").output, HasSubstr("there is no loss"));
  Restart(/*kill=*/true, &model_);
  EXPECT_EQ(model_.Describe().state(), v1::Model::SERVING);
  EXPECT_TRUE(HelloAs("q", 0).ok());
  EXPECT_TRUE(HelloAs("p", 99).ok()) << "goes on after its acks";
  EXPECT_EQ(HelloAs("p", 100).error_code(), grpc::StatusCode::DATA_LOSS);
}

TEST_F(OperationsTest, AModelWhoseFilesAreDamagedIsRefusedAndTheOthersServe) {
  Start();
  model_.Create(ToySpec());
  model_.Learn({0, 1}, 20);
  testing::SafetensorsFile file;
  file.AddFloats("hidden0.weight", {32, 16}, std::vector<float>(32 * 16, 0.1F));
  file.AddFloats("hidden0.bias", {32}, std::vector<float>(32, 0.1F));
  v1::CreateModelRequest request;
  request.set_name("damaged");
  *request.mutable_spec() = ToySpec();
  request.mutable_weights()->set_safetensors(file.Bytes());
  request.mutable_weights()->set_scope(v1::PretrainedWeights::TRUNK);
  const auto made = Call(*stubs_->models, &v1::Models::Stub::CreateModel, request);
  ASSERT_TRUE(made.ok()) << made.status.error_message();
  ASSERT_EQ(*server_->Drain(), 0);
  for (const auto& entry :
       std::filesystem::recursive_directory_iterator(options_.data_dir + "/weights")) {
    if (!entry.is_regular_file()) continue;
    std::fstream stored(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    stored.seekp(static_cast<std::streamoff>(entry.file_size() / 2));
    stored.put('\x7e');
  }

  auto launched = testing::ServerProcess::Launch(options_);
  ASSERT_TRUE(launched.ok()) << launched.status();
  server_ = *std::move(launched);
  ASSERT_TRUE(server_->WaitReady("toy").ok()) << server_->Output();
  stubs_ = std::make_unique<testing::Stubs>(server_->NewChannel());
  model_.UseStubs(stubs_.get());
  model_.Learn({0, 1}, 20);
  EXPECT_EQ(model_.Predict({0, 1}).predictions_size(), 2);
  ToyModel damaged(stubs_.get(), "damaged");
  const absl::Time end = absl::Now() + absl::Seconds(10);
  while (damaged.Describe().state() == v1::Model::RECOVERING && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_EQ(damaged.Describe().state(), v1::Model::FAILED);
  v1::LearnBatchRequest learn;
  learn.set_model("damaged");
  learn.set_producer("p");
  learn.set_producer_sequence(1);
  EXPECT_EQ(Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, learn).status.error_code(),
            grpc::StatusCode::DATA_LOSS);
  v1::PredictRequest predict;
  predict.set_model("damaged");
  EXPECT_EQ(Call(*stubs_->prediction, &v1::Prediction::Stub::Predict, predict).status.error_code(),
            grpc::StatusCode::DATA_LOSS)
      << "never served";
  EXPECT_EQ(*testing::CheckHealth(stubs_->channel, "damaged"),
            testing::ServingStatus::kNotServing);
  EXPECT_EQ(*testing::CheckHealth(stubs_->channel, ""), testing::ServingStatus::kNotServing);
  const auto ready = testing::HttpGet(server_->http_address(), "/readyz");
  EXPECT_EQ(ready->code, 503);
  EXPECT_EQ(ready->body, "not ready: a model does not serve\n");
}

TEST_F(OperationsTest, EveryTryAtAnAdministratorsCallIsInTheAuditLog) {
  const Credentials credentials(scratch_.Subfolder("credentials"));
  options_.credentials = credentials.Channel("", credentials.Token("admin"));
  Start(credentials.Config());
  model_.Create(ToySpec());
  v1::DeleteModelRequest request;
  request.set_name("toy");
  for (const std::string& token : {credentials.Token("reader"), std::string(64, '0')}) {
    const testing::Stubs stubs(server_->NewChannel(credentials.Channel("", token)));
    EXPECT_FALSE(Call(*stubs.models, &v1::Models::Stub::DeleteModel, request).ok());
  }
  ASSERT_TRUE(Call(*stubs_->models, &v1::Models::Stub::DeleteModel, request).ok());
  AwaitAudit(4);
  const std::string flags = absl::StrCat(" --tls_ca ", credentials.File("ca.pem"),
                                         " --token_file ", credentials.File("admin.token"));
  std::vector<std::string> lines;
  for (const absl::string_view line : absl::StrSplit(Command("audit --json" + flags).output, '\n',
                                                     absl::SkipEmpty())) {
    const auto entry = nlohmann::json::parse(line, nullptr, false);
    ASSERT_TRUE(entry.is_object()) << line;
    lines.push_back(absl::StrCat(entry.value("name", ""), "|", entry["method"].get<std::string>(),
                                 "|", entry.value("model", ""), "|",
                                 entry["outcome"].get<std::string>()));
  }
  EXPECT_THAT(lines, ElementsAre("admin|engram.v1.Models/DeleteModel|toy|OK",
                                 "|engram.v1.Models/DeleteModel||UNAUTHENTICATED",
                                 "reader|engram.v1.Models/DeleteModel||PERMISSION_DENIED",
                                 "admin|engram.v1.Models/CreateModel|toy|OK"));
  EXPECT_THAT(Command("audit" + flags).output, HasSubstr("refused: PERMISSION_DENIED"));
  ASSERT_EQ(*server_->Drain(), 0) << server_->Output();
  const std::string log = testing::ReadWholeFile(options_.data_dir + "/audit/actions.jsonl") +
                          testing::ReadWholeFile(options_.data_dir + "/audit/refusals.jsonl");
  EXPECT_THAT(log, HasSubstr("DeleteModel"));
  EXPECT_THAT(log, Not(HasSubstr(credentials.Token("reader"))));
}

// --- the self-probe ---

// Datagrams as systemd would get them.
class NotifySocket {
 public:
  explicit NotifySocket(const std::string& path) : socket_(socket(AF_UNIX, SOCK_DGRAM, 0)) {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof(address.sun_path) - 1);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    const timeval patience{10, 0};
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setenv("NOTIFY_SOCKET", path.c_str(), 1);
  }
  ~NotifySocket() {
    unsetenv("NOTIFY_SOCKET");
    close(socket_);
  }
  // "" after ten seconds.
  std::string Next() {
    char text[128];
    const ssize_t got = recv(socket_, text, sizeof(text), 0);
    return got < 0 ? "" : std::string(text, static_cast<size_t>(got));
  }

 private:
  const int socket_;
};

TEST_F(OperationsTest, TheProbePassesThroughEverySortOfListenerAndFeedsTheWatchdog) {
  const Credentials credentials(scratch_.Subfolder("credentials"));
  const std::string own = absl::StrCat("certificate_file: \"", credentials.File("reader.pem"),
                                       "\" key_file: \"", credentials.File("reader.key"), "\"");
  const struct {
    const char* name;
    std::string config;
    std::string probe;
    const char* certificate;
  } cases[] = {{"tls and tokens", credentials.Config(), "", ""},
               {"client certificates, with one", credentials.Config(true), own, "admin"},
               {"client certificates, without", credentials.Config(true), "", "admin"}};
  for (const auto& each : cases) {
    SCOPED_TRACE(each.name);
    NotifySocket notified(absl::StrCat(scratch_.path(), "/notify.", ++runs_));
    options_.credentials = credentials.Channel(each.certificate, credentials.Token("admin"));
    Start(absl::StrCat(each.config, " self_probe { period_ms: 300 misses: 20 ", each.probe, " }"));
    EXPECT_EQ(notified.Next(), "READY=1");
    EXPECT_EQ(notified.Next(), "WATCHDOG=1");
    EXPECT_EQ(notified.Next(), "WATCHDOG=1");
    EXPECT_EQ(*server_->Drain(), 0) << server_->Output();
    for (std::string next = notified.Next(); next != "STOPPING=1"; next = notified.Next()) {
      ASSERT_EQ(next, "WATCHDOG=1");
    }
  }
}

// The number that the next file of the process would get.
rlim_t NextFile(pid_t pid) {
  std::set<rlim_t> used;
  for (const auto& each : std::filesystem::directory_iterator(absl::StrCat("/proc/", pid, "/fd"))) {
    used.insert(std::stoul(each.path().filename().string()));
  }
  rlim_t next = 0;
  while (used.count(next) > 0) ++next;
  return next;
}

// It would cut those who are in, and meet the same crowd again.
TEST_F(OperationsTest, AServerThatIsFullDoesNotTakeItselfForDeaf) {
  Start("limits { connections: 2 } self_probe { period_ms: 200 misses: 2 }");
  model_.Create(ToySpec());
  const auto other = server_->NewChannel();
  const absl::Time end = absl::Now() + absl::Seconds(10);
  // The probe, or the test that asked whether it is ready, may have the place for a moment.
  while (!testing::CheckHealth(other, "").ok() && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(10));
  }
  EXPECT_FALSE(testing::CheckHealth(server_->NewChannel(), "").ok());
  absl::SleepFor(absl::Seconds(2));
  EXPECT_FALSE(server_->Poll().has_value()) << server_->Output();
  EXPECT_THAT(server_->Output(), Not(HasSubstr("self_probe_missed")));
  model_.Learn({0, 1}, 20);
  EXPECT_TRUE(testing::CheckHealth(other, "").ok());
  EXPECT_EQ(*server_->Drain(), 0) << server_->Output();
}

TEST_F(OperationsTest, AServerThatTakesNoMoreConnectionsLeavesWithSeventyAndLosesNothing) {
  Start("self_probe { period_ms: 200 misses: 3 }");
  model_.Create(ToySpec());
  model_.Learn({0, 1}, 100);
  model_.WaitApplied();
  // From outside: no file more than it has now, so that accept fails.
  rlimit limit = {};
  ASSERT_EQ(prlimit(server_->pid(), RLIMIT_NOFILE, nullptr, &limit), 0);
  limit.rlim_cur = NextFile(server_->pid());
  ASSERT_EQ(prlimit(server_->pid(), RLIMIT_NOFILE, &limit, nullptr), 0);
  const absl::Time end = absl::Now() + absl::Seconds(20);
  while (!server_->Poll().has_value() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(20));
  ASSERT_TRUE(server_->Poll().has_value()) << server_->Output();
  EXPECT_EQ(server_->Poll()->code, 70) << server_->Output();
  EXPECT_THAT(server_->Output(), HasSubstr("event=listener_deaf"));
  const uint64_t acked = model_.producer_sequence();
  StartServer();
  ASSERT_TRUE(server_->WaitReady("toy").ok());
  testing::LearnSession session(server_->NewChannel());
  ASSERT_TRUE(session.Open("toy", "p", acked));
  EXPECT_EQ(session.welcome().last_producer_sequence(), acked);
  EXPECT_EQ(session.welcome().durable_sequence(), 100u);
}

// --- the wall clock ---

class SetClock {
 public:
  explicit SetClock(std::string path) : path_(std::move(path)) {
    By(0);
    setenv("ENGRAM_CLOCK_OFFSET", path_.c_str(), 1);
    setenv("LD_PRELOAD", ENGRAM_JUMPING_CLOCK, 1);
  }
  ~SetClock() { Release(); }
  // Children started from now on keep the real time.
  void Release() {
    unsetenv("LD_PRELOAD");
    unsetenv("ENGRAM_CLOCK_OFFSET");
  }
  void By(int64_t seconds) {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    if (!file) file.open(path_, std::ios::out | std::ios::binary);
    file.write(reinterpret_cast<const char*>(&seconds), sizeof(seconds));
  }

 private:
  const std::string path_;
};

TEST_F(OperationsTest, AClockThatIsSetByADayChangesNothing) {
  constexpr int64_t kDay = 24 * 3600;
  SetClock clock(scratch_.path() + "/offset");
  Start("self_probe { period_ms: 300 misses: 10 } retention { log_seconds: 60 "
        "producer_idle_seconds: 60 }");
  clock.Release();
  model_.Create(ToySpec());
  testing::LearnSession session(server_->NewChannel());
  ASSERT_TRUE(session.Open("toy", "s"));
  uint64_t sequence = 0;
  for (const int64_t offset : {kDay, -kDay, 40 * kDay, int64_t{0}}) {
    SCOPED_TRACE(offset);
    // A wait that is under way when the clock is set, and lasts its time all the same.
    const absl::Time begun = absl::Now();
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(begun + absl::Milliseconds(600)));
    v1::WaitAppliedRequest wait;
    wait.set_model("toy");
    wait.set_sequence(1'000'000);
    v1::WaitAppliedResponse waited;
    std::thread waiting([&] {
      EXPECT_EQ(stubs_->learning->WaitApplied(&context, wait, &waited).error_code(),
                grpc::StatusCode::DEADLINE_EXCEEDED);
    });
    absl::SleepFor(absl::Milliseconds(100));
    clock.By(offset);
    v1::LearnMessage message;
    message.set_producer_sequence(++sequence);
    for (int i = 0; i < 20; ++i) {
      *message.add_examples() = testing::ToyExample({}, i % 2, static_cast<uint64_t>(i));
    }
    ASSERT_TRUE(session.Write(message));
    v1::LearnAck ack;
    ASSERT_TRUE(session.ReadUntil(sequence, &ack));
    EXPECT_EQ(ack.duplicates(), 0u);
    model_.Checkpoint();
    waiting.join();
    EXPECT_GT(absl::Now() - begun, absl::Milliseconds(450));
    // The server does see the time that was set.
    absl::Time shown;
    std::string error;
    ASSERT_TRUE(absl::ParseTime(absl::RFC3339_full, Audit().front().time(), &shown, &error));
    EXPECT_LT(absl::AbsDuration(shown - absl::Now() - absl::Seconds(offset)), absl::Minutes(1));
  }
  ASSERT_TRUE(session.End());
  EXPECT_TRUE(session.Finish().ok()) << "the stream went on";
  testing::LearnSession again(server_->NewChannel());
  ASSERT_TRUE(again.Open("toy", "s", sequence)) << "the producer is remembered";
  EXPECT_EQ(again.welcome().last_producer_sequence(), sequence);
  again.Cancel();
  EXPECT_EQ(*server_->Drain(), 0) << server_->Output();
}

}  // namespace
}  // namespace engram::integration
