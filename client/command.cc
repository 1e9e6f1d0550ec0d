#include "client/command.h"

#include <algorithm>
#include <iterator>
#include <numeric>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/manual.h"
#include "client/scenario/scenario_verb.h"
#include "client/verbs/verbs.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

constexpr size_t kVerbColumn = 22;

constexpr char kExitCodes[] = "exit codes: 0 success, 1 failed call, 2 wrong usage\n";

std::string GlobalHelp() {
  std::string text = "global flags, before or after the verb:\n";
  for (const FlagShape& flag : GlobalFlags()) absl::StrAppend(&text, FlagLine(flag));
  return absl::StrCat(text, kExitCodes);
}

absl::Status ApplyGlobal(absl::string_view name, absl::string_view value, VerbContext* context) {
  if (name == "server") {
    context->connection.target = std::string(value);
  } else if (name == "tls_ca") {
    context->connection.tls_ca_file = std::string(value);
  } else if (name == "tls_certificate") {
    context->connection.tls_certificate_file = std::string(value);
  } else if (name == "tls_key") {
    context->connection.tls_key_file = std::string(value);
  } else if (name == "token_file") {
    ENGRAM_ASSIGN_OR_RETURN(context->connection.token, ReadTokenFile(std::string(value)));
  } else {
    double seconds = 0;
    if (!absl::SimpleAtod(value, &seconds) || seconds <= 0) {
      return absl::InvalidArgumentError("--deadline: expected seconds above 0");
    }
    context->connection.unary_deadline = absl::Seconds(seconds);
  }
  return absl::OkStatus();
}

// One that takes a value; --json takes none.
bool IsGlobal(absl::string_view name) {
  return std::any_of(GlobalFlags().begin(), GlobalFlags().end(), [name](const FlagShape& flag) {
    return flag.name == name && !flag.placeholder.empty();
  });
}

// The verb whose words open `args`, and how many they are.
std::pair<const Verb*, size_t> FindVerb(const std::vector<std::string>& args) {
  for (const size_t words : {size_t{2}, size_t{1}}) {
    if (args.size() < words) continue;
    const std::string name = words == 2 ? absl::StrCat(args[0], " ", args[1]) : args[0];
    for (const Verb& verb : AllVerbs()) {
      if (verb.name == name) return {&verb, words};
    }
  }
  return {nullptr, 0};
}

std::string VerbLine(const Verb& verb) {
  std::string left = absl::StrCat("  ", verb.name);
  left.resize(std::max(left.size() + 1, kVerbColumn), ' ');
  return absl::StrCat(left, verb.summary, "\n");
}

// All verbs, or those of one group ("model").
std::string VerbLines(absl::string_view group) {
  std::string text;
  for (const Verb& verb : AllVerbs()) {
    if (group.empty() || absl::StartsWith(verb.name, absl::StrCat(group, " "))) {
      absl::StrAppend(&text, VerbLine(verb));
    }
  }
  return text;
}

std::string HelpText(absl::string_view group) {
  return absl::StrCat(
      "usage: engram [--server HOST:PORT] [--json] VERB ...\n\nverbs:\n", VerbLines(group),
      "\n\"engram help VERB\" explains one, \"engram help --man\" all, as a manual page.\n\n",
      GlobalHelp());
}

bool IsGroup(absl::string_view word) {
  const std::string prefix = absl::StrCat(word, " ");
  return std::any_of(AllVerbs().begin(), AllVerbs().end(),
                     [&prefix](const Verb& verb) { return absl::StartsWith(verb.name, prefix); });
}

// Edits between two words: letters put in, left out or changed.
size_t Distance(absl::string_view from, absl::string_view to) {
  std::vector<size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= from.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= to.size(); ++j) {
      const size_t changed = diagonal + (from[i - 1] == to[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, changed});
    }
  }
  return row.back();
}

// The verb, or the group, that is nearly `words`; empty when none is.
std::string Meant(const std::vector<std::string>& words) {
  const std::string two = words.size() > 1 ? absl::StrCat(words[0], " ", words[1]) : words[0];
  std::string meant;
  size_t least = 3;
  const auto consider = [&](absl::string_view typed, absl::string_view known) {
    const size_t distance = Distance(typed, known);
    if (distance >= least) return;
    least = distance;
    meant = std::string(known);
  };
  for (const Verb& verb : AllVerbs()) {
    consider(absl::StrContains(verb.name, " ") ? two : words[0], verb.name);
  }
  for (const Verb& verb : AllVerbs()) consider(words[0], verb.name.substr(0, verb.name.find(' ')));
  return meant;
}

