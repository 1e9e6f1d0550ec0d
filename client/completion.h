// Shell scripts that complete the `engram` command, made from what the verbs declare: the words of
// verbs, their flags, and by a value's placeholder what can stand there - files, the choices of
// "a|b", and the names of models, checkpoints, strategies and scenarios, which the script asks the
// command for (`engram --json`, at most a second, silent without a server).
//
// Threading: free functions, safe from any thread. Ownership: nothing is kept. Failure: none.
// Bounds: none.
#pragma once

#include <string>
#include <vector>

#include "client/command.h"
#include "client/flags.h"

namespace engram::client {

// For bash 4 and later; needs nothing else, bash-completion neither.
std::string BashCompletion(const std::vector<VerbShape>& verbs,
                           const std::vector<FlagShape>& globals);

// A completion function for zsh's compinit: `_engram` in a folder of $fpath.
std::string ZshCompletion(const std::vector<VerbShape>& verbs,
                          const std::vector<FlagShape>& globals);

}  // namespace engram::client
