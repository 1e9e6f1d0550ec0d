#include "storage/checkpoint_id.h"

#include <algorithm>

namespace engram::storage {
namespace {

constexpr absl::string_view kAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
constexpr size_t kIdLength = 26;
constexpr uint64_t kMillisecondMask = (uint64_t{1} << 48) - 1;

uint64_t RandomSeed() {
  std::random_device device;
  return (uint64_t{device()} << 32) ^ device();
}

std::string Encode(uint64_t ms, uint16_t high, uint64_t low) {
  // 128 bits, most significant first; the first character carries only three of them.
  uint64_t upper = (ms << 16) | high;
  uint64_t lower = low;
  std::string id(kIdLength, '0');
  for (size_t i = kIdLength; i-- > 0;) {
    id[i] = kAlphabet[lower & 31];
    lower = (lower >> 5) | (upper << 59);
    upper >>= 5;
  }
  return id;
}

}  // namespace

bool IsCheckpointId(absl::string_view id) {
  return id.size() == kIdLength && id[0] <= '7' && std::all_of(id.begin(), id.end(), [](char c) {
           return kAlphabet.find(c) != absl::string_view::npos;
         });
}

CheckpointIds::CheckpointIds() : random_(RandomSeed()) {}

std::string CheckpointIds::Next(int64_t now_ms) {
  base::MutexLock lock(&mutex_);
  const uint64_t ms = static_cast<uint64_t>(std::max<int64_t>(now_ms, 0)) & kMillisecondMask;
  if (ms > last_ms_) {
    last_ms_ = ms;
    // The top bit stays clear, so that counting up within a millisecond cannot overflow.
    high_ = static_cast<uint16_t>(random_() & 0x7fff);
    low_ = random_();
  } else if (++low_ == 0) {
    ++high_;
  }
  return Encode(last_ms_, high_, low_);
}

}  // namespace engram::storage
