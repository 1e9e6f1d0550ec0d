// A producer of unary calls whose replies get lost on purpose: the proxy lets a call reach the
// server, sees the reply come, and cuts the connection before it passes. The call is then sent
// again under the same sequence, up to so many times, until its answer gets through.
//
// Threading: one thread of its own; methods from any thread.
// Ownership: the proxy, which nobody else may use, outlives it.
// Failure: what must never happen is kept in violations(), for the verdict.
#pragma once

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "storage/base/mutex.h"
#include "storage/sample_log.h"
#include "tests/crash/ledger.h"
#include "tests/crash/producer.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/tcp_proxy.h"

namespace engram::net {

struct ResenderOptions {
  crash::ProducerOptions producer;
  double resent = 0.1;  // share of the messages that lose their reply
  int retries = 10;     // most replies that one message loses
};

class Resender {
 public:
  Resender(ResenderOptions options, testing::TcpProxy* proxy);
  ~Resender() { Finish(); }

  // After the message under way has its answer.
  void Finish();
  std::vector<std::string> violations() const;
  const ResenderOptions& options() const { return options_; }
  uint64_t duplicates() const { return duplicates_; }
  uint64_t messages() const { return messages_; }
  // Each answer named the log sequence at which its message lies: true when the log agrees. Prints
  // what does not.
  bool AnswersNamed(const std::vector<storage::LogRecord>& records) const;

 private:
  struct Answer {
    grpc::Status status;
    uint64_t first_sequence = 0;
    bool duplicate = false;
  };

  void Run();
  void SendUntilAnswered(uint64_t sequence);
  Answer Send(const engram::v1::LearnMessage& message) const;
  // Whether it is a boundary that was refused, never having been taken: another producer's boundary
  // left it without examples.
  bool LacksExamples(uint64_t sequence, int lost, const Answer& answer) const;
  void Settle(uint64_t sequence, int lost, const Answer& answer);
  void Violation(uint64_t sequence, const std::string& what);

  const ResenderOptions options_;
  testing::TcpProxy* const proxy_;
  crash::Ledger ledger_;
  std::unique_ptr<testing::Stubs> stubs_;  // of the thread
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> duplicates_{0};
  std::atomic<uint64_t> messages_{0};
  mutable base::Mutex mutex_;
  std::vector<std::string> violations_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, uint64_t> first_sequences_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace engram::net
