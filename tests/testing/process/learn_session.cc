#include "tests/testing/process/learn_session.h"

#include <zlib.h>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace engram::testing {
namespace {

// No test waits for a server for ever.
const absl::Duration kLongestStream = absl::Minutes(5);

}  // namespace

uint32_t FrameCrc(absl::string_view frame) {
  return static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(frame.data()), static_cast<uInt>(frame.size())));
}

LearnSession::LearnSession(const std::shared_ptr<grpc::Channel>& channel)
    : crc_(static_cast<uint32_t>(crc32(0, nullptr, 0))) {
  context_.set_deadline(absl::ToChronoTime(absl::Now() + kLongestStream));
  stream_ = OpenRawStream(channel, "/engram.v1.Learning/Learn", &context_);
}

LearnSession::~LearnSession() {
  if (finished_) return;
  context_.TryCancel();
  Finish();
}

bool LearnSession::Open(const std::string& model, const std::string& producer,
                        uint64_t last_acked) {
  v1::LearnRequest request;
  request.mutable_hello()->set_model(model);
  request.mutable_hello()->set_producer(producer);
  request.mutable_hello()->set_last_acked_sequence(last_acked);
  grpc::ByteBuffer reply;
  if (!stream_->Write(ToBuffer(request.SerializeAsString())) || !stream_->Read(&reply))
    return false;
  v1::LearnResponse response;
  if (!response.ParseFromString(FromBuffer(reply)) || !response.has_welcome()) return false;
  welcome_ = response.welcome();
  return true;
}

bool LearnSession::Write(const v1::LearnMessage& message) {
  v1::LearnRequest request;
  *request.mutable_message() = message;
  return WriteFrame(request.SerializeAsString());
}

bool LearnSession::WriteFrame(absl::string_view frame) {
  return WriteBuffer(ToBuffer(frame), FrameCrc(frame));
}

bool LearnSession::WriteBuffer(const grpc::ByteBuffer& buffer, uint32_t crc) {
  const auto length = static_cast<z_off_t>(buffer.Length());
  crc_ = static_cast<uint32_t>(crc32_combine(crc_, crc, length));
  ++messages_;
  return stream_->Write(buffer);
}

bool LearnSession::End(int64_t count_error, uint32_t crc_error) {
  v1::LearnRequest request;
  request.mutable_end()->set_message_count(messages_ + static_cast<uint64_t>(count_error));
  request.mutable_end()->set_crc32(crc_ + crc_error);
  const bool written = stream_->Write(ToBuffer(request.SerializeAsString()));
  stream_->WritesDone();
  return written;
}

bool LearnSession::ReadAck(v1::LearnAck* ack) {
  grpc::ByteBuffer reply;
  if (!stream_->Read(&reply)) return false;
  v1::LearnResponse response;
  if (!response.ParseFromString(FromBuffer(reply)) || !response.has_ack()) return false;
  *ack = response.ack();
  return true;
}

bool LearnSession::ReadUntil(uint64_t sequence, v1::LearnAck* merged) {
  v1::LearnAck ack;
  while (merged->producer_sequence() < sequence) {
    if (!ReadAck(&ack)) return false;
    v1::LearnAck all = *merged;
    all.MergeFrom(ack);
    all.set_duplicates(merged->duplicates() + ack.duplicates());
    *merged = all;
  }
  return true;
}

grpc::Status LearnSession::Finish() {
  finished_ = true;
  grpc::ByteBuffer unread;
  while (stream_->Read(&unread)) {
  }
  return stream_->Finish();
}

}  // namespace engram::testing
