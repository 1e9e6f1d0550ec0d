#include "client/report_svg.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/report_text.h"
#include "client/table.h"

namespace engram::client {
namespace {

using v1::AccuracyRow;
using v1::Report;

constexpr int kTasksMax = 16;
constexpr int kRowsMax = 32;

// The page, in pixels.
constexpr double kWidth = 960;
constexpr double kLeft = 64;
constexpr double kRight = 730;
constexpr double kTop = 96;
constexpr double kBottom = 376;
constexpr double kMatrixTop = 500;
constexpr double kMatrixLeft = 190;
constexpr double kCellHeight = 24;
constexpr double kCellWidthMax = 80;
constexpr double kLabelDistance = 15;
// Of a task's name beside its line: more would push its accuracy off the page.
constexpr size_t kNameLetters = 24;

// Colours that most eyes tell apart (Okabe and Ito 2008), without black and yellow, which vanish on
// one of the two grounds.
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73",
                                    "#cc79a7", "#56b4e9", "#e69f00"};
constexpr const char* kDashes[] = {"none", "7 4", "2 3"};
constexpr size_t kColourCount = 6;

// Plain rules first: a viewer that knows no media queries shows the light page.
constexpr char kStyle[] =
    "<style>\n"
    "text { font-family: system-ui, sans-serif; font-size: 12px; fill: #1f2328 }\n"
    ".paper { fill: #ffffff }\n"
    ".title { font-size: 18px; font-weight: 600 }\n"
    ".faint { fill: #57606a }\n"
    ".grid { stroke: #d0d7de; stroke-width: 1 }\n"
    ".boundary { stroke: #8c959f; stroke-width: 1 }\n"
    ".rollback { stroke: #b3261e; stroke-width: 2; stroke-dasharray: 6 3 }\n"
    ".warning { fill: #b3261e; font-weight: 600 }\n"
    ".hollow { fill: #ffffff }\n"
    "@media (prefers-color-scheme: dark) {\n"
    "text { fill: #e6edf3 }\n"
    ".paper, .hollow { fill: #15191e }\n"
    ".faint { fill: #9aa4af }\n"
    ".grid { stroke: #30363d }\n"
    ".boundary { stroke: #6e7681 }\n"
    ".rollback { stroke: #ff8a80 }\n"
    ".warning { fill: #ff8a80 }\n"
    "}\n"
    "</style>\n";

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(text,
                             {{"&", "&amp;"}, {"<", "&lt;"}, {">", "&gt;"}, {"\"", "&quot;"}});
}

std::string Text(double x, double y, absl::string_view text, absl::string_view attributes = "") {
  return absl::StrFormat("<text x=\"%.1f\" y=\"%.1f\"%s>%s</text>\n", x, y,
                         attributes.empty() ? "" : absl::StrCat(" ", attributes), Escaped(text));
}

std::string Line(double x1, double y1, double x2, double y2, absl::string_view kind) {
  return absl::StrFormat("<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n",
                         x1, y1, x2, y2, kind);
}

double HeightOf(double accuracy) { return kBottom - accuracy * (kBottom - kTop); }

// A marker of one of four shapes. `hollow`: a rollback undid what it stands for.
std::string Marker(int shape, double x, double y, absl::string_view colour, bool hollow) {
  const std::string ink =
      hollow ? absl::StrCat("class=\"hollow\" stroke=\"", colour, "\" stroke-width=\"1.5\"")
             : absl::StrCat("fill=\"", colour, "\"");
  switch (shape % 4) {
    case 0:
      return absl::StrFormat("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"4\" %s/>\n", x, y, ink);
    case 1:
      return absl::StrFormat("<rect x=\"%.1f\" y=\"%.1f\" width=\"7\" height=\"7\" %s/>\n", x - 3.5,
                             y - 3.5, ink);
    case 2:
      return absl::StrFormat("<path d=\"M%.1f %.1fl5 8h-10z\" %s/>\n", x, y - 5, ink);
    default:
      return absl::StrFormat("<path d=\"M%.1f %.1fl5 5l-5 5l-5-5z\" %s/>\n", x, y - 5, ink);
  }
}

struct Point {
  double x = 0;
  double y = 0;
  bool undone = false;
};

class Picture {
 public:
  explicit Picture(const Report& report)
      : report_(report),
        first_task_(std::max(0, report.tasks_size() - kTasksMax)),
        first_row_(std::max(0, report.rows_size() - kRowsMax)) {
    if (report.rows_size() > 0) begin_ = report.rows(first_row_).sequence();
    end_ = std::max(begin_, report.model_version());
    for (const AccuracyRow& row : report.rows()) end_ = std::max(end_, row.sequence());
  }

