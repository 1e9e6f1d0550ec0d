#include "server/call_pool.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"

namespace engram::server {

CallPool::CallPool(absl::string_view limit, int threads, int64_t queue_max)
    : limit_(limit), queue_max_(queue_max) {
  for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Work(); });
}

CallPool::~CallPool() {
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  for (std::thread& thread : threads_) thread.join();
}

absl::Status CallPool::Run(std::function<void()> work) {
  base::MutexLock lock(&mutex_);
  if (static_cast<int64_t>(queue_.size()) >= queue_max_) {
    return OverLimit(limit_,
                     absl::StrCat(limit_, ": ", queue_max_, " calls already wait; try again"),
                     std::chrono::milliseconds(200));
  }
  queue_.push_back(std::move(work));
  wake_.NotifyOne();
  return absl::OkStatus();
}

void CallPool::Work() {
  while (true) {
    std::function<void()> work;
    {
      base::MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) wake_.Wait(&mutex_);
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    work();
  }
}

}  // namespace engram::server
