// Somebody who takes checkpoints and rolls back at random while everything else goes on.
//
// Threading: starts its own thread. Ownership: the address book outlives it.
// Failure: calls that fail because the server died are expected; what was answered is kept.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "storage/base/mutex.h"
#include "tests/crash/producer.h"

namespace engram::crash {

// A rollback that the server answered: the log must hold it at this sequence.
struct AnsweredRollback {
  uint64_t sequence = 0;
  uint64_t restored = 0;
};

class Operator {
 public:
  Operator(uint64_t seed, std::vector<std::string> models, const AddressBook* addresses);
  ~Operator() { Stop(); }

  void Stop();
  std::map<std::string, std::vector<AnsweredRollback>> rollbacks() const;
  int checkpoints() const { return checkpoints_; }

 private:
  void Run();
  void Act(const std::string& address, const std::string& model, uint64_t draw);
  void RollBack(const std::string& address, const std::string& model, uint64_t draw);

  const uint64_t seed_;
  const std::vector<std::string> models_;
  const AddressBook* const addresses_;
  std::atomic<bool> stop_{false};
  std::atomic<int> checkpoints_{0};
  mutable base::Mutex mutex_;
  std::map<std::string, std::vector<AnsweredRollback>> rollbacks_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace engram::crash
