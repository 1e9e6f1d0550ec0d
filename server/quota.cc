#include "server/quota.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "server/clock.h"
#include "server/errors.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr size_t kAccountsMax = 4096;
// For what comes free when somebody else lets go of it.
constexpr absl::Duration kStreamPause = absl::Seconds(1);
constexpr absl::Duration kBytesPause = absl::Milliseconds(20);

std::string NameOf(const Identity& caller) {
  if (caller.name.empty()) return "callers without credentials";
  return absl::StrCat(RoleName(caller.role), " \"", Echo(caller.name), "\"");
}

const v1::Quota& QuotaOf(const v1::ServerConfig& config, const Identity& caller) {
  for (const v1::CallerQuota& each : config.caller_quotas()) {
    if (each.role() == RoleName(caller.role) && each.name() == caller.name) return each.quota();
  }
  return config.quota();
}

// 0 is no limit.
bool Fits(int64_t taken, int64_t more, int64_t most) { return most == 0 || taken + more <= most; }

}  // namespace

absl::Duration TokenBucket::Wait(absl::Duration now) {
  if (rate_ <= 0) return absl::ZeroDuration();
  if (now > filled_) {
    tokens_ = std::min(most_, tokens_ + absl::ToDoubleSeconds(now - filled_) * rate_);
    filled_ = now;
  }
  if (tokens_ >= 1) return absl::ZeroDuration();
  return std::max(absl::Seconds((1 - tokens_) / rate_), absl::Milliseconds(1));
}

QuotaLedger::QuotaLedger(const v1::ServerConfig& config)
    : config_(config), shared_(std::make_shared<Shared>()) {
  shared_->connections_max = config.limits().connections();
  shared_->bytes_max = config.limits().in_flight_bytes();
}

absl::Status QuotaLedger::Met(Shared* shared, QuotaKind kind, absl::string_view text,
                              absl::Duration retry_after) {
  const auto index = static_cast<size_t>(kind);
  shared->met[index].fetch_add(1, std::memory_order_relaxed);
  return OverLimit(kQuotaNames[index], absl::StrCat(kQuotaNames[index], ": ", text),
                   absl::ToChronoMilliseconds(absl::Ceil(retry_after, absl::Milliseconds(1))));
}

std::shared_ptr<QuotaLedger::Account> QuotaLedger::Of(const Identity& caller) {
  base::MutexLock lock(&mutex_);
  std::pair<Role, std::string> key(caller.role, caller.name);
  const auto found = accounts_.find(key);
  if (found != accounts_.end()) return found->second;
  if (accounts_.size() >= kAccountsMax) ForgetIdle();
  auto account = std::make_shared<Account>(caller, QuotaOf(config_, caller), shared_);
  return accounts_.emplace(std::move(key), std::move(account)).first->second;
}

void QuotaLedger::ForgetIdle() {
  const absl::Duration now = SystemClock()->Monotonic();
  for (auto each = accounts_.begin(); each != accounts_.end();) {
    each = each->second->Idle(now) ? accounts_.erase(each) : std::next(each);
  }
}

absl::StatusOr<Hold> QuotaLedger::HoldConnection() {
  if (shared_->connections.fetch_add(1) >= shared_->connections_max) {
    shared_->connections.fetch_sub(1);
    return Met(shared_.get(), QuotaKind::kConnections,
               absl::StrCat(shared_->connections_max, " connections are open; close some"),
               kStreamPause);
  }
  return Hold(static_cast<void*>(shared_.get()),
              [shared = shared_](void*) { shared->connections.fetch_sub(1); });
}

QuotaLedger::Account::Account(const Identity& caller, const v1::Quota& quota,
                              std::shared_ptr<Shared> shared)
    : caller_(NameOf(caller)),
      quota_(quota),
      shared_(std::move(shared)),
      examples_(static_cast<double>(quota.examples_per_second()),
                static_cast<double>(quota.examples_per_second())),
      boundaries_(static_cast<double>(quota.boundaries_per_minute()) / 60,
                  static_cast<double>(quota.boundaries_per_minute())) {}

