#include "server/rejected_messages.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr int kListed = 100;
constexpr int kListedMax = 1000;

}  // namespace

absl::StatusOr<int> ListLimit(int32_t limit) {
  if (limit >= 0 && limit <= kListedMax) return limit == 0 ? kListed : limit;
  return BadField("limit", absl::StrCat("must be in [0, ", kListedMax, "], got ", limit));
}

void RejectedMessages::Add(int64_t time_ms, const std::string& producer,
                           const v1::LearnMessage& message, const absl::Status& status) {
  v1::RejectedMessage rejected;
  rejected.set_time_ms(time_ms);
  rejected.set_producer(producer);
  rejected.set_producer_sequence(message.producer_sequence());
  rejected.set_examples(message.examples_size());
  *rejected.mutable_status() = ToRpcStatus(status);
  base::MutexLock lock(&mutex_);
  ++rejected_;
  messages_.push_front(std::move(rejected));
  if (messages_.size() > kKept) messages_.pop_back();
}

absl::StatusOr<v1::ListRejectedResponse> RejectedMessages::List(
    const v1::ListRejectedRequest& request) const {
  ENGRAM_ASSIGN_OR_RETURN(const int limit, ListLimit(request.limit()));
  v1::ListRejectedResponse response;
  base::MutexLock lock(&mutex_);
  response.set_rejected(rejected_);
  for (const v1::RejectedMessage& message : messages_) {
    if (response.messages_size() == limit) break;
    if (!request.producer().empty() && message.producer() != request.producer()) continue;
    *response.add_messages() = message;
  }
  return response;
}

}  // namespace engram::server
