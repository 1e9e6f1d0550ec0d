// What only an operator does: reload the configuration, acknowledge a loss, read the audit log.
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/table.h"
#include "client/verbs/verbs.h"

namespace engram::client {
namespace {

std::string Shown(const std::string& value) { return value.empty() ? "-" : value; }

std::string Caller(const v1::AuditEntry& entry) {
  if (entry.role().empty()) return "stranger";
  return entry.name().empty() ? entry.role() : absl::StrCat(entry.role(), " ", entry.name());
}

}  // namespace

int Reload(const VerbContext& context, const Arguments& args) {
  FlagSet flags("reload", "Has the server read its --config and its tokens again: all or nothing.");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto reloaded = AdminClient(*connection).ReloadConfig();
  if (!reloaded.ok()) return Fail(context, reloaded.status());
  if (context.json) {
    *context.out << ToJson(*reloaded).dump() << "\n";
    return kExitOk;
  }
  if (reloaded->changes().empty()) *context.out << "nothing has changed\n";
  for (const auto& change : reloaded->changes()) {
    *context.out << change.field() << ": " << Shown(change.before()) << " -> "
                 << Shown(change.after()) << "\n";
  }
  return kExitOk;
}

int LossAcknowledge(const VerbContext& context, const Arguments& args) {
  std::string model;
  std::string producer;
  FlagSet flags("loss acknowledge",
                "Unlocks a model that was locked because a producer holds acks for messages that "
                "the server does not have.");
  flags.Positional("MODEL", &model, "to unlock")
      .OptionalPositional("PRODUCER", &producer, "only the loss of this one");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto losses = AdminClient(*connection).AcknowledgeLoss(model, producer);
  if (!losses.ok()) return Fail(context, losses.status());
  if (losses->empty() && !context.json) *context.out << "there is no loss to acknowledge\n";
  for (const v1::Loss& loss : *losses) {
    if (context.json) {
      *context.out << ToJson(loss).dump() << "\n";
    } else {
      *context.out << "acknowledged: producer " << loss.producer() << " holds ack "
                   << loss.client_sequence() << ", server has " << loss.server_sequence() << "\n";
    }
  }
  return kExitOk;
}

int AuditList(const VerbContext& context, const Arguments& args) {
  int64_t limit = 100;
  uint64_t before = 0;
  FlagSet flags("audit", "Lists what administrators did and what was refused, the newest first.");
  flags.Int64("limit", &limit, "at most so many entries, up to 1000")
      .Uint64("before", &before, "only entries with a smaller number");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  if (limit < 1 || limit > 1000) {
    return WrongUsage(context, absl::InvalidArgumentError("--limit: must be in [1, 1000]"), flags);
  }
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto entries =
      AdminClient(*connection).ListAudit(static_cast<int32_t>(limit), before);
  if (!entries.ok()) return Fail(context, entries.status());
  Table table({"number", "time", "who", "from", "method", "model", "subject", "outcome"});
  for (const v1::AuditEntry& entry : *entries) {
    if (context.json) {
      *context.out << ToJson(entry).dump() << "\n";
      continue;
    }
    const std::string method = entry.method().substr(entry.method().find('/') + 1);
    table.Add({absl::StrCat(entry.number()), entry.time(), Caller(entry), entry.peer(),
               absl::StrCat(method, entry.dry_run() ? " (dry run)" : ""), entry.model(),
               entry.subject(), absl::StrCat(entry.refused() ? "refused: " : "", entry.outcome())});
  }
  if (!context.json) *context.out << table.Text();
  return kExitOk;
}

}  // namespace engram::client
