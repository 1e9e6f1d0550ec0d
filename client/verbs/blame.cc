// Who taught a model what, and whose labels disagree with what all others taught.
#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/table.h"
#include "client/verbs/verbs.h"

namespace engram::client {
namespace {

constexpr int64_t kJudgedMax = 1000;

std::string BlameText(const v1::BlameResponse& blame) {
  Table table({"producer", "examples", "share %", "judged", "accuracy %", "mean score",
               "first..last"});
  for (const v1::BlameResponse::Producer& each : blame.producers()) {
    const bool judged = each.judged() > 0;
    const double nothing = std::numeric_limits<double>::quiet_NaN();
    table.Add({each.name().empty() ? "(format 1)" : each.name(), absl::StrCat(each.examples()),
               Percent(each.share()), absl::StrCat(each.judged()),
               Percent(judged ? each.accuracy() : nothing),
               judged ? absl::StrFormat("%.3f", each.mean_label_score()) : "-",
               absl::StrCat(each.first_sequence(), "..", each.last_sequence())});
  }
  return absl::StrCat(table.Text(), "log read: ", blame.from_sequence(), " to ",
                      blame.to_sequence(), "\n");
}

}  // namespace

int Blame(const VerbContext& context, const Arguments& args) {
  v1::BlameRequest request;
  std::string model;
  std::string since;
  uint64_t from = 0;
  int64_t judged = 0;
  int64_t wait_seconds = 600;
  FlagSet flags("blame",
                "Lists who taught a model what, the lowest accuracy first: labels that disagree "
                "with what all others taught.");
  flags.Positional("MODEL", &model, "that was taught")
      .String("since", &since, "only what was stored in the last so long: 90s, 30m, 2h")
      .Uint64("from", &from, "only from this sequence of the log on")
      .Int64("judged", &judged, "examples judged of each producer, up to 1000; 0: 200")
      .Int64("wait_seconds", &wait_seconds, "longest wait");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  if (judged < 0 || judged > kJudgedMax) {
    return WrongUsage(context, absl::InvalidArgumentError("--judged: must be in [0, 1000]"), flags);
  }
  request.set_model(model);
  request.set_from_sequence(from);
  request.set_judged_max(static_cast<int32_t>(judged));
  if (!since.empty()) {
    absl::Duration ago;
    if (!absl::ParseDuration(since, &ago) || ago <= absl::ZeroDuration()) {
      return WrongUsage(context,
                        absl::InvalidArgumentError(absl::StrCat(
                            "--since: a time above 0 like 90s, 30m or 2h, got \"", since, "\"")),
                        flags);
    }
    request.set_since_ms(std::max<int64_t>(1, absl::ToUnixMillis(absl::Now() - ago)));
  }
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto blame = AdminClient(*connection).Blame(request, absl::Seconds(wait_seconds));
  if (!blame.ok()) return Fail(context, blame.status());
  *context.out << (context.json ? absl::StrCat(ToJson(*blame).dump(), "\n") : BlameText(*blame));
  return kExitOk;
}

}  // namespace engram::client
