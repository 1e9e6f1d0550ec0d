// A producer that streams its plan into one model for as long as it is told, over any number of
// lives of the server: after each it resends everything from its own last ack on, under the same
// sequences.
//
// Threading: starts its own threads; methods from any thread.
// Ownership: plan and ledger are its own; the address book outlives it.
// Failure: what must never happen (the server knows less than it acked, refuses a resent message)
// is
//   kept in violations(), for the verdict.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "storage/base/mutex.h"
#include "tests/crash/ledger.h"
#include "tests/crash/message_plan.h"
#include "tests/testing/process/learn_session.h"

namespace engram::crash {

// Where the server lives now. Threading: any thread.
class AddressBook {
 public:
  void Set(std::string address);
  // Empty while no server is up.
  std::string Get() const;

 private:
  mutable base::Mutex mutex_;
  std::string address_ ABSL_GUARDED_BY(mutex_);
};

struct ProducerOptions {
  std::string model;
  MessagePlan plan;
  std::string ledger_file;
  double examples_per_second = 3000;
};

class Producer {
 public:
  Producer(ProducerOptions options, const AddressBook* addresses);
  ~Producer();

  // No new messages; returns once everything sent is acked and the stream ended well, or false
  // after a minute.
  bool Finish();
  std::vector<std::string> violations() const;
  const ProducerOptions& options() const { return options_; }
  uint64_t duplicates() const { return duplicates_; }
  // Up to this sequence.
  uint64_t acked() const { return ledger_.last_acked(); }
  uint64_t streams() const { return streams_; }

 private:
  void Run();
  // One stream, until it breaks; true when it ended with everything acked.
  bool RunStream(const std::string& address);
  // Writes messages from the first that is not acked on.
  bool WriteAll(testing::LearnSession* session);
  void ReadAcks(testing::LearnSession* session);
  void JudgeEnd(const grpc::Status& status);
  void Violation(std::string what);

  const ProducerOptions options_;
  const AddressBook* const addresses_;
  Ledger ledger_;
  std::atomic<bool> finishing_{false};
  std::atomic<bool> finished_{false};
  std::atomic<bool> abandon_{false};
  std::atomic<uint64_t> duplicates_{0};
  std::atomic<uint64_t> streams_{0};
  uint64_t last_sent_ = 0;
  mutable base::Mutex mutex_;
  std::vector<std::string> violations_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace engram::crash
