#include "tests/testing/process/http2_replies.h"

#include <algorithm>

namespace engram::testing {

absl::optional<size_t> Http2Replies::Find(absl::string_view bytes) {
  absl::optional<size_t> found;
  size_t at = 0;
  while (at < bytes.size()) {
    if (payload_left_ > 0) {
      const size_t skipped = std::min<uint64_t>(payload_left_, bytes.size() - at);
      payload_left_ -= skipped;
      at += skipped;
      continue;
    }
    const size_t begin = at;
    const size_t taken = std::min(kHeaderBytes - header_.size(), bytes.size() - at);
    header_.append(bytes.data() + at, taken);
    at += taken;
    if (header_.size() < kHeaderBytes) break;
    const auto byte = [this](size_t i) { return static_cast<unsigned char>(header_[i]); };
    payload_left_ = static_cast<uint64_t>(byte(0)) << 16 | static_cast<uint64_t>(byte(1)) << 8 |
                    static_cast<uint64_t>(byte(2));
    const bool is_reply = byte(3) == 0 && payload_left_ > 0;
    header_.clear();
    if (is_reply && !found.has_value()) found = begin;
  }
  return found;
}

}  // namespace engram::testing
