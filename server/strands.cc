#include "server/strands.h"

#include <algorithm>
#include <utility>

namespace engram::server {
namespace {

constexpr absl::Duration kLongestSleep = absl::Seconds(1);

}  // namespace

void Strands::Add(uint64_t id, Run run) {
  base::MutexLock lock(&mutex_);
  Strand& strand = strands_[id];
  strand.run = std::move(run);
  strand.served = floor_;
  wake_.NotifyAll();
}

void Strands::Remove(uint64_t id) {
  base::MutexLock lock(&mutex_);
  auto it = strands_.find(id);
  if (it == strands_.end()) return;
  it->second.removed = true;
  while (it->second.running) wake_.Wait(&mutex_);
  strands_.erase(it);
}

void Strands::Wake(uint64_t id) {
  base::MutexLock lock(&mutex_);
  auto it = strands_.find(id);
  if (it == strands_.end() || it->second.ready) return;
  it->second.ready = true;
  if (!it->second.running) {
    it->second.served = std::max(it->second.served, floor_);
    wake_.NotifyOne();
  }
}

Strands::Strand* Strands::Pick(uint64_t* id) {
  const absl::Duration now = clock_->Monotonic();
  Strand* best = nullptr;
  for (auto& entry : strands_) {
    Strand& strand = entry.second;
    if (strand.running || strand.removed) continue;
    if (!strand.ready && strand.wake_at > now) continue;
    if (best != nullptr && best->served <= strand.served) continue;
    best = &strand;
    *id = entry.first;
  }
  return best;
}

bool Strands::RunOne() {
  uint64_t id = 0;
  Strand* strand = nullptr;
  {
    base::MutexLock lock(&mutex_);
    strand = Pick(&id);
    if (strand == nullptr) return false;
    strand->running = true;
    strand->ready = false;
    strand->wake_at = absl::InfiniteDuration();
    floor_ = std::max(floor_, strand->served);
  }
  const Turn turn = strand->run();  // stays where it is: Remove waits for `running`
  base::MutexLock lock(&mutex_);
  strand->running = false;
  strand->ready |= turn.more;
  strand->served += turn.examples + 1;
  if (turn.wake_in < absl::InfiniteDuration()) {
    strand->wake_at = clock_->Monotonic() + turn.wake_in;
  }
  wake_.NotifyAll();
  return true;
}

absl::Duration Strands::UntilNext() const {
  const absl::Duration now = clock_->Monotonic();
  absl::Duration wait = kLongestSleep;
  for (const auto& entry : strands_) {
    const Strand& strand = entry.second;
    if (strand.running || strand.removed) continue;
    if (strand.ready) return absl::ZeroDuration();
    wait = std::min(wait, strand.wake_at - now);
  }
  return std::max(wait, absl::ZeroDuration());
}

void Strands::RunLoop() {
  while (true) {
    while (RunOne()) {
      base::MutexLock lock(&mutex_);
      if (stopping_) return;
    }
    base::MutexLock lock(&mutex_);
    if (stopping_) return;
    const absl::Duration wait = UntilNext();
    if (wait > absl::ZeroDuration()) {
      wake_.WaitFor(&mutex_,
                    absl::ToChronoMilliseconds(absl::Ceil(wait, absl::Milliseconds(1))));
    }
  }
}

void Strands::Stop() {
  base::MutexLock lock(&mutex_);
  stopping_ = true;
  wake_.NotifyAll();
}

}  // namespace engram::server
