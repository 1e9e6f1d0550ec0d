// The server asks itself, over its own port, and says when nobody answers.
#include "server/self_probe.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <unistd.h>

#include <cstdlib>
#include <deque>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/listener_check.h"
#include "server/systemd_notify.h"
#include "tests/testing/process/health.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;

// Answers from a script, then OK for good.
class Script {
 public:
  explicit Script(std::deque<bool> passes) : passes_(std::move(passes)) {}

  SelfProbeOptions Options() {
    SelfProbeOptions options;
    options.period = absl::Milliseconds(1);
    options.misses = 3;
    options.leave_within = absl::Milliseconds(1);
    options.ask = [this](absl::Duration) {
      if (passes_.empty()) {
        if (!done_.HasBeenNotified()) done_.Notify();
        return absl::OkStatus();
      }
      const bool pass = passes_.front();
      passes_.pop_front();
      return pass ? absl::OkStatus() : absl::UnavailableError("nobody");
    };
    options.on_pass = [this] { ++told_; };
    options.on_lost = [this](const absl::Status&) { ++lost_; };
    options.leave = [this] { done_.Notify(); };
    options.statistics = &statistics;
    return options;
  }
  void Await() { done_.WaitForNotification(); }
  int told() const { return told_; }
  int lost() const { return lost_; }

  ProbeStatistics statistics;

 private:
  std::deque<bool> passes_;
  absl::Notification done_;
  std::atomic<int> told_{0};
  std::atomic<int> lost_{0};
};

TEST(SelfProbeTest, MissesInARowAreCountedAndAPassForgetsThem) {
  Script script({false, false, true, false, false, true});
  SelfProbe probe(script.Options());
  script.Await();
  EXPECT_FALSE(probe.lost());
  EXPECT_EQ(script.lost(), 0);
  EXPECT_EQ(script.statistics.misses, 4u);
  EXPECT_GE(script.told(), 2) << "the watchdog hears of passes";
}

TEST(SelfProbeTest, AfterTheLastMissTheProcessIsLeftEvenIfNobodyMoves) {
  Script script({true, false, false, false});
  SelfProbe probe(script.Options());
  script.Await();  // leave ran
  EXPECT_TRUE(probe.lost());
  EXPECT_EQ(script.lost(), 1);
  EXPECT_EQ(script.told(), 1);
}

TEST(SelfProbeTest, AServerThatIsLeavingIsNotDeaf) {
  Script script({});
  SelfProbeOptions options = script.Options();
  absl::Notification asked, stopped;
  options.misses = 1;
  options.ask = [&](absl::Duration) {
    asked.Notify();
    stopped.WaitForNotification();
    return absl::UnavailableError("draining");
  };
  SelfProbe probe(std::move(options));
  asked.WaitForNotification();
  probe.Stop();
  stopped.Notify();
  EXPECT_EQ(script.lost(), 0);
}

absl::Status Ask(const std::string& address, const v1::ServerConfig& config = {}) {
  return MakeListenerCheck(address, config, "")(absl::Milliseconds(500));
}

TEST(ListenerCheckTest, AListenerThatServesAnswersWhateverItsHealth) {
  testing::EdgeRig rig;
  EXPECT_TRUE(Ask(rig.server().address()).ok());
  rig.board().Withdraw();
  EXPECT_TRUE(Ask(rig.server().address()).ok()) << "NOT_SERVING is an answer";
}

TEST(ListenerCheckTest, AListenerThatIsFullHasAnsweredAndADeafOneHasNot) {
  v1::ServerConfig config;
  config.mutable_limits()->set_connections(1);
  testing::EdgeRig rig({}, config);
  rig.AddDigits();
  const QuotaLedger* quotas = rig.edge().quotas;
  const auto stranger = MakeListenerCheck(rig.server().address(), {}, "");
  const auto own = FullIsAnAnswer(stranger, quotas);
  EXPECT_TRUE(own(absl::Milliseconds(500)).ok());
  while (quotas->connections() > 0) absl::SleepFor(absl::Milliseconds(1));
  ASSERT_TRUE(testing::CheckHealth(rig.channel(), "").ok()) << "takes the only place";
  EXPECT_FALSE(stranger(absl::Milliseconds(500)).ok());
  EXPECT_TRUE(own(absl::Milliseconds(500)).ok());
  const auto to_nobody = MakeListenerCheck("127.0.0.1:1", {}, "");
  EXPECT_FALSE(FullIsAnAnswer(to_nobody, quotas)(absl::Milliseconds(500)).ok());
}

