// What engramd does before and beside serving: flags, log lines, endpoints, blocking calls.
#include <fstream>
#include <iterator>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/call_gate.h"
#include "server/call_pool.h"
#include "server/endpoints_file.h"
#include "server/flag_check.h"
#include "server/logging.h"
#include "server/process_env.h"
#include "tests/testing/process/scratch_folder.h"

ABSL_FLAG(int, sample_count, 0, "for this test");

namespace engram::server {
namespace {

using ::testing::HasSubstr;

absl::Status Check(std::vector<std::string> arguments) {
  std::vector<char*> argv = {const_cast<char*>("engramd")};
  for (std::string& each : arguments) argv.push_back(each.data());
  return CheckFlags(static_cast<int>(argv.size()), argv.data());
}

TEST(FlagCheckTest, KnownFlagsPassInBothForms) {
  EXPECT_TRUE(Check({"--sample_count=3"}).ok());
  EXPECT_TRUE(Check({"--sample_count", "4"}).ok());
  EXPECT_TRUE(Check({"--help"}).ok());
}

TEST(FlagCheckTest, EverythingElseIsNamed) {
  EXPECT_THAT(std::string(Check({"--speed=3"}).message()), HasSubstr("unknown flag --speed"));
  EXPECT_THAT(std::string(Check({"--sample_count=many"}).message()), HasSubstr("--sample_count"));
  EXPECT_THAT(std::string(Check({"--sample_count"}).message()), HasSubstr("expected a value"));
  EXPECT_THAT(std::string(Check({"here"}).message()), HasSubstr("unexpected argument \"here\""));
}

TEST(LoggingTest, ALineIsOneEventWithQuotedValues) {
  EXPECT_EQ(FormatLogLine("model_created", {{"model", "digits"}, {"classes", 10}, {"new", true}}),
            "event=model_created model=digits classes=10 new=true");
  EXPECT_EQ(FormatLogLine("odd", {{"text", "a \"b\""}, {"empty", ""}}),
            "event=odd text=\"a \\\"b\\\"\" empty=\"\"");
}

TEST(LoggingTest, NoValueCanForgeALine) {
  const std::string line = FormatLogLine("odd", {{"text", "x\nevent=admin_login"}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_EQ(line, "event=odd text=\"x\\nevent=admin_login\"");
  EXPECT_LT(FormatLogLine("odd", {{"text", std::string(5000, 'x')}}).size(), 600u);
}

TEST(LoggingTest, AStatusIsItsCodeAndText) {
  EXPECT_EQ(FormatLogLine("failed", {{"status", absl::NotFoundError("gone")}}),
            "event=failed status=\"NOT_FOUND: gone\"");
}

TEST(EndpointsFileTest, IsThereWhileTheServerIs) {
  const testing::ScratchFolder folder;
  const std::string path = folder.path() + "/endpoints.json";
  {
    const EndpointsFile endpoints(folder.path(), "127.0.0.1:1", "127.0.0.1:2");
    ASSERT_TRUE(endpoints.status().ok());
    std::ifstream file(path);
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    EXPECT_EQ(text, "{\"grpc\": \"127.0.0.1:1\", \"http\": \"127.0.0.1:2\"}\n");
  }
  EXPECT_FALSE(std::ifstream(path).good());
}

TEST(EndpointsFileTest, AFolderThatIsNotThereIsAnError) {
  const EndpointsFile endpoints("/nowhere/at/all", "a", "b");
  EXPECT_EQ(endpoints.status().code(), absl::StatusCode::kUnavailable);
}

TEST(CallPoolTest, RefusesBeyondItsQueueAndRunsWhatItTook) {
  absl::Notification running, release;
  int finished = 0;
  {
    CallPool pool("limits.waiting_calls", 1, 1);
    ASSERT_TRUE(pool.Run([&] {
                      running.Notify();
                      release.WaitForNotification();
                      ++finished;
                    })
                    .ok());
    running.WaitForNotification();
    EXPECT_TRUE(pool.Run([&] { ++finished; }).ok());
    EXPECT_EQ(pool.Run([&] { ++finished; }).code(), absl::StatusCode::kResourceExhausted);
    release.Notify();
  }
  EXPECT_EQ(finished, 2);
}

TEST(CallGateTest, PlacesToWaitAreLimitedAndGivenBack) {
  std::vector<std::shared_ptr<void>> places;
  CallGate gate;
  for (int i = 0; i < 4096; ++i) places.push_back(*gate.ReserveWait());
  EXPECT_EQ(gate.ReserveWait().status().code(), absl::StatusCode::kResourceExhausted);
  places.pop_back();
  EXPECT_TRUE(gate.ReserveWait().ok());
}

TEST(ProcessEnvironmentTest, ASettledEnvironmentIsLeftAlone) {
  for (const char* name : {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}) setenv(name, "1", 1);
  setenv("OMP_WAIT_POLICY", "passive", 1);
  setenv("GOMP_SPINCOUNT", "0", 1);
  setenv("OMP_DYNAMIC", "false", 1);
  char* argv[] = {nullptr};
  EXPECT_TRUE(SettleEnvironment(1, argv).ok());
}

TEST(ProcessEnvironmentTest, ASecondFailureToSettleIsAnErrorNotALoop) {
  setenv("ENGRAM_ENVIRONMENT_SETTLED", "1", 1);
  setenv("OMP_NUM_THREADS", "7", 1);
  char* argv[] = {nullptr};
  EXPECT_EQ(SettleEnvironment(1, argv).code(), absl::StatusCode::kInternal);
}

TEST(ProcessEnvironmentTest, TheOpenFileLimitNeverFalls) {
  const int64_t before = RaiseOpenFileLimit(1);
  EXPECT_GE(RaiseOpenFileLimit(before), before);
}

}  // namespace
}  // namespace engram::server
