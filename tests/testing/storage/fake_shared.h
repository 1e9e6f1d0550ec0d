// What the parts of FakeStore share: the clock and the injected refusal. Private to FakeStore.
#pragma once

#include <functional>
#include <string>

#include "absl/strings/str_cat.h"
#include "storage/base/mutex.h"
#include "tests/testing/storage/fake_store.h"

namespace engram::testing {

class FakeStore::Shared {
 public:
  explicit Shared(FakeStoreOptions store_options) : options(std::move(store_options)) {
    if (options.now_ms == nullptr) options.now_ms = [] { return int64_t{1000000}; };
  }

  void Refuse(absl::Status status) {
    base::MutexLock lock(&mutex_);
    refusal_ = std::move(status);
  }
  absl::Status Refusal() const {
    base::MutexLock lock(&mutex_);
    return refusal_;
  }

  FakeStoreOptions options;
  std::function<void()> while_deleting = [] {};

 private:
  mutable base::Mutex mutex_;
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::testing
