// What callers take of what all share: connections, bytes on their way into the log, and each
// caller's own rates. So that one caller's flood is that caller's problem.
//
// A rate is a bucket that fills steadily. It is asked before a message is parsed and charged with
// what the message turns out to hold, so it may go into debt by one message: refusing a flood
// costs nothing, and over time the rate is exact.
//
// Threading: every method from any thread; time is passed in and never goes back.
// Ownership: an account and what is held outlive the ledger where they must.
// Failure: RESOURCE_EXHAUSTED with QuotaFailure (subject: the limit) and RetryInfo, its text naming
//   limit, value and fix.
// Bounds: 4 096 accounts; beyond, those that hold and owe nothing are forgotten.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "engram/v1/config.pb.h"
#include "engram/v1/learning.pb.h"
#include "server/identity.h"
#include "storage/base/mutex.h"

namespace engram::server {

// What can be met, in the order of kQuotaNames.
enum class QuotaKind {
  kConnections,
  kInFlightBytes,
  kCallerInFlightBytes,
  kLearnStreams,
  kExamples,
  kBoundaries,
};
inline constexpr std::array<absl::string_view, 6> kQuotaNames = {
    "limits.connections",  "limits.in_flight_bytes",    "quota.in_flight_bytes",
    "quota.learn_streams", "quota.examples_per_second", "quota.boundaries_per_minute"};

// Given back with its last copy.
using Hold = std::shared_ptr<void>;

// Fills at `rate` a second up to `most`; a rate of 0 never runs out.
class TokenBucket {
 public:
  TokenBucket(double rate, double most) : rate_(rate), most_(most), tokens_(most) {}
  // How long until one may be taken: zero now.
  absl::Duration Wait(absl::Duration now);
  void Take(double count) {
    if (rate_ > 0) tokens_ -= count;
  }
  bool full() const { return tokens_ >= most_; }

 private:
  const double rate_;
  const double most_;
  double tokens_;
  absl::Duration filled_;
};

class QuotaLedger {
 public:
  class Account;

  // A configuration that is complete.
  explicit QuotaLedger(const v1::ServerConfig& config);

  std::shared_ptr<Account> Of(const Identity& caller) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<Hold> HoldConnection();

  int64_t connections() const { return shared_->connections.load(std::memory_order_relaxed); }
  int64_t in_flight_bytes() const { return shared_->bytes.load(std::memory_order_relaxed); }
  // How often each was met.
  uint64_t met(QuotaKind kind) const {
    return shared_->met[static_cast<size_t>(kind)].load(std::memory_order_relaxed);
  }

 private:
  struct Shared {
    int64_t connections_max = 0;
    int64_t bytes_max = 0;
    std::atomic<int64_t> connections{0};
    std::atomic<int64_t> bytes{0};
    std::array<std::atomic<uint64_t>, kQuotaNames.size()> met{};
  };

  static absl::Status Met(Shared* shared, QuotaKind kind, absl::string_view text,
                          absl::Duration retry_after);
  void ForgetIdle() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const v1::ServerConfig config_;
  const std::shared_ptr<Shared> shared_;
  base::Mutex mutex_;
  absl::btree_map<std::pair<Role, std::string>, std::shared_ptr<Account>> accounts_
      ABSL_GUARDED_BY(mutex_);
};

// One caller's.
class QuotaLedger::Account : public std::enable_shared_from_this<Account> {
 public:
  Account(const Identity& caller, const v1::Quota& quota, std::shared_ptr<Shared> shared);

  absl::StatusOr<Hold> HoldStream() ABSL_LOCKS_EXCLUDED(mutex_);
  // Of a message that is on its way into the log.
  absl::StatusOr<Hold> HoldBytes(int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);
  // Whether examples may come at all now.
  absl::Status CheckExamples(absl::Duration now) ABSL_LOCKS_EXCLUDED(mutex_);
  // The same, and takes these.
  absl::Status TakeExamples(int64_t count, absl::Duration now) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status TakeBoundary(absl::Duration now) ABSL_LOCKS_EXCLUDED(mutex_);
  // Nothing held, nothing owed.
  bool Idle(absl::Duration now) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Status ExamplesStatus(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string caller_;  // as the texts name it
  const v1::Quota quota_;
  const std::shared_ptr<Shared> shared_;
  base::Mutex mutex_;
  int64_t streams_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  TokenBucket examples_ ABSL_GUARDED_BY(mutex_);
  TokenBucket boundaries_ ABSL_GUARDED_BY(mutex_);
};

// Takes what the message holds, examples or a boundary.
absl::Status ChargeRate(const v1::LearnMessage& message, QuotaLedger::Account* account);

}  // namespace engram::server
