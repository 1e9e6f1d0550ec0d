// Lets writes pass, many at a time, until somebody closes it: then they wait, and the closer has
// the database as it stands.
//
// Threading: Passage and Closed from any thread. A thread that holds Closed must not ask for a
//   Passage, nor for a mutex that a writer may hold while it waits.
// Bounds: a Closed waits for the writes that have passed and for no other.
#pragma once

#include "absl/base/thread_annotations.h"
#include "storage/base/mutex.h"

namespace engram::storage {

class WriteGate {
 public:
  class Passage {
   public:
    explicit Passage(WriteGate* gate) : gate_(gate) { gate_->Enter(); }
    ~Passage() { gate_->Leave(); }
    Passage(const Passage&) = delete;
    Passage& operator=(const Passage&) = delete;

   private:
    WriteGate* const gate_;
  };

  class Closed {
   public:
    explicit Closed(WriteGate* gate) : gate_(gate) { gate_->Close(); }
    ~Closed() { gate_->Open(); }
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;

   private:
    WriteGate* const gate_;
  };

 private:
  void Enter() {
    base::MutexLock lock(&mutex_);
    while (closed_) changed_.Wait(&mutex_);
    ++inside_;
  }
  void Leave() {
    base::MutexLock lock(&mutex_);
    if (--inside_ == 0 && closed_) changed_.NotifyAll();
  }
  void Close() {
    base::MutexLock lock(&mutex_);
    while (closed_) changed_.Wait(&mutex_);
    closed_ = true;
    while (inside_ > 0) changed_.Wait(&mutex_);
  }
  void Open() {
    base::MutexLock lock(&mutex_);
    closed_ = false;
    changed_.NotifyAll();
  }

  base::Mutex mutex_;
  base::CondVar changed_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  int inside_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace engram::storage
