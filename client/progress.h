// How far long work is: a bar that redraws itself on a terminal, plain lines otherwise.
//
// Threading: safe from any thread.
// Ownership: borrows the stream.
// Failure: none; a stream that cannot be written to is ignored.
// Bounds: at most ten redraws a second on a terminal, at most one plain line every `line_every`.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace engram::client {

struct ProgressOptions {
  // Stands before the bar.
  std::string title;
  // What is counted, e.g. "examples".
  std::string unit;
  // 0 = not known: shows the count and the rate only.
  int64_t total = 0;
  bool terminal = false;
  // Shows nothing at all.
  bool quiet = false;
  absl::Duration line_every = absl::Seconds(5);
};

class Progress {
 public:
  Progress(ProgressOptions options, std::ostream* out);
  // Finishes.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // Work that goes on: so many units were done before, and are no part of the rate.
  void Begin(int64_t done);

  // `done` units in all so far; `note` stands at the end of the line.
  void Set(int64_t done, absl::string_view note = "");

  // A whole line that stays, above the bar.
  void Line(absl::string_view text);

  // The same of what went wrong: also when quiet.
  void Warn(absl::string_view text);

  // Draws the last state and ends the line. Later calls do nothing.
  void Finish();

 private:
  void Keep(absl::string_view text) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Draw(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void Erase() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string Text(absl::Time now) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const ProgressOptions options_;
  const absl::Time start_;
  absl::Mutex mu_;
  std::ostream* const out_ ABSL_PT_GUARDED_BY(mu_);
  int64_t done_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t done_before_ ABSL_GUARDED_BY(mu_) = 0;
  std::string note_ ABSL_GUARDED_BY(mu_);
  absl::Time drawn_ ABSL_GUARDED_BY(mu_) = absl::InfinitePast();
  bool bar_visible_ ABSL_GUARDED_BY(mu_) = false;
  bool finished_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace engram::client