// A port that takes connections into its backlog and never accepts one.
class DeafListener {
 public:
  DeafListener() : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(socket_, 16), 0);
    EXPECT_EQ(getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    address_ = absl::StrCat("127.0.0.1:", ntohs(address.sin_port));
  }
  ~DeafListener() { Close(); }
  void Close() {
    if (socket_ >= 0) close(socket_);
    socket_ = -1;
  }
  const std::string& address() const { return address_; }

 private:
  int socket_;
  std::string address_;
};

TEST(ListenerCheckTest, ADeafOrAClosedPortIsAMissInEveryForm) {
  v1::ServerConfig tls;
  tls.mutable_tls()->set_certificate_file("unused");
  v1::ServerConfig mutual = tls;
  mutual.mutable_tls()->set_client_ca_file("unused");
  DeafListener deaf;
  EXPECT_FALSE(Ask(deaf.address()).ok());
  EXPECT_FALSE(Ask(deaf.address(), tls).ok());
  EXPECT_THAT(std::string(Ask(deaf.address(), mutual).message()), HasSubstr("answers nothing"));
  deaf.Close();
  EXPECT_FALSE(Ask(deaf.address()).ok());
  EXPECT_THAT(std::string(Ask(deaf.address(), mutual).message()),
              HasSubstr("takes no connection"));
}

TEST(SystemdNotifyTest, StatesReachTheSocketThatSystemdNames) {
  const testing::ScratchFolder folder;
  const std::string path = folder.path() + "/notify";
  const int receiver = socket(AF_UNIX, SOCK_DGRAM, 0);
  const absl::Cleanup closer = [receiver] { close(receiver); };
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(receiver, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  setenv("NOTIFY_SOCKET", path.c_str(), 1);
  NotifySystemd("WATCHDOG=1");
  unsetenv("NOTIFY_SOCKET");
  char text[64];
  const ssize_t got = recv(receiver, text, sizeof(text), MSG_DONTWAIT);
  ASSERT_GT(got, 0);
  EXPECT_EQ(std::string(text, got), "WATCHDOG=1");
  NotifySystemd("READY=1");
  EXPECT_LT(recv(receiver, text, sizeof(text), MSG_DONTWAIT), 0) << "nobody asked";
}

TEST(SystemdNotifyTest, TheWatchdogsTimeIsOursOnlyIfItSaysSo) {
  EXPECT_EQ(SystemdWatchdog(), absl::InfiniteDuration());
  setenv("WATCHDOG_USEC", "3000000", 1);
  EXPECT_EQ(SystemdWatchdog(), absl::Seconds(3));
  setenv("WATCHDOG_PID", "1", 1);
  EXPECT_EQ(SystemdWatchdog(), absl::InfiniteDuration());
  setenv("WATCHDOG_PID", absl::StrCat(getpid()).c_str(), 1);
  EXPECT_EQ(SystemdWatchdog(), absl::Seconds(3));
  unsetenv("WATCHDOG_USEC");
  unsetenv("WATCHDOG_PID");
}

TEST(ServingBoardTest, ReadOnlyStorageStopsLearningAndTheWholeButNoModel) {
  ServingBoard board;
  board.Set("digits", true);
  EXPECT_EQ(board.WhyNotReady(), "starting");
  board.Set("", true);
  EXPECT_TRUE(board.Ready());
  board.StopLearning();
  EXPECT_THAT(board.WhyNotReady(), HasSubstr("read-only"));
  EXPECT_EQ(board.WhyNotReady().find("digits"), std::string::npos);
}

}  // namespace
}  // namespace engram::server
