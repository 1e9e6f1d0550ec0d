// `completion`: the script that has a shell complete this command.
#include "client/completion.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/command.h"
#include "client/verbs/verbs.h"

namespace engram::client {

int Completion(const VerbContext& context, const Arguments& args) {
  std::string shell;
  FlagSet flags("completion",
                "Prints the completion of a shell: verbs, flags, files, and the names that the "
                "server knows.\n"
                "bash: source <(engram completion bash), or keep it as "
                "~/.local/share/bash-completion/completions/engram.\n"
                "zsh: keep it as _engram in a folder of $fpath.");
  flags.Positional("bash|zsh", &shell, "the shell");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  if (shell != "bash" && shell != "zsh") {
    return WrongUsage(
        context,
        absl::InvalidArgumentError(absl::StrCat("expected bash or zsh, got \"", shell, "\"")),
        flags);
  }
  *context.out << (shell == "bash" ? BashCompletion(DescribeVerbs(), GlobalFlags())
                                   : ZshCompletion(DescribeVerbs(), GlobalFlags()));
  return kExitOk;
}

}  // namespace engram::client
