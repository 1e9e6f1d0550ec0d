#include "server/call_gate.h"

#include <chrono>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/errors.h"

namespace engram::server {

absl::Status CallGate::ShuttingDown() {
  return NotYet("shutting down, retry elsewhere", std::chrono::seconds(1));
}

absl::Status CallGate::Admit() const {
  switch (state_.load(std::memory_order_acquire)) {
    case State::kStarting:
      return NotYet("starting", std::chrono::milliseconds(200));
    case State::kOpen:
      return absl::OkStatus();
    case State::kDraining:
      return ShuttingDown();
  }
  return absl::OkStatus();
}

uint64_t CallGate::Enter(std::weak_ptr<OpenCall> call) {
  uint64_t ticket = 0;
  {
    base::MutexLock lock(&mutex_);
    ticket = next_ticket_++;
    open_.emplace(ticket, call);
  }
  // Drain may have listed the open calls just before this one came in.
  if (state_.load(std::memory_order_acquire) == State::kDraining) {
    if (const auto open = call.lock()) open->BeginDrain();
  }
  return ticket;
}

void CallGate::Leave(uint64_t ticket) {
  base::MutexLock lock(&mutex_);
  open_.erase(ticket);
}

absl::StatusOr<std::shared_ptr<void>> CallGate::ReserveWait() {
  if (waits_->fetch_add(1) >= waits_max_) {
    waits_->fetch_sub(1);
    return OverLimit("limits.waits",
                     absl::StrCat("limits.waits: ", waits_max_,
                                  " calls already wait for a sequence; try again"),
                     std::chrono::seconds(1));
  }
  return std::shared_ptr<void>(waits_.get(), [waits = waits_](void*) { waits->fetch_sub(1); });
}

void CallGate::Drain() {
  state_.store(State::kDraining, std::memory_order_release);
  std::vector<std::weak_ptr<OpenCall>> open;
  {
    base::MutexLock lock(&mutex_);
    for (const auto& [ticket, call] : open_) open.push_back(call);
  }
  for (const auto& call : open) {
    if (const auto held = call.lock()) held->BeginDrain();
  }
}

size_t CallGate::OpenCalls() const {
  base::MutexLock lock(&mutex_);
  return open_.size();
}

}  // namespace engram::server
