#include "client/learn_window.h"

#include <zlib.h>

#include <utility>

#include "google/protobuf/io/coded_stream.h"
#include "grpc/slice.h"
#include "grpcpp/support/slice.h"
#include "storage/base/check.h"

namespace engram::client {
namespace {

using google::protobuf::io::CodedOutputStream;

// Tag of LearnRequest.message: its field number, length-delimited.
constexpr uint32_t kMessageTag = engram::v1::LearnRequest::kMessageFieldNumber << 3 | 2;

}  // namespace

PendingMessage SerialiseMessage(const engram::v1::LearnMessage& message) {
  // Written straight into gRPC's slice: wrapping the message in a LearnRequest would cost a copy of
  // every feature.
  const size_t body = message.ByteSizeLong();
  const size_t total =
      CodedOutputStream::VarintSize32(kMessageTag) + CodedOutputStream::VarintSize64(body) + body;
  const grpc::Slice slice(grpc_slice_malloc(total), grpc::Slice::STEAL_REF);
  uint8_t* at = const_cast<uint8_t*>(slice.begin());
  at = CodedOutputStream::WriteVarint32ToArray(kMessageTag, at);
  at = CodedOutputStream::WriteVarint64ToArray(body, at);
  message.SerializeWithCachedSizesToArray(at);

  PendingMessage pending;
  pending.sequence = message.producer_sequence();
  pending.bytes = grpc::ByteBuffer(&slice, 1);
  pending.size = static_cast<int64_t>(total);
  pending.crc32 = static_cast<uint32_t>(crc32_z(0, slice.begin(), total));
  pending.examples = message.examples_size();
  return pending;
}

uint32_t CombineCrc32(uint32_t first, const PendingMessage& next) {
  return static_cast<uint32_t>(crc32_combine(first, next.crc32, next.size));
}

LearnWindow::LearnWindow(int messages_max, int64_t bytes_max)
    : messages_max_(static_cast<size_t>(messages_max < 1 ? 1 : messages_max)),
      bytes_max_(bytes_max) {}

bool LearnWindow::HasRoomFor(int64_t size) const {
  if (messages_.empty()) return true;
  return messages_.size() < messages_max_ && bytes_ + size <= bytes_max_;
}

void LearnWindow::Push(PendingMessage message) {
  ENGRAM_CHECK(messages_.empty() || message.sequence == messages_.back().sequence + 1);
  bytes_ += message.size;
  messages_.push_back(std::move(message));
}

int64_t LearnWindow::AckThrough(uint64_t sequence) {
  int64_t examples = 0;
  while (!messages_.empty() && messages_.front().sequence <= sequence) {
    examples += messages_.front().examples;
    bytes_ -= messages_.front().size;
    messages_.pop_front();
  }
  return examples;
}

const PendingMessage* LearnWindow::Find(uint64_t sequence) const {
  if (messages_.empty() || sequence < messages_.front().sequence) return nullptr;
  const uint64_t index = sequence - messages_.front().sequence;
  return index < messages_.size() ? &messages_[index] : nullptr;
}

}  // namespace engram::client