  std::string Draw() {
    std::string body = Header();
    absl::StrAppend(&body, Axes(), Boundaries());
    for (int j = first_task_; j < report_.tasks_size(); ++j) absl::StrAppend(&body, Series(j));
    absl::StrAppend(&body, Rollbacks(), Labels(), Matrix());
    const double height = kMatrixTop + kCellHeight * (Rows() + 1) + 40;
    return absl::StrFormat(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" "
        "height=\"%.0f\" role=\"img\" aria-labelledby=\"title description\">\n"
        "<title id=\"title\">%s</title>\n<desc id=\"description\">%s</desc>\n%s"
        "<rect class=\"paper\" width=\"100%%\" height=\"100%%\"/>\n%s</svg>\n",
        kWidth, height, kWidth, height, Escaped(Title()), Escaped(Description()), kStyle, body);
  }

 private:
  int Rows() const { return report_.rows_size() - first_row_; }
  int Tasks() const { return report_.tasks_size() - first_task_; }
  const char* ColourOf(int task) const {
    return kColours[static_cast<size_t>(task) % kColourCount];
  }

  double PlaceOf(uint64_t sequence) const {
    if (end_ == begin_) return (kLeft + kRight) / 2;
    const double share = (static_cast<double>(sequence) - static_cast<double>(begin_)) /
                         static_cast<double>(end_ - begin_);
    return kLeft + 20 + share * (kRight - kLeft - 40);
  }

  std::string Title() const {
    return absl::StrCat("What ", report_.model(), " knows and what it forgot");
  }

  std::string Description() const {
    std::string text = absl::StrCat("Accuracy of ", report_.tasks_size(), " tasks at ",
                                    report_.rows_size(), " boundaries, ", report_.rollbacks_size(),
                                    " rollbacks, up to version ", report_.model_version(),
                                    ". In percent: ", SummaryText(report_.summary()), ".");
    for (const auto& task : report_.tasks()) {
      if (!task.has_accuracy()) continue;
      absl::StrAppend(&text, " ", task.task(), ": ", Percent(task.accuracy()));
      if (task.has_best_accuracy()) {
        absl::StrAppend(&text, ", at best ", Percent(task.best_accuracy()));
      }
      absl::StrAppend(&text, ".");
    }
    return text;
  }

  std::string Header() const {
    std::string text = Text(24, 36, Title(), "class=\"title\"");
    absl::StrAppend(&text, Text(24, 58,
                                absl::StrCat("version ", report_.model_version(), ": ",
                                             SummaryText(report_.summary()), ", in percent"),
                                "class=\"faint\""));
    std::string left_out;
    if (first_task_ > 0) {
      absl::StrAppend(&left_out, "the last ", kTasksMax, " of ", report_.tasks_size(), " tasks  ");
    }
    if (first_row_ > 0) {
      absl::StrAppend(&left_out, "the last ", kRowsMax, " of ", report_.rows_size(), " boundaries");
    }
    if (report_.rows_size() == 0) left_out = "no boundary has been evaluated yet";
    if (!left_out.empty()) absl::StrAppend(&text, Text(24, 76, left_out, "class=\"warning\""));
    return text;
  }

  std::string Axes() const {
    std::string text;
    for (const int percent : {0, 25, 50, 75, 100}) {
      const double y = HeightOf(percent / 100.0);
      absl::StrAppend(
          &text, Line(kLeft, y, kRight, y, "grid"),
          Text(kLeft - 8, y + 4, absl::StrCat(percent), "class=\"faint\" text-anchor=\"end\""));
    }
    return absl::StrCat(text, Text(24, kTop - 8, "accuracy %", "class=\"faint\""));
  }

  // A name below each boundary that has room for one.
  std::string Boundaries() const {
    std::string text;
    double named = -kWidth;
    for (int i = first_row_; i < report_.rows_size(); ++i) {
      const AccuracyRow& row = report_.rows(i);
      const double x = PlaceOf(row.sequence());
      absl::StrAppend(&text, Line(x, kTop, x, kBottom + 6, "boundary"));
      if (x - named < kLabelDistance) continue;
      named = x;
      absl::StrAppend(
          &text,
          Text(x, kBottom + 20, absl::StrCat(row.drift() ? "drift: " : "after ", row.ended_task()),
               absl::StrFormat("class=\"faint\" transform=\"rotate(30 %.1f %.1f)\"", x,
                               kBottom + 20)));
    }
    return text;
  }

  std::string Rollbacks() const {
    std::string text;
    for (const auto& rollback : report_.rollbacks()) {
      if (rollback.sequence() < begin_) continue;
      const double x = PlaceOf(rollback.sequence());
      absl::StrAppend(&text, Line(x, kTop - 6, x, kBottom, "rollback"),
                      Text(x, kTop - 10, absl::StrCat("rollback to ", rollback.checkpoint()),
                           "class=\"warning\" text-anchor=\"end\""));
    }
    return text;
  }

