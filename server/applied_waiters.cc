#include "server/applied_waiters.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace engram::server {

bool AppliedWaiters::Reached(const Waiter& waiter) const {
  return applied_ >= waiter.sequence && (!waiter.evaluated || oldest_open_ > waiter.sequence);
}

void AppliedWaiters::Wait(uint64_t sequence, bool evaluated, absl::Duration deadline,
                          OnReached done) {
  Waiter waiter{sequence, evaluated, deadline, std::move(done)};
  absl::Status answer;
  {
    base::MutexLock lock(&mutex_);
    if (!Reached(waiter) && failed_.ok()) {
      waiters_.push_back(std::move(waiter));
      return;
    }
    if (!Reached(waiter)) answer = failed_;
  }
  waiter.done(answer);
}

void AppliedWaiters::SetApplied(uint64_t sequence) {
  {
    base::MutexLock lock(&mutex_);
    applied_ = sequence;
  }
  Release();
}

void AppliedWaiters::SetOldestOpenBoundary(uint64_t sequence) {
  {
    base::MutexLock lock(&mutex_);
    oldest_open_ = sequence;
  }
  Release();
}

void AppliedWaiters::Release() {
  std::vector<Waiter> reached;
  {
    base::MutexLock lock(&mutex_);
    auto kept = std::stable_partition(waiters_.begin(), waiters_.end(),
                                      [this](const Waiter& waiter) ABSL_NO_THREAD_SAFETY_ANALYSIS {
                                        return !Reached(waiter);
                                      });
    reached.assign(std::make_move_iterator(kept), std::make_move_iterator(waiters_.end()));
    waiters_.erase(kept, waiters_.end());
  }
  for (Waiter& waiter : reached) waiter.done(absl::OkStatus());
}

void AppliedWaiters::Expire(absl::Duration now) {
  std::vector<Waiter> late;
  uint64_t applied = 0;
  uint64_t oldest_open = 0;
  {
    base::MutexLock lock(&mutex_);
    applied = applied_;
    oldest_open = oldest_open_;
    auto kept =
        std::stable_partition(waiters_.begin(), waiters_.end(),
                              [now](const Waiter& waiter) { return waiter.deadline > now; });
    late.assign(std::make_move_iterator(kept), std::make_move_iterator(waiters_.end()));
    waiters_.erase(kept, waiters_.end());
  }
  for (Waiter& waiter : late) {
    if (applied < waiter.sequence) {
      waiter.done(absl::DeadlineExceededError(
          absl::StrCat("applied_through=", applied, " < ", waiter.sequence)));
    } else {
      waiter.done(absl::DeadlineExceededError(
          absl::StrCat("applied_through=", applied, ", boundary ", oldest_open,
                       " is still being evaluated")));
    }
  }
}

absl::Duration AppliedWaiters::NextDeadline() const {
  base::MutexLock lock(&mutex_);
  absl::Duration next = absl::InfiniteDuration();
  for (const Waiter& waiter : waiters_) next = std::min(next, waiter.deadline);
  return next;
}

void AppliedWaiters::Fail(absl::Status why) {
  std::vector<Waiter> waiters;
  {
    base::MutexLock lock(&mutex_);
    failed_ = why;
    waiters.swap(waiters_);
  }
  for (Waiter& waiter : waiters) waiter.done(why);
}

}  // namespace engram::server
