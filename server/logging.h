// Structured log: one logfmt line an event on stderr, `level=... event=... key=value ...`.
//
//   Log(LogLevel::kInfo, "checkpoint_created", {{"model", name}, {"sequence", sequence}});
//
// The event is a fixed snake_case word, so that lines can be counted; everything that varies is a
// field. Never log features, labels or subject ids.
//
// Threading: from any thread. Failure: none; a line that cannot be written is lost.
// Bounds: a value is cut at 512 bytes, control characters are escaped (no line is ever forged).
#pragma once

#include <initializer_list>
#include <string>
#include <type_traits>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace engram::server {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

struct LogField {
  LogField(absl::string_view key, const absl::AlphaNum& value) : key(key), value(value.Piece()) {}
  // Only bool itself: numbers would otherwise prefer this one.
  template <typename Bool, std::enable_if_t<std::is_same_v<Bool, bool>, int> = 0>
  LogField(absl::string_view key, Bool value) : key(key), value(value ? "true" : "false") {}
  LogField(absl::string_view key, const char* value) : key(key), value(value) {}
  LogField(absl::string_view key, const absl::Status& status)
      : key(key), value(status.ToString(absl::StatusToStringMode::kWithNoExtraData)) {}

  absl::string_view key;
  std::string value;
};

void Log(LogLevel level, absl::string_view event, std::initializer_list<LogField> fields = {});

// The line without time and level, as Log writes it.
std::string FormatLogLine(absl::string_view event, std::initializer_list<LogField> fields);

}  // namespace engram::server