  std::vector<Point> PointsOf(int task) const {
    std::vector<Point> points;
    uint64_t last = 0;
    for (int i = first_row_; i < report_.rows_size(); ++i) {
      const AccuracyRow& row = report_.rows(i);
      if (task >= row.cells_size() || !row.cells(task).has_accuracy()) continue;
      points.push_back(
          {PlaceOf(row.sequence()), HeightOf(row.cells(task).accuracy()), row.undone_by() > 0});
      last = row.sequence();
    }
    const v1::TaskReport& now = report_.tasks(task);
    if (!points.empty() && now.has_accuracy() && report_.model_version() > last) {
      points.push_back({PlaceOf(report_.model_version()), HeightOf(now.accuracy()), false});
    }
    return points;
  }

  std::string Series(int task) {
    const std::vector<Point> points = PointsOf(task);
    if (points.empty()) return "";
    const size_t dash = static_cast<size_t>(task) / kColourCount % 3;
    std::string text = absl::StrFormat(
        "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" stroke-dasharray=\"%s\" "
        "points=\"",
        ColourOf(task), kDashes[dash]);
    for (const Point& point : points) absl::StrAppendFormat(&text, "%.1f,%.1f ", point.x, point.y);
    text.back() = '"';
    absl::StrAppend(&text, "/>\n");
    for (const Point& point : points) {
      absl::StrAppend(&text, Marker(task, point.x, point.y, ColourOf(task), point.undone));
    }
    ends_.emplace_back(points.back().y, task);
    return text;
  }

  // Beside the end of each line, pushed apart until each can be read.
  std::string Labels() {
    std::sort(ends_.begin(), ends_.end());
    for (size_t i = 1; i < ends_.size(); ++i) {
      ends_[i].first = std::max(ends_[i].first, ends_[i - 1].first + kLabelDistance);
    }
    double limit = kBottom + 4;
    for (size_t i = ends_.size(); i > 0; --i, limit -= kLabelDistance) {
      ends_[i - 1].first = std::min(ends_[i - 1].first, limit);
    }
    std::string text;
    for (const auto& [y, task] : ends_) {
      const v1::TaskReport& one = report_.tasks(task);
      const std::string accuracy = one.has_accuracy() ? Percent(one.accuracy()) : "";
      absl::StrAppend(&text, Marker(task, kRight + 14, y, ColourOf(task), false),
                      Text(kRight + 26, y + 4,
                           absl::StrCat(one.task().substr(0, kNameLetters), "  ", accuracy)));
    }
    return text;
  }

  std::string Matrix() const {
    if (Rows() == 0 || Tasks() == 0) return "";
    std::string text = Text(24, kMatrixTop - 26, "R: accuracy on each task after each boundary",
                            "class=\"title\"");
    const double width = std::min(kCellWidthMax, (kWidth - kMatrixLeft - 24) / Tasks());
    for (int j = first_task_; j < report_.tasks_size(); ++j) {
      const std::string& name = report_.tasks(j).task();
      const auto letters = static_cast<size_t>(std::max(3.0, width / 7.5));
      absl::StrAppend(&text,
                      Text(kMatrixLeft + width * (j - first_task_ + 0.5), kMatrixTop - 4,
                           name.substr(0, letters), "class=\"faint\" text-anchor=\"middle\""));
    }
    for (int i = first_row_; i < report_.rows_size(); ++i) {
      absl::StrAppend(
          &text, MatrixRow(report_.rows(i), kMatrixTop + kCellHeight * (i - first_row_), width));
    }
    return text;
  }

  std::string MatrixRow(const AccuracyRow& row, double y, double width) const {
    const bool undone = row.undone_by() > 0;
    std::string text =
        Text(kMatrixLeft - 8, y + 16,
             absl::StrCat("after ", row.ended_task().substr(0, 18), undone ? " (undone)" : ""),
             undone ? "class=\"faint\" text-anchor=\"end\"" : "text-anchor=\"end\"");
    for (int j = first_task_; j < std::min(report_.tasks_size(), row.cells_size()); ++j) {
      const auto& cell = row.cells(j);
      const double x = kMatrixLeft + width * (j - first_task_);
      if (cell.has_accuracy()) {
        absl::StrAppendFormat(&text,
                              "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" "
                              "fill=\"#0072b2\" fill-opacity=\"%.2f\"/>\n",
                              x + 1, y + 1, width - 2, kCellHeight - 2,
                              (undone ? 0.25 : 0.6) * cell.accuracy());
      }
      const std::string shown = cell.has_accuracy() ? Percent(cell.accuracy()) : "-";
      absl::StrAppend(
          &text,
          Text(x + width / 2, y + 16, shown,
               undone ? "class=\"faint\" text-anchor=\"middle\" text-decoration=\"line-through\""
                      : "text-anchor=\"middle\""));
    }
    return text;
  }

  const Report& report_;
  const int first_task_;
  const int first_row_;
  // Of the log, on the x axis.
  uint64_t begin_ = 0;
  uint64_t end_ = 0;
  // Where lines end, and of which task they are.
  std::vector<std::pair<double, int>> ends_;
};

}  // namespace

std::string ReportSvg(const Report& report) { return Picture(report).Draw(); }

}  // namespace engram::client