int UnknownVerb(const VerbContext& context, const std::vector<std::string>& args) {
  if (IsGroup(args[0])) {
    *context.err << "engram: \"" << args[0] << "\" needs one more word"
                 << (args.size() > 1 ? absl::StrCat(", and \"", args[1], "\" is none of them") : "")
                 << "\n"
                 << VerbLines(args[0]);
    return kExitUsage;
  }
  const std::string meant = Meant(args);
  *context.err << "engram: unknown verb \"" << args[0] << "\""
               << (meant.empty() ? "" : absl::StrCat("; did you mean \"", meant, "\"?"))
               << "\n\"engram help\" lists the verbs\n";
  return kExitUsage;
}

// "help --man": engram.1. "help --man engramd": engramd.8 from what engramd --help prints.
int PrintManual(const VerbContext& context, const std::vector<std::string>& words) {
  if (words.size() == 1) {
    *context.out << CommandManual(DescribeVerbs(), GlobalFlags());
    return kExitOk;
  }
  if (words.size() > 2 || words[1] != "engramd") {
    *context.err << "engram: expected help --man, or engramd --help | engram help --man engramd\n";
    return kExitUsage;
  }
  const std::string help((std::istreambuf_iterator<char>(*context.in)),
                         std::istreambuf_iterator<char>());
  const auto manual = ServerManual(help);
  if (!manual.ok()) return Fail(context, manual.status());
  *context.out << *manual;
  return kExitOk;
}

int Help(const VerbContext& context, std::vector<std::string> words) {
  if (!words.empty() && words[0] == "--man") return PrintManual(context, words);
  if (words.empty()) {
    *context.out << HelpText("");
    return kExitOk;
  }
  const auto [verb, count] = FindVerb(words);
  if (verb == nullptr && words.size() == 1 && IsGroup(words[0])) {
    *context.out << HelpText(words[0]);
    return kExitOk;
  }
  if (verb == nullptr) return UnknownVerb(context, words);
  words.erase(words.begin(), words.begin() + static_cast<int64_t>(count));
  words.push_back("--help");
  return verb->run(context, words);
}

// The scenario verbs find out themselves which one is meant.
VerbFunction Scenario(const char* word) {
  return [word](const VerbContext& context, const std::vector<std::string>& args) {
    std::vector<std::string> words = {word};
    words.insert(words.end(), args.begin(), args.end());
    return scenario::ScenarioVerb(context, words);
  };
}

}  // namespace

const std::vector<FlagShape>& GlobalFlags() {
  static const auto* const flags = new std::vector<FlagShape>{
      {"server", "HOST:PORT", "of engramd", "127.0.0.1:7401, or $ENGRAM_SERVER"},
      {"tls_ca", "FILE", "PEM roots: use TLS"},
      {"tls_certificate", "FILE", "this client's own, where the server asks for one"},
      {"tls_key", "FILE", "the key to it"},
      {"token_file", "FILE", "bearer token, sent with every call"},
      {"deadline", "SECONDS", "of a call, repeats included", "30"},
      {"json", "", "one JSON object a line, for scripts"},
  };
  return *flags;
}

std::vector<VerbShape> DescribeVerbs() {
  std::vector<VerbShape> shapes;
  VerbContext context;
  for (const Verb& verb : AllVerbs()) {
    context.on_flags = [&](const FlagSet& flags) {
      shapes.push_back({verb.name, verb.summary, flags.summary(), flags.Synopsis(),
                        flags.flag_shapes(), flags.argument_shapes()});
    };
    verb.run(context, {});
  }
  return shapes;
}

