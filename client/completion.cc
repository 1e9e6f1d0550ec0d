#include "client/completion.h"

#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace engram::client {
namespace {

// Two words or one: {"model", "create"}, {"learn", ""}.
std::pair<std::string, std::string> Words(const VerbShape& verb) {
  return absl::StrSplit(verb.name, absl::MaxSplits(' ', 1));
}

// What a shell can offer for a placeholder; "TEXT" when nothing.
std::string KindOf(absl::string_view placeholder) {
  while (absl::EndsWith(placeholder, ".")) placeholder.remove_suffix(1);
  for (const char* name : {"MODEL", "CHECKPOINT", "STRATEGY", "SCENARIO"}) {
    if (placeholder == name) return name;
  }
  for (const char* path : {"FILE", "PATH", "DIR", "FOLDER", "DATA_DIR", "BACKUP"}) {
    if (placeholder == path) return "FILE";
  }
  const bool choices = absl::StrContains(placeholder, "|");
  return choices ? absl::StrReplaceAll(placeholder, {{"|", " "}}) : "TEXT";
}

// --- bash

// Asks the server with the connection flags that stand on the line. Only what can be a name is
// offered: compgen -W expands its words, and whoever answers at that address could have them run.
constexpr char kBashStart[] =
    R"sh(# Completion of engram for bash, made by "engram completion bash".

_engram_ask() {
  local -a known=(sed -n)
  case $1 in
    CHECKPOINT)
      known+=(-e h -e 's/^{"id":"\([A-Za-z0-9._-]*\)".*/\1/p')
      known+=(-e g -e 's/.*"label":"\([A-Za-z0-9._-]\{1,\}\)".*/\1/p')
      ;;
    *) known+=('s/^{"name":"\([A-Za-z0-9._-]*\)".*/\1/p') ;;
  esac
  case $1 in
    MODEL) "${_engram_call[@]}" model list ;;
    CHECKPOINT) "${_engram_call[@]}" checkpoint list "$2" ;;
    STRATEGY) "${_engram_call[@]}" strategy list ;;
    SCENARIO) "${_engram_call[@]}" scenario list ;;
  esac 2>/dev/null </dev/null | "${known[@]}"
}

)sh";

constexpr char kBashEnd[] = R"sh(
_engram_offer() {
  local IFS=$'\n'
  case $1 in
    TEXT) ;;
    FILE)
      compopt -o filenames
      COMPREPLY=($(compgen -f -- "$cur"))
      ;;
    MODEL | CHECKPOINT | STRATEGY | SCENARIO)
      COMPREPLY=($(compgen -W "$(_engram_ask "$1" "$model")" -- "$cur"))
      ;;
    *) COMPREPLY=($(compgen -W "${1// /$'\n'}" -- "$cur")) ;;
  esac
}

