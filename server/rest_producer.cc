#include "server/rest_producer.h"

#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "server/rest_json.h"

namespace engram::server {
namespace {

constexpr int kAttempts = 4;

std::string DrawnName() {
  std::random_device device;
  return absl::StrCat("rest-", absl::Hex(device(), absl::kZeroPad8),
                      absl::Hex(device(), absl::kZeroPad8));
}

// What a SEQUENCE_GAP expects; 0 for any other status.
uint64_t ExpectedSequence(const absl::Status& status) {
  const google::rpc::ErrorInfo reason = ErrorInfoOf(status);
  const auto expected = reason.metadata().find("expectedSequence");
  uint64_t sequence = 0;
  if (reason.reason() != "SEQUENCE_GAP" || expected == reason.metadata().end()) return 0;
  return absl::SimpleAtoi(expected->second, &sequence) ? sequence : 0;
}

}  // namespace

RestProducer::RestProducer() : name_(DrawnName()) {}

std::shared_ptr<RestProducer::Lane> RestProducer::LaneOf(absl::string_view model) {
  base::MutexLock lock(&mutex_);
  const auto found = lanes_.find(model);
  if (found != lanes_.end()) return found->second;
  return lanes_.emplace(model, std::make_shared<Lane>()).first->second;
}

absl::Status RestProducer::Send(absl::string_view model,
                                const std::function<absl::Status(uint64_t sequence)>& send) {
  const std::shared_ptr<Lane> lane = LaneOf(model);
  base::MutexLock lock(&lane->mutex);
  absl::Status status;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    status = send(lane->next);
    const uint64_t expected = ExpectedSequence(status);
    if (absl::IsAlreadyExists(status)) {
      // A message that was refused, or whose answer was lost, used that sequence up.
      ++lane->next;
    } else if (expected != 0) {
      // A model of that name was deleted and made again.
      lane->next = expected;
    } else {
      break;
    }
  }
  if (status.ok()) {
    ++lane->next;
  } else if (absl::IsNotFound(status)) {
    base::MutexLock all(&mutex_);
    lanes_.erase(std::string(model));
  }
  return status;
}

}  // namespace engram::server