const std::vector<Verb>& AllVerbs() {
  static const auto* const verbs = new std::vector<Verb>{
      {"model create", "create a model", ModelCreate},
      {"model list", "list the models", ModelList},
      {"model show", "show a model's state, classes and spec", ModelShow},
      {"model update", "change what may change live", ModelUpdate},
      {"model delete", "delete a model and all it kept", ModelDelete},
      {"model pause", "stop training; still accepts and predicts", ModelPause},
      {"model resume", "train again", ModelResume},
      {"tune start", "try other settings in a model's shadow", TuneStart},
      {"tune show", "scores of the candidates, live with --watch", TuneShow},
      {"tune promote", "make the proposed candidate the model", TunePromote},
      {"tune stop", "end a tune, leave the model as it is", TuneStop},
      {"learn", "stream labelled rows into a model, exactly once", Learn},
      {"boundary", "end the current task", MarkBoundary},
      {"predict", "predict the labels of rows", Predict},
      {"report", "R matrix, ACC, BWT, FWT, forgetting", ShowReport},
      {"watch", "follow a model live", Watch},
      {"checkpoint create", "keep a state of a model", CheckpointCreate},
      {"checkpoint list", "list the states kept", CheckpointList},
      {"checkpoint show", "show one", CheckpointShow},
      {"checkpoint delete", "delete one", CheckpointDelete},
      {"checkpoint export", "write a model's network to a file for PyTorch", CheckpointExport},
      {"checkpoint import", "make a model of an exported file", CheckpointImport},
      {"rollback", "bring a checkpoint back", Rollback},
      {"erase", "erase examples by id, subject or producer", Erase},
      {"quarantine list", "list the examples that were set aside", QuarantineList},
      {"quarantine release", "have them learned after all", QuarantineRelease},
      {"quarantine rejected", "list the messages that were refused", QuarantineRejected},
      {"blame", "who taught a model what, and whose labels disagree", Blame},
      {"strategy list", "list the strategies of the server", StrategyList},
      {"strategy explain", "explain one, with its parameters", StrategyExplain},
      {"scenario run", "learn a benchmark scenario, print its table", Scenario("run")},
      {"scenario evaluate", "accuracy of a model on a scenario's tasks", Scenario("evaluate")},
      {"scenario list", "list the benchmark scenarios", Scenario("list")},
      {"scenario protocols", "list whose settings a run can have", Scenario("protocols")},
      {"backup create", "copy everything that the server keeps", BackupCreate},
      {"backup verify", "read a backup's files against its manifest", BackupVerify},
      {"backup restore", "make a data folder from a backup", BackupRestore},
      {"doctor", "what the server is: versions, BLAS, disk, limits", Doctor},
      {"reload", "have the server read its configuration again", Reload},
      {"loss acknowledge", "let a model learn again after a loss", LossAcknowledge},
      {"audit", "what administrators did, what was refused", AuditList},
      {"completion", "print the completion of bash or zsh", Completion},
  };
  return *verbs;
}

absl::Status TakeGlobalFlags(std::vector<std::string>* args, VerbContext* context) {
  std::vector<std::string> rest;
  for (size_t at = 0; at < args->size(); ++at) {
    const std::string& word = (*args)[at];
    if (word == "--") {
      rest.insert(rest.end(), args->begin() + static_cast<int64_t>(at), args->end());
      break;
    }
    absl::string_view flag = word;
    if (word == "--json") {
      context->json = true;
    } else if (absl::ConsumePrefix(&flag, "--") && IsGlobal(flag.substr(0, flag.find('=')))) {
      const size_t equals = flag.find('=');
      if (equals == absl::string_view::npos && at + 1 == args->size()) {
        return absl::InvalidArgumentError(absl::StrCat(word, " needs a value"));
      }
      const std::string value =
          equals == absl::string_view::npos ? (*args)[++at] : std::string(flag.substr(equals + 1));
      ENGRAM_RETURN_IF_ERROR(ApplyGlobal(flag.substr(0, equals), value, context));
    } else {
      rest.push_back(word);
    }
  }
  *args = std::move(rest);
  return absl::OkStatus();
}

int RunCommand(VerbContext context, const std::vector<std::string>& args) {
  std::vector<std::string> words = args;
  const absl::Status taken = TakeGlobalFlags(&words, &context);
  if (!taken.ok()) {
    *context.err << "engram: " << taken.message() << "\n" << GlobalHelp();
    return kExitUsage;
  }
  if (words.empty()) {
    *context.err << HelpText("");
    return kExitUsage;
  }
  if (words[0] == "help" || words[0] == "--help") {
    words.erase(words.begin());
    return Help(context, std::move(words));
  }
  const auto [verb, count] = FindVerb(words);
  if (verb == nullptr) {
    if (words.size() == 2 && words[1] == "--help") return Help(context, {words[0]});
    return UnknownVerb(context, words);
  }
  words.erase(words.begin(), words.begin() + static_cast<int64_t>(count));
  return verb->run(context, words);
}

}  // namespace engram::client
