// What a network can do to a server, between it and its clients: a TCP proxy in this process that
// cuts, resets, delays, throttles, chops up and swallows. What happens below TCP (loss, reordering)
// reaches programs as delay, so that is what stands for it here.
//
// Threading: one thread of its own; methods from any thread.
// Ownership: the destructor closes every connection.
// Failure: Start answers with errno's text. A server that cannot be reached closes the client's
//   connection.
// Bounds: 256 KiB wait in either direction of a connection; beyond them nothing is read.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "storage/base/mutex.h"
#include "tests/testing/process/http2_replies.h"

namespace engram::testing {

class TcpProxy {
 public:
  enum class Way { kUp, kDown };      // towards the server, towards the client
  enum class Cut { kClose, kReset };  // FIN or RST, to both ends

  struct Weather {
    absl::Duration delay;          // each way
    int64_t bytes_per_second = 0;  // each way of each connection; 0 = no limit
    int64_t chunk_bytes = 0;       // most that is passed on at a time; 0 = no limit
    bool blackhole = false;        // nothing passes, nothing ends, nobody is accepted
  };

  struct Counts {
    int64_t connections = 0;
    int64_t cuts = 0;              // connections ended by the proxy
    int64_t replies_withheld = 0;  // cuts right before a reply
    int64_t bytes_up = 0;
    int64_t bytes_down = 0;
  };

  // Listens on a free port of the loopback.
  static absl::StatusOr<std::unique_ptr<TcpProxy>> Start();
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  const std::string& address() const { return address_; }
  // Where connections made from now on go: "127.0.0.1:PORT"; empty: they are closed at once.
  void SetTarget(const std::string& address);
  void SetWeather(const Weather& weather);

  // Each connection made from now on lets exactly `bytes` bytes pass that way, and is cut where one
  // more would follow.
  void CutNewConnectionsAfter(Way way, int64_t bytes, Cut how);
  void LetNewConnectionsLive();
  // The next reply of the server on any connection does not pass: its connection is cut instead.
  void CutBeforeNextReply(Cut how);
  // No longer.
  void LetRepliesPass();
  // Whether that cut is still to come.
  bool WaitsForReply() const;
  void CutAll(Cut how);
  // Ends every connection on one side only: towards the server, or towards the client. The other
  // side stays open and silent until the next CutAll.
  void LeaveHalfOpen(Way ended);

  Counts counts() const;

 private:
  struct Piece {
    absl::Time due;
    std::string bytes;
  };
  struct Pipe {
    int from = -1;
    int to = -1;
    std::deque<Piece> pieces;
    size_t waiting = 0;
    int64_t taken = 0;
    int64_t limit = -1;     // cut after so many bytes; -1 = never
    bool ended = false;     // nothing more comes from `from`
    bool shut = false;      // `to` knows
    bool cutting = false;   // once `pieces` are written, the connection is cut
    absl::Time not_before;  // the throttle
    Http2Replies replies;
  };
  struct Connection {
    int client = -1;
    int server = -1;
    Pipe up;
    Pipe down;
    Cut how = Cut::kClose;
    bool over = false;
  };

  TcpProxy(int listener, int wake, std::string address);

  void Run();
  void Wake();
  void Turn(const std::vector<int>& readable) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Accept() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Read(Connection* connection, Way way) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Fewer bytes, and the connection's last, where one of the cuts falls among them.
  absl::string_view UpToTheCut(Connection* connection, Way way, absl::string_view bytes)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Write(Connection* connection, Way way) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(Connection* connection, bool cut) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Until when nothing is to be done unless bytes come.
  absl::Time NextTurn() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::vector<int> Listened() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const int listener_;
  const int wake_;
  const std::string address_;
  mutable base::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  int target_port_ ABSL_GUARDED_BY(mutex_) = 0;
  Weather weather_ ABSL_GUARDED_BY(mutex_);
  absl::optional<Way> cut_way_ ABSL_GUARDED_BY(mutex_);
  int64_t cut_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  Cut cut_how_ ABSL_GUARDED_BY(mutex_) = Cut::kClose;
  absl::optional<Cut> before_reply_ ABSL_GUARDED_BY(mutex_);
  Counts counts_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Connection>> connections_ ABSL_GUARDED_BY(mutex_);
  std::vector<int> half_open_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace engram::testing
