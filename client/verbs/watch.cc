// A model as it lives: `watch`, drawn on a terminal, in lines otherwise.
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/advice.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/report_text.h"
#include "client/screen.h"
#include "client/verbs/verbs.h"
#include "client/watch_view.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

// Of one look at the server: it is the longest that quitting may take.
constexpr absl::Duration kLookDeadline = absl::Seconds(2);
constexpr absl::Duration kKeyPause = absl::Milliseconds(100);

const char* EventName(const v1::ReportEvent& event) {
  switch (event.kind_case()) {
    case v1::ReportEvent::kReport:
      return "report";
    case v1::ReportEvent::kEvaluated:
      return "evaluated";
    case v1::ReportEvent::kCheckpoint:
      return "checkpoint";
    case v1::ReportEvent::kRolledBack:
      return "rolled_back";
    case v1::ReportEvent::kCanary:
      return "canary";
    case v1::ReportEvent::KIND_NOT_SET:
      return "unknown";
  }
  return "unknown";
}

// The event's own fields, flat, behind its name.
Json EventJson(const v1::ReportEvent& event) {
  Json object = {{"event", EventName(event)}};
  const Json fields = ToJson(event);
  if (!fields.empty()) object.update(fields.front());
  return object;
}

// Asks the server every so often, on a thread of its own: keys are answered while it waits.
class Observer {
 public:
  Observer(std::shared_ptr<Connection> connection, std::string model, absl::Duration every)
      : connection_(std::move(connection)), model_(std::move(model)), every_(every) {}
  ~Observer() {
    stop_.Notify();
    if (thread_.joinable()) thread_.join();
  }

  // The first look, whose failure is the verb's; then goes on by itself.
  absl::Status Start() {
    ENGRAM_RETURN_IF_ERROR(Look());
    thread_ = std::thread([this] { Go(); });
    return absl::OkStatus();
  }

  // Whether anything is new since the last call.
  bool TakeNews() {
    absl::MutexLock lock(&mu_);
    return std::exchange(news_, false);
  }
  void Scroll(int tasks) {
    absl::MutexLock lock(&mu_);
    view_.Scroll(tasks);
    news_ = true;
  }
  std::vector<ScreenLine> Lines(const Screen& screen) {
    absl::MutexLock lock(&mu_);
    return view_.Lines(screen.width(), screen.height(), screen.unicode());
  }

 private:
  absl::Status Look() {
    ENGRAM_ASSIGN_OR_RETURN(const v1::Model model, ModelsClient(connection_).Get(model_));
    ENGRAM_ASSIGN_OR_RETURN(const v1::Report report,
                            EvaluationClient(connection_).GetReport(model_));
    ENGRAM_ASSIGN_OR_RETURN(const auto checkpoints, CheckpointsClient(connection_).List(model_));
    absl::MutexLock lock(&mu_);
    view_.Update(model, report, checkpoints, absl::Now());
    news_ = true;
    return absl::OkStatus();
  }

  void Go() {
    while (!stop_.WaitForNotificationWithTimeout(every_)) {
      const absl::Status looked = Look();
      if (looked.ok()) continue;
      absl::MutexLock lock(&mu_);
      view_.SetTrouble(Explain(connection_->options(), looked).what);
      news_ = true;
    }
  }

  const std::shared_ptr<Connection> connection_;
  const std::string model_;
  const absl::Duration every_;
  absl::Notification stop_;
  absl::Mutex mu_;
  WatchView view_ ABSL_GUARDED_BY(mu_);
  bool news_ ABSL_GUARDED_BY(mu_) = false;
  std::thread thread_;
};

int WatchOnScreen(const VerbContext& context, const std::string& model, absl::Duration every) {
  VerbContext quick = context;
  quick.connection.retry.attempts = 1;
  quick.connection.unary_deadline = kLookDeadline;
  const auto connection = quick.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  Observer observer(*connection, model, every);
  const absl::Status started = observer.Start();
  if (!started.ok()) return Fail(context, started);
  const auto screen = Screen::Open();
  if (!screen.ok()) return Fail(context, screen.status());
  for (;;) {
    if (observer.TakeNews()) (*screen)->Draw(observer.Lines(**screen));
    switch ((*screen)->AwaitKey(kKeyPause)) {
      case Screen::Key::kQuit:
        return kExitOk;
      case Screen::Key::kResized:
        (*screen)->Draw(observer.Lines(**screen));
        break;
      case Screen::Key::kUp:
        observer.Scroll(-1);
        break;
      case Screen::Key::kDown:
        observer.Scroll(1);
        break;
      case Screen::Key::kNone:
        break;
    }
  }
}

int WatchAsLines(const VerbContext& context, const std::string& model, int64_t count) {
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  int64_t seen = 0;
  const auto print = [&](const v1::ReportEvent& event) {
    *context.out << (context.json ? EventJson(event).dump() : EventText(event)) << std::endl;
    return ++seen != count;
  };
  const absl::Status ended = EvaluationClient(*connection).WatchReport(model, print);
  return ended.ok() ? kExitOk : Fail(context, ended);
}

}  // namespace

int Watch(const VerbContext& context, const Arguments& args) {
  std::string model;
  int64_t count = 0;
  double every_seconds = 1;
  bool plain = false;
  FlagSet flags("watch",
                "Follows a model: on a terminal a picture that is drawn anew as the model learns, "
                "otherwise\nevaluations, checkpoints, rollbacks and alarms as lines.");
  flags.Positional("MODEL", &model, "to follow")
      .Int64("count", &count, "lines: stop after this many events; 0 = never")
      .Bool("plain", &plain, "lines, on a terminal too")
      .Double("every", &every_seconds, "seconds between looks, for the picture");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  if (!(every_seconds >= 0.1)) {
    return WrongUsage(context, absl::InvalidArgumentError("--every: expected at least 0.1"), flags);
  }
  const bool lines = plain || count > 0 || context.json || !context.screen;
  return lines ? WatchAsLines(context, model, count)
               : WatchOnScreen(context, model, absl::Seconds(every_seconds));
}

}  // namespace engram::client
