// A value that may be replaced while others read it: copies of a LiveValue are one value.
//
//   limits->producers()   // as it is now
//
// Threading: every method from any thread; what Get returned does not change.
#pragma once

#include <memory>
#include <utility>

#include "storage/base/mutex.h"

namespace engram::server {

template <typename Value>
class LiveValue {
 public:
  LiveValue(Value value = Value()) : cell_(std::make_shared<Cell>()) { Set(std::move(value)); }

  std::shared_ptr<const Value> Get() const {
    base::MutexLock lock(&cell_->mutex);
    return cell_->value;
  }
  std::shared_ptr<const Value> operator->() const { return Get(); }
  void Set(Value value) {
    auto next = std::make_shared<const Value>(std::move(value));
    base::MutexLock lock(&cell_->mutex);
    cell_->value.swap(next);
  }

 private:
  struct Cell {
    base::Mutex mutex;
    std::shared_ptr<const Value> value ABSL_GUARDED_BY(mutex);
  };

  std::shared_ptr<Cell> cell_;
};

}  // namespace engram::server
