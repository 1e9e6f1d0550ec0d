#include "client/progress.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace engram::client {
namespace {

constexpr absl::Duration kRedrawEvery = absl::Milliseconds(100);
constexpr int kBarCells = 24;

std::string Bar(double share) {
  const int full = static_cast<int>(share * kBarCells);
  return absl::StrCat("[", std::string(full, '='), full < kBarCells ? ">" : "",
                      std::string(std::max(0, kBarCells - full - 1), ' '), "]");
}

}  // namespace

Progress::Progress(ProgressOptions options, std::ostream* out)
    : options_(std::move(options)), start_(absl::Now()), out_(out), drawn_(start_) {}

Progress::~Progress() { Finish(); }

void Progress::Begin(int64_t done) {
  absl::MutexLock lock(&mu_);
  done_ = done;
  done_before_ = done;
}

void Progress::Set(int64_t done, absl::string_view note) {
  absl::MutexLock lock(&mu_);
  done_ = done;
  note_ = std::string(note);
  const absl::Time now = absl::Now();
  const absl::Duration every = options_.terminal ? kRedrawEvery : options_.line_every;
  if (!finished_ && now - drawn_ >= every) Draw(now);
}

void Progress::Line(absl::string_view text) {
  absl::MutexLock lock(&mu_);
  if (!options_.quiet) Keep(text);
}

void Progress::Warn(absl::string_view text) {
  absl::MutexLock lock(&mu_);
  Keep(text);
}

void Progress::Keep(absl::string_view text) {
  Erase();
  *out_ << text << "\n";
  if (options_.terminal && !finished_ && done_ > 0) Draw(absl::Now());
  out_->flush();
}

void Progress::Finish() {
  absl::MutexLock lock(&mu_);
  if (finished_) return;
  finished_ = true;
  if (options_.quiet || done_ == 0) return;
  Erase();
  *out_ << Text(absl::Now()) << "\n";
  out_->flush();
}

void Progress::Draw(absl::Time now) {
  drawn_ = now;
  if (options_.quiet) return;
  Erase();
  *out_ << Text(now);
  if (!options_.terminal) *out_ << "\n";
  bar_visible_ = options_.terminal;
  out_->flush();
}

void Progress::Erase() {
  // Carriage return, then erase to the end of the line.
  if (bar_visible_) *out_ << "\r\x1b[K";
  bar_visible_ = false;
}

std::string Progress::Text(absl::Time now) const {
  const double seconds = std::max(absl::ToDoubleSeconds(now - start_), 1e-6);
  const double rate = static_cast<double>(done_ - done_before_) / seconds;
  std::string text = options_.title;
  if (options_.total > 0) {
    const double share = std::min(1.0, static_cast<double>(done_) / options_.total);
    if (options_.terminal) absl::StrAppend(&text, " ", Bar(share));
    absl::StrAppendFormat(&text, " %3.0f%% %d/%d %s", 100 * share, done_, options_.total,
                          options_.unit);
  } else {
    absl::StrAppendFormat(&text, " %d %s", done_, options_.unit);
  }
  absl::StrAppendFormat(&text, ", %.0f/s", rate);
  if (options_.total > done_ && rate > 0) {
    absl::StrAppendFormat(&text, ", %.0f s left", (options_.total - done_) / rate);
  }
  if (!note_.empty()) absl::StrAppend(&text, ", ", note_);
  return text;
}

}  // namespace engram::client
