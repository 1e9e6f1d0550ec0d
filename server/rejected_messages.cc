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
  Rejected rejected{time_ms, producer, message.producer_sequence(), message.examples_size(),
                    status};
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
  for (const Rejected& rejected : messages_) {
    if (response.messages_size() == limit) break;
    if (!request.producer().empty() && rejected.producer != request.producer()) continue;
    v1::RejectedMessage* message = response.add_messages();
    message->set_time_ms(rejected.time_ms);
    message->set_producer(rejected.producer);
    message->set_producer_sequence(rejected.producer_sequence);
    message->set_examples(rejected.examples);
    *message->mutable_status() = ToRpcStatus(rejected.status);
  }
  return response;
}

}  // namespace engram::server
