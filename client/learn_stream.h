// A producer's stream of examples and boundaries into one model, exactly once.
//
// It numbers messages itself, from the server's last producer sequence + 1, and keeps each until
// the server acks it as durable. When the connection breaks it opens a new one and sends the
// messages not acked again under the same numbers; the server drops repeats by number, so each is
// applied once. Send returns as soon as the message is in the window and blocks while the window is
// full: that is how a producer is slowed to the speed of the server.
//
// Threading: safe from any thread; messages are numbered in the order in which Send calls enter.
//   Callbacks run on a gRPC thread, one at a time, in order, and must not call into the stream.
// Ownership: the message given to Send stays the caller's and may be reused at once.
// Failure: a broken connection, and a server that asks for a retry, are mended silently until
// nothing
//   was acked for `give_up_after`. Any other end of the stream is final: every later call returns
//   it. ABORTED with STALE_EPOCH means that another stream of the same producer took over;
//   DATA_LOSS with ACK_AHEAD means that the server lost what it had acked. A rejected message is
//   not an error of the stream: it goes to on_rejection and is counted.
// Bounds: the window: so many messages and bytes (a single larger message passes alone).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connection.h"
#include "engram/v1/learning.pb.h"

namespace engram::client {

// Where a stream stands. Sequences of the log (durable, applied) are the server's own.
struct LearnProgress {
  uint64_t epoch = 0;
  // Producer sequences.
  uint64_t sent_sequence = 0;
  uint64_t acked_sequence = 0;
  // Log sequences, as of the last ack.
  uint64_t durable_sequence = 0;
  uint64_t applied_sequence = 0;
  // Since this stream was opened; acked includes rejected.
  int64_t sent_examples = 0;
  int64_t acked_examples = 0;
  int64_t rejected_messages = 0;
  int64_t rejected_examples = 0;
  int64_t duplicate_messages = 0;
  int64_t reconnects = 0;
};

struct LearnStreamOptions {
  std::string model;
  // [A-Za-z0-9._-]{1,128}; one live stream a producer.
  std::string producer;
  // Last sequence that an earlier stream of this producer saw acked, when the caller kept it: lets
  // the server notice that it lost acked messages.
  uint64_t last_acked_sequence = 0;
  int window_messages = 64;
  int64_t window_bytes = 8 << 20;
  // From dialling to the server's welcome.
  absl::Duration handshake_timeout = absl::Seconds(10);
  // Gives up after this long without an ack while messages wait for one and the connection is down.
  absl::Duration give_up_after = absl::Seconds(60);
  // Delays between connections. `attempts` bounds only the first one, made in Open.
  RetryOptions retry;
  std::function<void(const engram::v1::Rejection&)> on_rejection;
  // After every ack.
  std::function<void(const LearnProgress&)> on_ack;
};

class LearnStream {
 public:
  // Blocks until the server's welcome.
  static absl::StatusOr<std::unique_ptr<LearnStream>> Open(std::shared_ptr<Connection> connection,
                                                           LearnStreamOptions options);

  // Cancels a stream that was not finished; what was not acked may or may not be stored.
  ~LearnStream();
  LearnStream(const LearnStream&) = delete;
  LearnStream& operator=(const LearnStream&) = delete;

  // Numbers the message, which holds 1 to 1 024 examples or a boundary, and puts it on its way.
  // Only producer_sequence of `message` changes: Clear and fill it again to reuse its memory.
  // Returns the producer sequence.
  absl::StatusOr<uint64_t> Send(engram::v1::LearnMessage* message);

  // Ends the current task and names the next; empty: the server names it.
  absl::StatusOr<uint64_t> SendBoundary(absl::string_view next_task);

  // Blocks until everything sent is durable or rejected.
  absl::Status Flush();

  // Sends the end record and waits for the last ack and the server's status. Once.
  absl::StatusOr<LearnProgress> Finish();

  LearnProgress progress() const;

 private:
  class Core;
  explicit LearnStream(std::shared_ptr<Core> core);

  const std::shared_ptr<Core> core_;
};

}  // namespace engram::client