_engram() {
  local cur=${COMP_WORDS[COMP_CWORD]} word flag= verb= model= group= pending= i count=0
  local -a words=() _engram_call=("$1" --json --deadline 1)
  # Bash takes --flag=value and HOST:PORT apart: put them together again.
  for ((i = 1; i < COMP_CWORD; i++)); do
    word=${COMP_WORDS[i]}
    if ((${#words[@]})) && [[ $word == [=:] || ${words[-1]} == *[=:] ]]; then
      words[-1]+=$word
    else
      words+=("$word")
    fi
  done
  if [[ $cur == = ]]; then
    flag=${words[-1]} cur=
    unset 'words[-1]'
  elif ((${#words[@]})) && [[ ${words[-1]} == --*= ]]; then
    flag=${words[-1]%=}
    unset 'words[-1]'
  fi
  # The verb, its arguments so far, and the flag whose value comes next.
  for word in "${words[@]}"; do
    if [[ -n $pending ]]; then
      case $pending in
        --server | --tls_* | --token_file) _engram_call+=("$pending" "$word") ;;
      esac
      pending=
    elif [[ $word == --*=* ]]; then
      case $word in
        --server=* | --tls_* | --token_file=*) _engram_call+=("$word") ;;
      esac
    elif [[ $word == --* ]]; then
      [[ -n $(_engram_flag_kind "$verb" "$word") ]] && pending=$word
    elif [[ -z $verb && -n $group ]]; then
      verb="$group $word"
    elif [[ -z $verb && -n $(_engram_verbs "$word") ]]; then
      group=$word
    elif [[ -z $verb ]]; then
      verb=$word
    else
      [[ $(_engram_argument_kind "$verb" "$count") == MODEL ]] && model=$word
      ((count++))
    fi
  done
  [[ -n $flag ]] || flag=$pending
  COMPREPLY=()
  if [[ -n $flag ]]; then
    _engram_offer "$(_engram_flag_kind "$verb" "$flag")"
  elif [[ $cur == -* ]]; then
    _engram_offer "$(_engram_flags "$verb")"
  elif [[ -z $verb ]]; then
    _engram_offer "$(_engram_verbs "$group")"
  else
    _engram_offer "$(_engram_argument_kind "$verb" "$count")"
  fi
}

complete -F _engram engram
)sh";

std::string BashFlags(const std::vector<VerbShape>& verbs, const std::vector<FlagShape>& globals) {
  std::string text = "_engram_flags() {\n  local all='";
  for (const FlagShape& flag : globals) absl::StrAppend(&text, "--", flag.name, " ");
  absl::StrAppend(&text, "--help'\n  case $1 in\n");
  for (const VerbShape& verb : verbs) {
    if (verb.flags.empty()) continue;
    absl::StrAppend(&text, "    '", verb.name, "') all+='");
    for (const FlagShape& flag : verb.flags) absl::StrAppend(&text, " --", flag.name);
    absl::StrAppend(&text, "' ;;\n");
  }
  return absl::StrCat(text, "  esac\n  echo \"$all\"\n}\n\n");
}

// A switch has no kind.
std::string BashFlagKinds(const std::vector<VerbShape>& verbs,
                          const std::vector<FlagShape>& globals) {
  std::string text = "_engram_flag_kind() {\n  case \"$1 $2\" in\n";
  const auto add = [&text](absl::string_view verb, const FlagShape& flag) {
    if (flag.placeholder.empty()) return;
    absl::StrAppend(&text, "    ", verb, " --", flag.name, "') echo '", KindOf(flag.placeholder),
                    "' ;;\n");
  };
  for (const FlagShape& flag : globals) add("*'", flag);
  for (const VerbShape& verb : verbs) {
    for (const FlagShape& flag : verb.flags) add(absl::StrCat("'", verb.name), flag);
  }
  return absl::StrCat(text, "  esac\n}\n\n");
}

std::string BashArgumentKinds(const std::vector<VerbShape>& verbs) {
  std::string text = "_engram_argument_kind() {\n  case \"$1 $2\" in\n";
  for (const VerbShape& verb : verbs) {
    for (size_t i = 0; i < verb.arguments.size(); ++i) {
      const ArgumentShape& argument = verb.arguments[i];
      const std::string position = argument.many ? "*" : absl::StrCat(i);
      absl::StrAppend(&text, "    '", verb.name, " '", position, ") echo '", KindOf(argument.name),
                      "' ;;\n");
    }
  }
  return absl::StrCat(text, "    *) echo TEXT ;;\n  esac\n}\n\n");
}

// The first words, or the second words of a group.
std::string BashVerbs(const std::vector<VerbShape>& verbs) {
  std::set<std::string> first = {"help"};
  std::vector<std::pair<std::string, std::string>> groups;
  for (const VerbShape& verb : verbs) {
    const auto [word, second] = Words(verb);
    first.insert(word);
    if (second.empty()) continue;
    if (groups.empty() || groups.back().first != word) groups.emplace_back(word, "");
    absl::StrAppend(&groups.back().second, groups.back().second.empty() ? "" : " ", second);
  }
  std::string text = absl::StrCat("_engram_verbs() {\n  case $1 in\n    '') echo '",
                                  absl::StrJoin(first, " "), "' ;;\n");
  for (const auto& [group, seconds] : groups) {
    absl::StrAppend(&text, "    ", group, ") echo '", seconds, "' ;;\n");
  }
  return absl::StrCat(text, "  esac\n}\n");
}

// --- zsh

constexpr char kZshStart[] = R"sh(#compdef engram
# Completion of engram for zsh, made by "engram completion zsh".

_engram_names() {
  local kind=$1 model=$2
  local -a names
  case $kind in
    MODEL) names=(${(f)"$($_engram_call model list 2>/dev/null </dev/null |
      sed -n 's/^{"name":"\([^"]*\)".*/\1/p')"}) ;;
    STRATEGY) names=(${(f)"$($_engram_call strategy list 2>/dev/null </dev/null |
      sed -n 's/^{"name":"\([^"]*\)".*/\1/p')"}) ;;
    SCENARIO) names=(${(f)"$($_engram_call scenario list 2>/dev/null </dev/null |
      sed -n 's/^{"name":"\([^"]*\)".*/\1/p')"}) ;;
    CHECKPOINT) names=(${(f)"$($_engram_call checkpoint list "$model" 2>/dev/null </dev/null |
      sed -n -e h -e 's/^{"id":"\([^"]*\)".*/\1/p' \
        -e g -e 's/.*"label":"\([^"\\]\{1,\}\)".*/\1/p')"}) ;;
  esac
  compadd -a names
}

# The first argument of the verb.
_engram_model_named() {
  local word skip=
  for word in ${words[2,CURRENT-1]}; do
    if [[ -n $skip ]]; then
      skip=
    elif _engram_takes_value "$words[1] $word"; then
      skip=1
    elif [[ $word != -* ]]; then
      print -r -- $word
      return
    fi
  done
}

)sh";

// Flags whose value is the next word.
std::string ZshTakesValue(const std::vector<VerbShape>& verbs,
                          const std::vector<FlagShape>& globals) {
  std::string text = "_engram_takes_value() {\n  case $1 in\n";
  const auto add = [&text](absl::string_view verb, const FlagShape& flag) {
    if (flag.placeholder.empty()) return;
    absl::StrAppend(&text, "    ", verb, "' --", flag.name, "') ;;\n");
  };
  for (const FlagShape& flag : globals) add("*", flag);
  for (const VerbShape& verb : verbs) {
    for (const FlagShape& flag : verb.flags) add(absl::StrCat("'", verb.name, "'"), flag);
  }
  return absl::StrCat(text, "    *) return 1 ;;\n  esac\n}\n\n");
}

// In [help] of _arguments and in 'word:help' of _describe.
std::string ZshHelp(absl::string_view help) {
  const size_t line = help.find('\n');
  return absl::StrReplaceAll(
      help.substr(0, line),
      {{"'", ""}, {"\\", ""}, {"[", "\\["}, {"]", "\\]"}, {":", "\\:"}, {"`", ""}});
}

std::string ZshAction(absl::string_view placeholder) {
  const std::string kind = KindOf(placeholder);
  if (kind == "TEXT") return " ";
  if (kind == "FILE") return "_files";
  if (kind == "CHECKPOINT") return "{ _engram_names CHECKPOINT \"$(_engram_model_named)\" }";
  if (kind == "MODEL" || kind == "STRATEGY" || kind == "SCENARIO") {
    return absl::StrCat("{ _engram_names ", kind, " }");
  }
  return absl::StrCat("(", kind, ")");
}

std::string ZshFlag(const FlagShape& flag) {
  const std::string name = absl::StrCat(flag.many ? "*" : "", "--", flag.name);
  const std::string help = absl::StrCat("[", ZshHelp(flag.help), "]");
  if (flag.placeholder.empty()) return absl::StrCat("'", name, help, "'");
  const std::string message = absl::StrReplaceAll(flag.placeholder, {{":", "\\:"}});
  return absl::StrCat("'", name, "=", help, ":", message, ":", ZshAction(flag.placeholder), "'");
}

std::string ZshArgument(const ArgumentShape& argument) {
  return absl::StrCat("'", argument.many ? "*" : "", argument.required || argument.many ? "" : ":",
                      ":", argument.name, ":", ZshAction(argument.name), "'");
}

std::string ZshVerbLists(const std::vector<VerbShape>& verbs) {
  std::string first = "  local -a first=(help";
  std::string seconds = "  local -A second=(";
  std::string group;
  for (const VerbShape& verb : verbs) {
    const auto [word, second] = Words(verb);
    if (second.empty()) {
      absl::StrAppend(&first, "\n    '", word, ":", ZshHelp(verb.summary), "'");
      continue;
    }
    if (word != group) {
      absl::StrAppend(&first, "\n    '", word, ":", ZshHelp(verb.summary), ", ...'");
      absl::StrAppend(&seconds, group.empty() ? "" : "'", "\n    ", word, " '");
    }
    group = word;
    absl::StrAppend(&seconds, second, ":", ZshHelp(verb.summary), "\n");
  }
  return absl::StrCat(first, ")\n", seconds, "')\n");
}

constexpr char kZshWalk[] = R"sh(
  # Global flags may stand before the verb; the server is asked with them.
  local -a _engram_call=(engram --json --deadline 1)
  local word pending= verb= group= i at=0
  for ((i = 2; i < CURRENT; i++)); do
    word=${words[i]}
    if [[ -n $pending ]]; then
      _engram_call+=($pending $word)
      pending=
    elif [[ $word == --(server|tls_ca|tls_certificate|tls_key|token_file)=* ]]; then
      _engram_call+=($word)
    elif [[ $word == --(server|tls_ca|tls_certificate|tls_key|token_file) ]]; then
      pending=$word
    elif [[ -z $verb && $word == --deadline ]]; then
      ((i++))
    elif [[ -z $verb && $word != -* ]]; then
      if [[ -n $group ]]; then
        verb="$group $word" at=$i
      elif (( ${+second[$word]} )); then
        group=$word
      else
        verb=$word at=$i
      fi
    fi
  done
  if [[ -z $verb ]]; then
    if [[ -n $pending || ${words[CURRENT]} == -* ]]; then
      words=(engram $pending "${words[CURRENT]}")
      CURRENT=${#words}
      _arguments $globals
    elif [[ -n $group ]]; then
      local -a seconds=(${(f)second[$group]})
      _describe -t verbs "$group" seconds
    else
      _describe -t verbs verb first
    fi
    return
  fi
  words=("$verb" "${(@)words[at+1,-1]}")
  CURRENT=$((CURRENT - at + 1))
  case $verb in
)sh";

}  // namespace

std::string BashCompletion(const std::vector<VerbShape>& verbs,
                           const std::vector<FlagShape>& globals) {
  return absl::StrCat(kBashStart, BashFlags(verbs, globals), BashFlagKinds(verbs, globals),
                      BashArgumentKinds(verbs), BashVerbs(verbs), kBashEnd);
}

std::string ZshCompletion(const std::vector<VerbShape>& verbs,
                          const std::vector<FlagShape>& globals) {
  std::string text =
      absl::StrCat(kZshStart, ZshTakesValue(verbs, globals), "_engram() {\n  local -a globals=(");
  for (const FlagShape& flag : globals) absl::StrAppend(&text, "\n    ", ZshFlag(flag));
  absl::StrAppend(&text, "\n    '--help[explain the verb]')\n", ZshVerbLists(verbs), kZshWalk);
  for (const VerbShape& verb : verbs) {
    absl::StrAppend(&text, "    '", verb.name, "')\n      _arguments $globals");
    for (const FlagShape& flag : verb.flags) absl::StrAppend(&text, " \\\n        ", ZshFlag(flag));
    for (const ArgumentShape& argument : verb.arguments) {
      absl::StrAppend(&text, " \\\n        ", ZshArgument(argument));
    }
    absl::StrAppend(&text, "\n      ;;\n");
  }
  return absl::StrCat(text, "  esac\n}\n\n_engram \"$@\"\n");
}

}  // namespace engram::client
