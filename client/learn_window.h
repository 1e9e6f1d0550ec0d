// The messages of a Learn stream that the server has not acked yet, ready to be sent again.
//
// Threading: one thread at a time; the stream guards it.
// Ownership: owns the serialised messages; gRPC shares their bytes by reference count.
// Failure: none; the caller checks HasRoomFor before Push.
// Bounds: so many messages and bytes; one message larger than the whole window passes when it is
// empty.
#pragma once

#include <cstdint>
#include <deque>

#include "engram/v1/learning.pb.h"
#include "grpcpp/support/byte_buffer.h"

namespace engram::client {

// One message as it goes over the wire: a serialised LearnRequest.
struct PendingMessage {
  uint64_t sequence = 0;
  grpc::ByteBuffer bytes;
  int64_t size = 0;
  // CRC-32 of zlib over those bytes.
  uint32_t crc32 = 0;
  int64_t examples = 0;
};

// Serialises once, with the checksum; resending costs nothing more.
PendingMessage SerialiseMessage(const engram::v1::LearnMessage& message);

// The checksum of two stretches of bytes, from the checksum of each.
uint32_t CombineCrc32(uint32_t first, const PendingMessage& next);

class LearnWindow {
 public:
  LearnWindow(int messages_max, int64_t bytes_max);

  bool HasRoomFor(int64_t size) const;

  // Sequences must follow each other.
  void Push(PendingMessage message);

  // Forgets everything up to `sequence`; returns how many examples that were.
  int64_t AckThrough(uint64_t sequence);

  // nullptr when it is not in the window.
  const PendingMessage* Find(uint64_t sequence) const;

  bool empty() const { return messages_.empty(); }

 private:
  const size_t messages_max_;
  const int64_t bytes_max_;
  std::deque<PendingMessage> messages_;
  int64_t bytes_ = 0;
};

}  // namespace engram::client
