// One connection of a Learn stream: from its hello to the server's status. Private to LearnStream.
//
// Writes what its owner has next, one message at a time, and counts and checksums it for the end
// record, which covers this connection only. Reads the welcome and the acks. Knows nothing of
// windows, repeats or reconnecting.
//
// Threading: Pump and Cancel from any thread. The owner is called from gRPC threads, never with a
// lock
//   of this class held except in TakeNext, which must not call back.
// Ownership: borrows the owner, which must outlive OnClosed; the creator keeps the call alive until
//   then, later Pump and Cancel calls are harmless.
// Failure: OnClosed, exactly once, with the server's status or what this side found wrong.
// Bounds: one write and one read in flight.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/connection.h"
#include "client/learn_window.h"
#include "engram/v1/learning.pb.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/client_callback.h"
#include "storage/base/mutex.h"

namespace engram::client {

class LearnCallOwner {
 public:
  enum class Next { kNothing, kMessage, kEnd };

  virtual ~LearnCallOwner() = default;

  // Returns the sequence to start with. An error ends the call.
  virtual absl::StatusOr<uint64_t> OnWelcome(const engram::v1::LearnWelcome& welcome) = 0;
  // An error ends the call.
  virtual absl::Status OnAck(const engram::v1::LearnAck& ack) = 0;
  // What to write: the message of that sequence, the end record, or nothing yet.
  virtual Next TakeNext(uint64_t sequence, PendingMessage* message) = 0;
  virtual void OnClosed(const absl::Status& status) = 0;
};

class LearnCall : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  LearnCall(std::shared_ptr<Connection> connection, LearnCallOwner* owner);

  // Once.
  void Start(const engram::v1::LearnHello& hello);

  // Writes the owner's next message unless a write is under way. Call after there is something new.
  void Pump();

  void Cancel();

  void OnWriteDone(bool ok) override;
  void OnReadDone(bool ok) override;
  void OnDone(const grpc::Status& status) override;

 private:
  absl::Status Take(const engram::v1::LearnResponse& response);
  void PumpLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FailHere(const absl::Status& status);

  const std::shared_ptr<Connection> connection_;
  LearnCallOwner* const owner_;
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  // Touched by one read reaction at a time.
  grpc::ByteBuffer read_;

  base::Mutex mu_;
  grpc::ByteBuffer write_ ABSL_GUARDED_BY(mu_);
  bool writing_ ABSL_GUARDED_BY(mu_) = false;
  // Between the welcome and the last read.
  bool open_ ABSL_GUARDED_BY(mu_) = false;
  bool welcomed_ ABSL_GUARDED_BY(mu_) = false;
  bool end_written_ ABSL_GUARDED_BY(mu_) = false;
  uint64_t next_sequence_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t messages_written_ ABSL_GUARDED_BY(mu_) = 0;
  uint32_t crc32_written_ ABSL_GUARDED_BY(mu_) = 0;
  // What this side found wrong; stands above the server's status.
  absl::Status local_error_ ABSL_GUARDED_BY(mu_);
};

}  // namespace engram::client
