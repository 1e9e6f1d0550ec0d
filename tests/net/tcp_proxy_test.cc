// The proxy does what it says: each fault is looked at from both ends, with plain sockets.
#include "tests/testing/process/tcp_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/testing/process/loopback.h"

namespace engram::testing {
namespace {

using Way = TcpProxy::Way;
using Cut = TcpProxy::Cut;

// One end of a connection. Reads wait for two seconds at most.
class Socket {
 public:
  explicit Socket(int socket) : socket_(socket) {}
  ~Socket() { close(socket_); }
  Socket(const Socket&) = delete;
  Socket& operator=(const Socket&) = delete;

  void Send(const std::string& bytes) const {
    EXPECT_EQ(send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  // What comes until `count` bytes are there, or the end, or two seconds have passed.
  std::string Read(size_t count) {
    std::string got;
    pollfd entry{socket_, POLLIN, 0};
    while (got.size() < count && poll(&entry, 1, 2000) > 0) {
      char buffer[4096];
      const ssize_t more = read(socket_, buffer, std::min(sizeof(buffer), count - got.size()));
      ended_ = more == 0;
      reset_ = more < 0 && errno == ECONNRESET;
      if (more <= 0) break;
      got.append(buffer, static_cast<size_t>(more));
    }
    return got;
  }
  bool SilentFor(int ms) const {
    pollfd entry{socket_, POLLIN, 0};
    return poll(&entry, 1, ms) == 0;
  }
  bool ended() const { return ended_; }
  bool reset() const { return reset_; }

 private:
  const int socket_;
  bool ended_ = false;
  bool reset_ = false;
};

class TcpProxyTest : public ::testing::Test {
 protected:
  void SetUp() override {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address = Loopback(0);
    socklen_t length = sizeof(address);
    ASSERT_EQ(bind(listener_, reinterpret_cast<sockaddr*>(&address), length), 0);
    ASSERT_EQ(listen(listener_, 8), 0);
    getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
    auto started = TcpProxy::Start();
    ASSERT_TRUE(started.ok()) << started.status();
    proxy_ = *std::move(started);
    proxy_->SetTarget(absl::StrCat("127.0.0.1:", ntohs(address.sin_port)));
  }
  void TearDown() override { close(listener_); }

  void Dial() {
    const std::string& address = proxy_->address();
    const sockaddr_in to = Loopback(std::atoi(address.c_str() + address.rfind(':') + 1));
    const int made = socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(connect(made, reinterpret_cast<const sockaddr*>(&to), sizeof(to)), 0);
    client_ = std::make_unique<Socket>(made);
  }
  void Answer() { server_ = std::make_unique<Socket>(accept(listener_, nullptr, nullptr)); }
  void Meet() {
    Dial();
    Answer();
  }

  int listener_ = -1;
  std::unique_ptr<TcpProxy> proxy_;
  std::unique_ptr<Socket> client_;
  std::unique_ptr<Socket> server_;
};

// An HTTP/2 frame.
std::string Frame(int type, const std::string& payload) {
  std::string frame(9, '\0');
  frame[2] = static_cast<char>(payload.size());
  frame[3] = static_cast<char>(type);
  return frame + payload;
}

TEST_F(TcpProxyTest, BytesPassBothWaysAndSoDoesTheEnd) {
  Meet();
  client_->Send("there");
  EXPECT_EQ(server_->Read(5), "there");
  server_->Send("back");
  EXPECT_EQ(client_->Read(4), "back");
  client_.reset();
  EXPECT_EQ(server_->Read(1), "");
  EXPECT_TRUE(server_->ended());
  EXPECT_EQ(proxy_->counts().cuts, 0);
  EXPECT_EQ(proxy_->counts().bytes_up, 5);
}

TEST_F(TcpProxyTest, ExactlySoManyBytesPassBeforeTheCut) {
  for (const int64_t bytes : {0, 1, 7}) {
    proxy_->CutNewConnectionsAfter(Way::kUp, bytes, Cut::kClose);
    Meet();
    client_->Send("01234567");
    EXPECT_EQ(server_->Read(8), std::string("01234567").substr(0, bytes));
    EXPECT_TRUE(server_->ended());
  }
  EXPECT_EQ(proxy_->counts().cuts, 3);
  proxy_->CutNewConnectionsAfter(Way::kUp, 8, Cut::kClose);
  Meet();
  client_->Send("01234567");
  EXPECT_EQ(server_->Read(8), "01234567");
  EXPECT_TRUE(server_->SilentFor(50)) << "no more byte came";
  proxy_->LetNewConnectionsLive();
  Meet();
  client_->Send("0123456789");
  EXPECT_EQ(server_->Read(10), "0123456789");
  EXPECT_EQ(proxy_->counts().cuts, 3);
}

TEST_F(TcpProxyTest, AResetIsAReset) {
  Meet();
  proxy_->CutAll(Cut::kReset);
  EXPECT_EQ(client_->Read(1), "");
  EXPECT_TRUE(client_->reset());
  EXPECT_EQ(server_->Read(1), "");
  EXPECT_TRUE(server_->reset());
}

TEST_F(TcpProxyTest, TheNextReplyIsWithheld) {
  Meet();
  const std::string settings = Frame(4, "abcdef");
  const std::string ping = Frame(6, "12345678");
  const std::string reply = Frame(0, "an ack");
  server_->Send(settings + reply);
  EXPECT_EQ(client_->Read(30), settings + reply);
  proxy_->CutBeforeNextReply(Cut::kClose);
  EXPECT_TRUE(proxy_->WaitsForReply());
  server_->Send(ping + Frame(0, "") + reply.substr(0, 4));
  EXPECT_EQ(client_->Read(30), ping + Frame(0, "") + reply.substr(0, 4))
      << "what is no reply passes, and a reply is known by its whole header";
  server_->Send(reply.substr(4));
  EXPECT_EQ(client_->Read(1), "");
  EXPECT_TRUE(client_->ended() || client_->reset());
  EXPECT_FALSE(proxy_->WaitsForReply());
  EXPECT_EQ(proxy_->counts().replies_withheld, 1);
}

TEST_F(TcpProxyTest, ACutThatIsCalledOffLetsTheReplyPass) {
  Meet();
  proxy_->CutBeforeNextReply(Cut::kClose);
  proxy_->LetRepliesPass();
  EXPECT_FALSE(proxy_->WaitsForReply());
  server_->Send(Frame(0, "an ack"));
  EXPECT_EQ(client_->Read(15), Frame(0, "an ack"));
}

TEST_F(TcpProxyTest, HalfOpenIsOverForOneSideOnly) {
  Meet();
  proxy_->LeaveHalfOpen(Way::kUp);
  EXPECT_EQ(server_->Read(1), "");
  EXPECT_TRUE(server_->ended());
  client_->Send("into the void");
  EXPECT_TRUE(client_->SilentFor(50));
  proxy_->CutAll(Cut::kReset);
  EXPECT_EQ(client_->Read(1), "");
  EXPECT_TRUE(client_->reset());
}

TEST_F(TcpProxyTest, ABlackHolePassesNothingUntilItIsGone) {
  Meet();
  TcpProxy::Weather weather;
  weather.blackhole = true;
  proxy_->SetWeather(weather);
  client_->Send("late");
  EXPECT_TRUE(server_->SilentFor(100));
  EXPECT_TRUE(client_->SilentFor(10));
  proxy_->SetWeather({});
  EXPECT_EQ(server_->Read(4), "late");
}

TEST_F(TcpProxyTest, DelayAndThrottleTakeTheirTime) {
  Meet();
  TcpProxy::Weather weather;
  weather.delay = absl::Milliseconds(40);
  proxy_->SetWeather(weather);
  absl::Time began = absl::Now();
  client_->Send("x");
  EXPECT_EQ(server_->Read(1), "x");
  EXPECT_GE(absl::Now() - began, absl::Milliseconds(40));
  weather = {};
  weather.bytes_per_second = 20000;
  weather.chunk_bytes = 50;
  proxy_->SetWeather(weather);
  began = absl::Now();
  client_->Send(std::string(2000, 'y'));
  EXPECT_EQ(server_->Read(2000), std::string(2000, 'y'));
  EXPECT_GE(absl::Now() - began, absl::Milliseconds(90));
}

TEST_F(TcpProxyTest, WithoutAServerTheClientIsClosed) {
  proxy_->SetTarget("");
  Dial();
  EXPECT_EQ(client_->Read(1), "");
  EXPECT_TRUE(client_->ended());
}

}  // namespace
}  // namespace engram::testing
