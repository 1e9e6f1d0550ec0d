// The terminal as lines of inked text that are drawn over each other without flicker.
//
// Over ncurses, which sends only what differs from what is shown, knows what the terminal can do,
// follows its size, and puts everything back. Only screen.cc sees ncurses: its macros name half of
// the language.
//
// Threading: one thread; one Screen at a time. While it lives, nobody else writes to the terminal.
// Ownership: the terminal, from Open to the destructor, which leaves it as it was.
// Failure: Open returns FAILED_PRECONDITION for a terminal that cannot be drawn on.
// Bounds: lines and columns beyond the terminal's size are not shown.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/stop_signal.h"

namespace engram::client {

// What a text is, not its colour: without colours (NO_COLOR, an old terminal) kStrong, kBad and
// kTitle still stand out, and nothing is said by colour alone.
enum class Ink { kPlain, kFaint, kStrong, kTitle, kGood, kBad };

struct InkedText {
  std::string text;
  Ink ink = Ink::kPlain;
};
using ScreenLine = std::vector<InkedText>;

// Columns that UTF-8 text takes, where each character takes one.
int ColumnsOf(const std::string& text);

class Screen {
 public:
  enum class Key { kNone, kQuit, kResized, kUp, kDown };

  static absl::StatusOr<std::unique_ptr<Screen>> Open();
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  int width() const;
  int height() const;
  // Whether more than ASCII can be shown.
  bool unicode() const { return unicode_; }

  // Shows these lines and nothing else.
  void Draw(const std::vector<ScreenLine>& lines);

  // kQuit: q, or a signal that asks the program to end. kNone: nothing came in time.
  Key AwaitKey(absl::Duration longest);

 private:
  struct Terminal;
  Screen();

  const StopSignal stop_;
  std::unique_ptr<Terminal> terminal_;
  bool unicode_ = false;
  bool colours_ = false;
};

}  // namespace engram::client
