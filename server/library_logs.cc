#include "server/library_logs.h"

#include <grpc/support/log.h>

#include <string>

#include "absl/strings/match.h"
#include "google/protobuf/stubs/logging.h"
#include "server/clock.h"
#include "server/logging.h"

namespace engram::server {
namespace {

constexpr double kLinesPerSecond = 1;
constexpr double kLinesAtOnce = 20;

void LogFromGrpc(gpr_log_func_args* line) {
  static auto* const budget = new LineBudget(kLinesPerSecond, kLinesAtOnce);
  const auto held_back = budget->Take(SteadyNow());
  // After this one the process aborts.
  const bool last_words = absl::StrContains(line->message, "assertion failed");
  if (!held_back.has_value() && !last_words) return;
  const LogLevel level = line->severity == GPR_LOG_SEVERITY_ERROR  ? LogLevel::kError
                         : line->severity == GPR_LOG_SEVERITY_INFO ? LogLevel::kInfo
                                                                   : LogLevel::kDebug;
  Log(level, "grpc", {{"message", line->message}, {"held_back", held_back.value_or(0)}});
}

void LogFromProtobuf(google::protobuf::LogLevel level, const char* /*file*/, int /*line*/,
                     const std::string& message) {
  static auto* const budget = new LineBudget(kLinesPerSecond, kLinesAtOnce);
  const auto held_back = budget->Take(SteadyNow());
  if (!held_back.has_value() && level != google::protobuf::LOGLEVEL_FATAL) return;
  Log(LogLevel::kWarning, "protobuf",
      {{"message", message}, {"held_back", held_back.value_or(0)}});
}

}  // namespace

absl::optional<uint64_t> LineBudget::Take(absl::Duration now) {
  base::MutexLock lock(&mutex_);
  if (lines_.Wait(now) > absl::ZeroDuration()) {
    ++held_back_;
    return absl::nullopt;
  }
  lines_.Take(1);
  const uint64_t held_back = held_back_;
  held_back_ = 0;
  return held_back;
}

void TakeLibraryLogs() {
  gpr_set_log_function(LogFromGrpc);
  google::protobuf::SetLogHandler(LogFromProtobuf);
}

}  // namespace engram::server
