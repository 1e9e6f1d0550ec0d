#include "client/watch_view.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/report_text.h"
#include "client/table.h"

namespace engram::client {
namespace {

using v1::AccuracyRow;
using v1::Report;
using v1::TaskReport;

constexpr size_t kAccuraciesMax = 256;
constexpr size_t kEventsMax = 64;
constexpr absl::Duration kRateSpan = absl::Seconds(10);
// Of the columns beside name and sparkline: "  now   best forgot held out".
constexpr int kFigureColumns = 34;
constexpr int kNameColumnsMax = 24;
// From here on forgetting is inked as bad.
constexpr double kForgottenMuch = 0.1;

double Known(bool known, double value) {
  return known ? value : std::numeric_limits<double>::quiet_NaN();
}

std::string Padded(std::string text, int width) {
  const int columns = ColumnsOf(text);
  if (columns > width) return text.substr(0, static_cast<size_t>(std::max(0, width)));
  return text + std::string(static_cast<size_t>(width - columns), ' ');
}

// The `limit` newest of a map.
template <typename Map>
void KeepNewest(size_t limit, Map* map) {
  while (map->size() > limit) map->erase(map->begin());
}

std::string BoundaryText(const AccuracyRow& row) {
  double sum = 0;
  int known = 0;
  for (const auto& cell : row.cells()) {
    if (!cell.has_accuracy()) continue;
    sum += cell.accuracy();
    ++known;
  }
  return absl::StrCat(
      row.drift() ? "drift       ended " : "boundary    ended ", row.ended_task(),
      known > 0 ? absl::StrCat(", accuracy ", Percent(sum / known), " over ", known, " tasks") : "",
      row.undone_by() > 0 ? ", undone since" : "");
}

double StoredOf(uint64_t sequence) { return static_cast<double>(sequence); }

}  // namespace

std::string Sparkline(const std::vector<double>& values, double highest, int width, bool unicode) {
  static constexpr const char* kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr const char* kLetters[] = {"_", ".", ":", "-", "=", "+", "*", "#"};
  const size_t shown = std::min(values.size(), static_cast<size_t>(std::max(0, width)));
  std::string text;
  for (size_t i = values.size() - shown; i < values.size(); ++i) {
    const double share = highest > 0 ? values[i] / highest : 0;
    const int level = std::clamp(static_cast<int>(share * 8), 0, 7);
    text += (unicode ? kBlocks : kLetters)[level];
  }
  return text;
}

void WatchView::Update(const v1::Model& model, const Report& report,
                       const std::vector<v1::Checkpoint>& checkpoints, absl::Time now) {
  model_ = model;
  report_ = report;
  trouble_.clear();
  const uint64_t lag =
      model.durable_sequence() > model.version() ? model.durable_sequence() - model.version() : 0;
  samples_.push_back({now, model.durable_sequence(), report.train_examples(), lag});
  while (samples_.size() > 2 && now - samples_.front().time > kRateSpan) samples_.pop_front();
  KeepAccuracies(report);
  KeepEvents(report, checkpoints);
}

void WatchView::SetTrouble(std::string what) {
  trouble_ = std::move(what);
  // A rate over the time away would be no rate.
  samples_.clear();
}

void WatchView::Scroll(int tasks) {
  scroll_ = std::clamp(scroll_ - tasks, 0, std::max(0, report_.tasks_size() - 1));
}

// Those of the boundaries are in every report; those between boundaries are seen as they pass.
void WatchView::KeepAccuracies(const Report& report) {
  for (int j = 0; j < report.tasks_size(); ++j) {
    const TaskReport& task = report.tasks(j);
    Accuracies& kept = accuracies_[task.task()];
    for (const AccuracyRow& row : report.rows()) {
      if (j < row.cells_size() && row.cells(j).has_accuracy()) {
        kept[row.sequence()] = row.cells(j).accuracy();
      }
    }
    const bool news =
        task.has_accuracy() && (kept.empty() || kept.rbegin()->second != task.accuracy());
    if (news) kept[report.model_version()] = task.accuracy();
    KeepNewest(kAccuraciesMax, &kept);
  }
}

void WatchView::KeepEvents(const Report& report, const std::vector<v1::Checkpoint>& checkpoints) {
  events_.clear();
  for (const AccuracyRow& row : report.rows()) {
    events_.push_back({row.sequence(), BoundaryText(row), Ink::kPlain});
  }
  for (const v1::Checkpoint& one : checkpoints) {
    events_.push_back(
        {one.applied_sequence(),
         absl::StrCat("checkpoint  ", one.label().empty() ? one.id() : one.label(), ", ",
                      ByteCount(one.bytes()), one.automatic() ? ", automatic" : ""),
         Ink::kFaint});
  }
  v1::ReportEvent event;
  for (const auto& rollback : report.rollbacks()) {
    events_.push_back({rollback.sequence(),
                       absl::StrCat("rollback    to ", rollback.checkpoint(), ", ",
                                    rollback.dropped_examples(), " examples dropped"),
                       Ink::kBad});
  }
  for (const auto& canary : report.canaries()) {
    *event.mutable_canary() = canary;
    events_.push_back({canary.version(), EventText(event), Ink::kBad});
  }
  std::stable_sort(events_.begin(), events_.end(),
                   [](const Event& a, const Event& b) { return a.sequence > b.sequence; });
  if (events_.size() > kEventsMax) events_.resize(kEventsMax);
}

ScreenLine WatchView::TitleLine() const {
  ScreenLine line = {{model_.name(), Ink::kTitle}, {"  "}};
  const bool serving = model_.state() == v1::Model::SERVING;
  line.push_back({v1::Model::State_Name(model_.state()), serving ? Ink::kGood : Ink::kBad});
  if (model_.paused()) line.push_back({" paused", Ink::kBad});
  if (!model_.state_reason().empty()) line.push_back({absl::StrCat(" ", model_.state_reason())});
  line.push_back({absl::StrCat("  task ", model_.current_task(), "  version ", model_.version(),
                               "  ", model_.classes_size(), " classes")});
  return line;
}

double WatchView::RateOf(double (*amount)(const Sample&)) const {
  if (samples_.size() < 2) return 0;
  const double seconds = absl::ToDoubleSeconds(samples_.back().time - samples_.front().time);
  return seconds > 0 ? (amount(samples_.back()) - amount(samples_.front())) / seconds : 0;
}

std::vector<ScreenLine> WatchView::StateLines(bool unicode) const {
  const double stored = RateOf([](const Sample& s) { return StoredOf(s.durable); });
  const double learned = RateOf([](const Sample& s) { return static_cast<double>(s.trained); });
  std::vector<double> lags;
  for (const Sample& sample : samples_) lags.push_back(StoredOf(sample.lag));
  const double lag = lags.empty() ? 0 : lags.back();
  const double highest = lags.empty() ? 0 : *std::max_element(lags.begin(), lags.end());
  std::vector<ScreenLine> lines = {
      {{absl::StrFormat("stored %.0f/s  learned %.0f/s  lag ", stored, learned)},
       {absl::StrFormat("%.0f", lag), lag > 0 ? Ink::kStrong : Ink::kGood},
       {absl::StrCat(" ", Sparkline(lags, highest, 12, unicode)), Ink::kFaint}},
      {{absl::StrCat(
           "examples ", report_.train_examples(), "  prequential ",
           Percent(Known(report_.has_prequential_accuracy(), report_.prequential_accuracy())))},
       {absl::StrCat("  dropped ", report_.dropped_examples(), "  skipped batches ",
                     report_.skipped_batches()),
        Ink::kFaint}},
      {{SummaryText(report_.summary()), Ink::kStrong}}};
  if (report_.pending_evaluations() > 0) {
    lines.back().push_back(
        {absl::StrCat("  ", report_.pending_evaluations(), " boundaries being evaluated")});
  }
  return lines;
}

ScreenLine WatchView::TaskLine(const TaskReport& task, int name_width, int spark_width,
                               bool unicode) const {
  std::vector<double> values;
  const auto kept = accuracies_.find(task.task());
  if (kept != accuracies_.end()) {
    for (const auto& [sequence, accuracy] : kept->second) values.push_back(accuracy);
  }
  const double forgetting = Known(task.has_forgetting(), task.forgetting());
  const bool current = task.task() == model_.current_task();
  return {{Padded(task.task(), name_width), current ? Ink::kStrong : Ink::kPlain},
          {absl::StrCat(current ? "*" : " ", " ")},
          {Padded(Sparkline(values, 1, spark_width, unicode), spark_width), Ink::kGood},
          {absl::StrFormat("%7s%7s", Percent(Known(task.has_accuracy(), task.accuracy())),
                           Percent(Known(task.has_best_accuracy(), task.best_accuracy())))},
          {absl::StrFormat("%8s", Percent(forgetting)),
           forgetting >= kForgottenMuch ? Ink::kBad : Ink::kPlain},
          {absl::StrFormat("%10d", task.held_out_rows()), Ink::kFaint}};
}

std::vector<ScreenLine> WatchView::TaskLines(int width, int rows, bool unicode) const {
  int name_width = 4;
  for (const TaskReport& task : report_.tasks()) {
    name_width = std::max(name_width, static_cast<int>(task.task().size()));
  }
  name_width = std::min({name_width, kNameColumnsMax, std::max(4, width / 4)});
  const int spark_width = std::max(0, width - name_width - kFigureColumns);
  const int total = report_.tasks_size();
  const int last = std::max(std::min(total, rows - 1), total - scroll_);
  const int first = std::max(0, last - (rows - 1));
  std::string accuracy = "accuracy";
  if (first > 0 || last < total) {
    absl::StrAppendFormat(&accuracy, " (tasks %d-%d of %d)", first + 1, last, total);
  }
  std::vector<ScreenLine> lines = {
      {{absl::StrCat(Padded("task", name_width), "  ", Padded(accuracy, spark_width), "    now",
                     "   best  forgot  held out"),
        Ink::kFaint}}};
  for (int j = first; j < last; ++j) {
    lines.push_back(TaskLine(report_.tasks(j), name_width, spark_width, unicode));
  }
  return lines;
}

std::vector<ScreenLine> WatchView::Lines(int width, int height, bool unicode) const {
  std::vector<ScreenLine> lines = {TitleLine()};
  if (!trouble_.empty()) lines.push_back({{trouble_, Ink::kBad}});
  for (ScreenLine& line : StateLines(unicode)) lines.push_back(std::move(line));
  lines.push_back({});
  // Tasks get what they need, but leave a third of the rest to events.
  const int rest = height - static_cast<int>(lines.size()) - 1;
  const int events = std::min(static_cast<int>(events_.size()) + 2, std::max(3, rest / 3));
  const int task_rows = std::max(2, std::min(rest - events, report_.tasks_size() + 1));
  for (ScreenLine& line : TaskLines(width, task_rows, unicode)) lines.push_back(std::move(line));
  lines.push_back({});
  for (size_t i = 0; i < events_.size() && static_cast<int>(lines.size()) < height - 1; ++i) {
    lines.push_back({{absl::StrFormat("%10d  ", events_[i].sequence), Ink::kFaint},
                     {events_[i].text, events_[i].ink}});
  }
  while (static_cast<int>(lines.size()) < height - 1) lines.push_back({});
  lines.resize(static_cast<size_t>(std::max(1, height - 1)));
  lines.push_back({{"q quits   up and down: other tasks", Ink::kFaint}});
  return lines;
}

}  // namespace engram::client
