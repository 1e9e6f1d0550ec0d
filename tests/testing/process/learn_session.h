// A Learn stream by hand: frames as bytes, acks as they come, the CRC of what was sent. It hides
// nothing and mends nothing, so that tests can send what a client library never would.
//
// Threading: Write*, End on one thread; ReadAck, Finish on one other or the same.
// Ownership: the destructor cancels the call.
// Failure: false = the stream is over; Finish says why.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "engram/v1/learning.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "tests/testing/process/raw_call.h"

namespace engram::testing {

// CRC-32 (zlib) of a serialised LearnRequest.
uint32_t FrameCrc(absl::string_view frame);

class LearnSession {
 public:
  explicit LearnSession(const std::shared_ptr<grpc::Channel>& channel);
  ~LearnSession();
  LearnSession(const LearnSession&) = delete;
  LearnSession& operator=(const LearnSession&) = delete;

  // Sends the hello and reads the welcome.
  bool Open(const std::string& model, const std::string& producer, uint64_t last_acked = 0);
  const v1::LearnWelcome& welcome() const { return welcome_; }

  bool Write(const v1::LearnMessage& message);
  // A serialised LearnRequest, or garbage; counted as a message.
  bool WriteFrame(absl::string_view frame);
  // The same for a frame whose CRC-32 is known: costs no pass over its bytes.
  bool WriteBuffer(const grpc::ByteBuffer& buffer, uint32_t crc);
  // The end record that matches what was sent, plus the given errors.
  bool End(int64_t count_error = 0, uint32_t crc_error = 0);
  // No more writes, and no end record.
  void CloseWithoutEnd() { stream_->WritesDone(); }

  bool ReadAck(v1::LearnAck* ack);
  // Reads until everything up to `sequence` is acked; keeps the rejections seen on the way.
  bool ReadUntil(uint64_t sequence, v1::LearnAck* merged);
  grpc::Status Finish();
  void Cancel() { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<RawStream> stream_;
  v1::LearnWelcome welcome_;
  uint64_t messages_ = 0;
  uint32_t crc_ = 0;
  bool finished_ = false;
};

}  // namespace engram::testing
