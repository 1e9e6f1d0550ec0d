// Finds replies in the bytes that an HTTP/2 server sends: where a DATA frame with a payload begins.
// gRPC puts each message of a reply into DATA frames and nothing else, so an ack that is held back
// by its frame is one that the server has made durable and written.
//
// Threading: none. Failure: none; bytes that are no HTTP/2 are frames that make no sense.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace engram::testing {

class Http2Replies {
 public:
  // The next bytes of the stream. Where among them a reply's frame begins, or goes on when its
  // header began before them: the first such place, if there is one.
  absl::optional<size_t> Find(absl::string_view bytes);

 private:
  static constexpr size_t kHeaderBytes = 9;

  std::string header_;
  uint64_t payload_left_ = 0;
};

}  // namespace engram::testing
