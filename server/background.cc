#include "server/background.h"

#include <utility>

namespace engram::server {

void Background::Push(std::function<void()> job) {
  base::MutexLock lock(&mutex_);
  jobs_.push_back(std::move(job));
  wake_.NotifyOne();
}

bool Background::RunOne() {
  std::function<void()> job;
  {
    base::MutexLock lock(&mutex_);
    if (jobs_.empty()) return false;
    job = std::move(jobs_.front());
    jobs_.pop_front();
  }
  job();
  return true;
}

void Background::Run() {
  while (true) {
    while (RunOne()) {
    }
    base::MutexLock lock(&mutex_);
    while (jobs_.empty()) {
      if (stopping_) return;
      wake_.Wait(&mutex_);
    }
  }
}

void Background::Stop() {
  base::MutexLock lock(&mutex_);
  stopping_ = true;
  wake_.NotifyAll();
}

}  // namespace engram::server
