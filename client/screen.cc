#include "client/screen.h"

#include <langinfo.h>

#include <algorithm>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// Last: it defines OK, ERR, TRUE and many more.
#define NCURSES_NOMACROS
#include <ncurses.h>

namespace engram::client {
namespace {

enum ColourPair : short { kGoodPair = 1, kBadPair, kTitlePair };

// https://no-color.org: set to anything.
bool ColoursAreWanted() {
  const char* no_colour = std::getenv("NO_COLOR");
  return no_colour == nullptr || *no_colour == '\0';
}

attr_t AttributesOf(Ink ink, bool colours) {
  switch (ink) {
    case Ink::kPlain:
      return A_NORMAL;
    case Ink::kFaint:
      return A_DIM;
    case Ink::kStrong:
      return A_BOLD;
    case Ink::kTitle:
      return A_BOLD | (colours ? COLOR_PAIR(kTitlePair) : A_UNDERLINE);
    case Ink::kGood:
      return colours ? COLOR_PAIR(kGoodPair) : A_NORMAL;
    case Ink::kBad:
      return A_BOLD | (colours ? COLOR_PAIR(kBadPair) : A_NORMAL);
  }
  return A_NORMAL;
}

// The longest beginning of `text` that takes at most `columns`.
std::string Cut(const std::string& text, int columns) {
  size_t end = 0;
  for (int taken = 0; end < text.size(); ++end) {
    const bool begins = (static_cast<unsigned char>(text[end]) & 0xC0) != 0x80;
    if (begins && ++taken > columns) break;
  }
  return text.substr(0, end);
}

}  // namespace

struct Screen::Terminal {
  SCREEN* screen = nullptr;
  ~Terminal() {
    if (screen == nullptr) return;
    endwin();
    delscreen(screen);
  }
};

int ColumnsOf(const std::string& text) {
  return static_cast<int>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

Screen::Screen() : stop_(StopSignal::Catch::kAlways), terminal_(std::make_unique<Terminal>()) {}

Screen::~Screen() = default;

absl::StatusOr<std::unique_ptr<Screen>> Screen::Open() {
  // Characters only: numbers are printed as everywhere.
  std::setlocale(LC_CTYPE, "");
  std::unique_ptr<Screen> opened(new Screen);
  opened->unicode_ = std::strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
  opened->terminal_->screen = newterm(nullptr, stdout, stdin);
  if (opened->terminal_->screen == nullptr) {
    return absl::FailedPreconditionError(
        "TERM names no terminal that can be drawn on; --plain prints lines");
  }
  cbreak();
  noecho();
  curs_set(0);
  keypad(stdscr, true);
  set_escdelay(25);
  opened->colours_ = ColoursAreWanted() && has_colors();
  if (opened->colours_) {
    start_color();
    use_default_colors();
    init_pair(kGoodPair, COLOR_GREEN, -1);
    init_pair(kBadPair, COLOR_RED, -1);
    init_pair(kTitlePair, COLOR_CYAN, -1);
  }
  return opened;
}

int Screen::width() const { return getmaxx(stdscr); }
int Screen::height() const { return getmaxy(stdscr); }

void Screen::Draw(const std::vector<ScreenLine>& lines) {
  werase(stdscr);
  const int rows = std::min(height(), static_cast<int>(lines.size()));
  for (int row = 0; row < rows; ++row) {
    int column = 0;
    for (const InkedText& part : lines[static_cast<size_t>(row)]) {
      const std::string shown = Cut(part.text, width() - column);
      if (shown.empty()) break;
      wattrset(stdscr, static_cast<int>(AttributesOf(part.ink, colours_)));
      mvwaddstr(stdscr, row, column, shown.c_str());
      column += ColumnsOf(shown);
    }
  }
  wattrset(stdscr, A_NORMAL);
  wrefresh(stdscr);
}

Screen::Key Screen::AwaitKey(absl::Duration longest) {
  wtimeout(stdscr, static_cast<int>(absl::ToInt64Milliseconds(longest)));
  const int key = wgetch(stdscr);
  if (stop_.arrived() || key == 'q' || key == 'Q') return Key::kQuit;
  if (key == KEY_RESIZE) return Key::kResized;
  if (key == KEY_UP || key == 'k') return Key::kUp;
  if (key == KEY_DOWN || key == 'j') return Key::kDown;
  return Key::kNone;
}

}  // namespace engram::client
