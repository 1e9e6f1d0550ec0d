#include "client/command.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/scenario/scenario_verb.h"
#include "client/verbs/verbs.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

constexpr size_t kVerbColumn = 22;

constexpr char kGlobalHelp[] =
    "global flags, before or after the verb:\n"
    "  --server HOST:PORT        of engramd (default 127.0.0.1:7401, or $ENGRAM_SERVER)\n"
    "  --tls_ca FILE             PEM roots: use TLS\n"
    "  --tls_certificate FILE    this client's own, where the server asks for one\n"
    "  --tls_key FILE            the key to it\n"
    "  --token_file FILE         bearer token, sent with every call\n"
    "  --deadline SECONDS        of a call, repeats included (default 30)\n"
    "  --json                    one JSON object a line, for scripts\n"
    "exit codes: 0 success, 1 failed call, 2 wrong usage\n";

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

bool IsGlobal(absl::string_view name) {
  return name == "server" || name == "tls_ca" || name == "tls_certificate" || name == "tls_key" ||
         name == "token_file" || name == "deadline";
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
std::string HelpText(absl::string_view group) {
  std::string text = "usage: engram [--server HOST:PORT] [--json] VERB ...\n\nverbs:\n";
  for (const Verb& verb : AllVerbs()) {
    if (group.empty() || absl::StartsWith(verb.name, absl::StrCat(group, " "))) {
      absl::StrAppend(&text, VerbLine(verb));
    }
  }
  return absl::StrCat(text, "\n\"engram help VERB\" explains one.\n\n", kGlobalHelp);
}

bool IsGroup(absl::string_view word) {
  const std::string prefix = absl::StrCat(word, " ");
  return std::any_of(AllVerbs().begin(), AllVerbs().end(),
                     [&prefix](const Verb& verb) { return absl::StartsWith(verb.name, prefix); });
}

int UnknownVerb(const VerbContext& context, const std::vector<std::string>& args) {
  const bool group = IsGroup(args[0]);
  *context.err << "engram: "
               << (group ? absl::StrCat("\"", args[0], "\" needs one more word")
                         : absl::StrCat("unknown verb \"", args[0], "\""))
               << "\n"
               << HelpText(group ? args[0] : "");
  return kExitUsage;
}

int Help(const VerbContext& context, std::vector<std::string> words) {
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

}  // namespace

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
      {"rollback", "bring a checkpoint back", Rollback},
      {"erase", "erase examples by id, subject or producer", Erase},
      {"quarantine list", "list the examples that were set aside", QuarantineList},
      {"quarantine release", "have them learned after all", QuarantineRelease},
      {"quarantine rejected", "list the messages that were refused", QuarantineRejected},
      {"blame", "who taught a model what, and whose labels disagree", Blame},
      {"strategy list", "list the strategies of the server", StrategyList},
      {"strategy explain", "explain one, with its parameters", StrategyExplain},
      {"scenario", "benchmark scenarios: run, evaluate, list, protocols", scenario::ScenarioVerb},
      {"backup create", "copy everything that the server keeps", BackupCreate},
      {"backup verify", "read a backup's files against its manifest", BackupVerify},
      {"backup restore", "make a data folder from a backup", BackupRestore},
      {"doctor", "what the server is: versions, BLAS, disk, limits", Doctor},
      {"reload", "have the server read its configuration again", Reload},
      {"loss acknowledge", "let a model learn again after a loss", LossAcknowledge},
      {"audit", "what administrators did, what was refused", AuditList},
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
    *context.err << "engram: " << taken.message() << "\n" << kGlobalHelp;
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
