// What a model did not learn: `quarantine list|release|rejected`.
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/table.h"
#include "client/verbs/verbs.h"

namespace engram::client {
namespace {

constexpr int64_t kListedMax = 1000;

std::string LabelText(const v1::Label& label) {
  if (label.has_text()) return label.text();
  return label.has_number() ? absl::StrCat(label.number()) : "-";
}

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

// What is wrong with --limit; OK when nothing is.
absl::Status CheckLimit(int64_t limit) {
  if (limit >= 1 && limit <= kListedMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--limit: must be in [1, ", kListedMax, "], got ", limit));
}

}  // namespace

int QuarantineList(const VerbContext& context, const Arguments& args) {
  v1::ListQuarantinedRequest request;
  std::string model;
  int64_t limit = 100;
  uint64_t before = 0;
  FlagSet flags("quarantine list",
                "Lists the examples that were set aside instead of learned, the newest first.");
  flags.Positional("MODEL", &model, "that set them aside")
      .Int64("limit", &limit, "at most so many, up to 1000")
      .Uint64("before", &before, "only those with a smaller sequence");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const absl::Status in_range = CheckLimit(limit);
  if (!in_range.ok()) return WrongUsage(context, in_range, flags);
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  request.set_model(model);
  request.set_limit(static_cast<int32_t>(limit));
  request.set_before_sequence(before);
  const auto listed = AdminClient(*connection).ListQuarantined(request);
  if (!listed.ok()) return Fail(context, listed.status());
  Table table({"sequence", "reason", "score", "producer", "label", "task", "id", "releasable"});
  for (const v1::QuarantinedExample& example : listed->examples()) {
    if (context.json) {
      *context.out << ToJson(example).dump() << "\n";
      continue;
    }
    table.Add({absl::StrCat(example.sequence()),
               absl::AsciiStrToLower(v1::QuarantinedExample::Reason_Name(example.reason())),
               absl::StrCat(example.score()), OrDash(example.producer()),
               LabelText(example.label()), OrDash(example.task()), OrDash(example.id()),
               example.releasable() ? "yes" : "no"});
  }
  if (context.json) return kExitOk;
  if (listed->held() > 0) *context.out << table.Text();
  *context.out << listed->held() << " in quarantine, " << listed->displaced()
               << " displaced by newer ones\n";
  return kExitOk;
}

int QuarantineRelease(const VerbContext& context, const Arguments& args) {
  v1::ReleaseQuarantinedRequest request;
  std::string model;
  std::vector<std::string> sequences;
  FlagSet flags("quarantine release",
                "Puts examples from the quarantine into the log once more, to be learned there "
                "unjudged: all of them or none.");
  flags.Positional("MODEL", &model, "that set them aside")
      .Rest("SEQUENCE...", &sequences, "of `engram quarantine list`, up to 1024");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  for (const std::string& text : sequences) {
    uint64_t sequence = 0;
    if (!absl::SimpleAtoi(text, &sequence)) {
      return WrongUsage(context,
                        absl::InvalidArgumentError(absl::StrCat(
                            "SEQUENCE: expected a whole number from 0, got \"", text, "\"")),
                        flags);
    }
    request.add_sequences(sequence);
  }
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  request.set_model(model);
  const auto released = AdminClient(*connection).ReleaseQuarantined(request);
  if (!released.ok()) return Fail(context, released.status());
  for (const auto& each : released->released()) {
    if (context.json) {
      *context.out << ToJson(each).dump() << "\n";
    } else {
      *context.out << "released: " << each.sequence() << " as " << each.as_sequence() << "\n";
    }
  }
  return kExitOk;
}

int QuarantineRejected(const VerbContext& context, const Arguments& args) {
  v1::ListRejectedRequest request;
  std::string model;
  std::string producer;
  int64_t limit = 100;
  FlagSet flags("quarantine rejected",
                "Lists the last messages that were answered with an error and not stored, since "
                "the server began, the newest first.");
  flags.Positional("MODEL", &model, "that they were sent to")
      .Int64("limit", &limit, "at most so many, up to 1000")
      .String("producer", &producer, "only those of this one");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const absl::Status in_range = CheckLimit(limit);
  if (!in_range.ok()) return WrongUsage(context, in_range, flags);
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  request.set_model(model);
  request.set_producer(producer);
  request.set_limit(static_cast<int32_t>(limit));
  const auto listed = AdminClient(*connection).ListRejected(request);
  if (!listed.ok()) return Fail(context, listed.status());
  Table table({"time", "producer", "message", "examples", "why"});
  for (const v1::RejectedMessage& message : listed->messages()) {
    if (context.json) {
      *context.out << ToJson(message).dump() << "\n";
      continue;
    }
    table.Add({TimeText(message.time_ms()), message.producer(),
               absl::StrCat(message.producer_sequence()), absl::StrCat(message.examples()),
               message.status().message()});
  }
  if (context.json) return kExitOk;
  if (!listed->messages().empty()) *context.out << table.Text();
  *context.out << listed->rejected() << " messages rejected since the server began\n";
  return kExitOk;
}

}  // namespace engram::client