absl::StatusOr<Hold> QuotaLedger::Account::HoldStream() {
  base::MutexLock lock(&mutex_);
  if (!Fits(streams_, 1, quota_.learn_streams())) {
    return Met(shared_.get(), QuotaKind::kLearnStreams,
               absl::StrCat(caller_, " may have ", quota_.learn_streams(),
                            " Learn streams open; end one first"),
               kStreamPause);
  }
  ++streams_;
  return Hold(static_cast<void*>(this), [self = shared_from_this()](void*) {
    base::MutexLock lock(&self->mutex_);
    --self->streams_;
  });
}

absl::StatusOr<Hold> QuotaLedger::Account::HoldBytes(int64_t bytes) {
  base::MutexLock lock(&mutex_);
  if (!Fits(bytes_, bytes, quota_.in_flight_bytes())) {
    return Met(shared_.get(), QuotaKind::kCallerInFlightBytes,
               absl::StrCat(bytes, " bytes are too many beside the ", bytes_, " that ", caller_,
                            " has in flight of ", quota_.in_flight_bytes(), "; wait for acks"),
               kBytesPause);
  }
  const int64_t before = shared_->bytes.fetch_add(bytes);
  if (before + bytes > shared_->bytes_max) {
    shared_->bytes.fetch_sub(bytes);
    return Met(shared_.get(), QuotaKind::kInFlightBytes,
               absl::StrCat(bytes, " bytes are too many beside the ", before, " in flight of ",
                            shared_->bytes_max, "; try again"),
               kBytesPause);
  }
  bytes_ += bytes;
  return Hold(static_cast<void*>(this), [self = shared_from_this(), bytes](void*) {
    self->shared_->bytes.fetch_sub(bytes);
    base::MutexLock lock(&self->mutex_);
    self->bytes_ -= bytes;
  });
}

absl::Status QuotaLedger::Account::ExamplesStatus(absl::Duration now) {
  const absl::Duration wait = examples_.Wait(now);
  if (wait == absl::ZeroDuration()) return absl::OkStatus();
  return Met(shared_.get(), QuotaKind::kExamples,
             absl::StrCat(quota_.examples_per_second(), "/s limit for ", caller_,
                          " is used up; send slower, or raise it"),
             wait);
}

absl::Status QuotaLedger::Account::CheckExamples(absl::Duration now) {
  base::MutexLock lock(&mutex_);
  return ExamplesStatus(now);
}

absl::Status QuotaLedger::Account::TakeExamples(int64_t count, absl::Duration now) {
  base::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(ExamplesStatus(now));
  examples_.Take(static_cast<double>(count));
  return absl::OkStatus();
}

absl::Status QuotaLedger::Account::TakeBoundary(absl::Duration now) {
  base::MutexLock lock(&mutex_);
  const absl::Duration wait = boundaries_.Wait(now);
  if (wait > absl::ZeroDuration()) {
    return Met(shared_.get(), QuotaKind::kBoundaries,
               absl::StrCat(quota_.boundaries_per_minute(), "/min limit for ", caller_,
                            " is used up; mark fewer, or raise it"),
               wait);
  }
  boundaries_.Take(1);
  return absl::OkStatus();
}

bool QuotaLedger::Account::Idle(absl::Duration now) {
  base::MutexLock lock(&mutex_);
  examples_.Wait(now);
  boundaries_.Wait(now);
  return streams_ == 0 && bytes_ == 0 && examples_.full() && boundaries_.full();
}

absl::Status ChargeRate(const v1::LearnMessage& message, QuotaLedger::Account* account) {
  const absl::Duration now = SystemClock()->Monotonic();
  return message.has_boundary() ? account->TakeBoundary(now)
                                : account->TakeExamples(message.examples_size(), now);
}

}  // namespace engram::server
