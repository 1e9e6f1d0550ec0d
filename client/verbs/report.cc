// What was learned and forgotten: `report` once, `watch` as it happens.
#include <cstdint>

#include "client/clients.h"
#include "client/json.h"
#include "client/report_text.h"
#include "client/verbs/verbs.h"

namespace engram::client {
namespace {

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

}  // namespace

int ShowReport(const VerbContext& context, const Arguments& args) {
  std::string model;
  FlagSet flags("report", "Shows the R matrix, ACC, BWT, FWT and forgetting of a model.");
  flags.Positional("MODEL", &model, "to report on");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto report = EvaluationClient(*connection).GetReport(model);
  if (!report.ok()) return Fail(context, report.status());
  if (context.json) {
    *context.out << ToJson(*report).dump() << "\n";
  } else {
    *context.out << ReportText(*report);
  }
  return kExitOk;
}

int Watch(const VerbContext& context, const Arguments& args) {
  std::string model;
  int64_t count = 0;
  FlagSet flags("watch", "Follows a model: evaluations, checkpoints, rollbacks, alarms as lines.");
  flags.Positional("MODEL", &model, "to follow")
      .Int64("count", &count, "stop after this many events; 0 = never");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
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

}  // namespace engram::client
