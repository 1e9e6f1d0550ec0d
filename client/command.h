// The `engram` command without its main: global flags, the table of verbs, help.
//
// Threading: main thread. Ownership: borrows the streams of the context. Bounds: none.
// Failure: exit codes of client/verb.h; what is wrong goes to the context's err.
#pragma once

#include <string>
#include <vector>

#include "client/flags.h"
#include "client/verb.h"

namespace engram::client {

struct Verb {
  // "model create": one or two words.
  std::string name;
  std::string summary;
  VerbFunction run;
};

// In the order of the help page.
const std::vector<Verb>& AllVerbs();

// Of every verb, before or after its words.
const std::vector<FlagShape>& GlobalFlags();

// All that is told about a verb: what completion and the manual are made from.
struct VerbShape {
  std::string name;
  // In the table, and of the verb itself.
  std::string summary;
  std::string about;
  std::string synopsis;
  std::vector<FlagShape> flags;
  std::vector<ArgumentShape> arguments;
};
std::vector<VerbShape> DescribeVerbs();

// Runs the command line `args` (without the program's name). `context` brings streams and terminal;
// its connection is where global flags are not given.
int RunCommand(VerbContext context, const std::vector<std::string>& args);

// Takes the global flags out of `args`, wherever they stand before "--".
absl::Status TakeGlobalFlags(std::vector<std::string>* args, VerbContext* context);

}  // namespace engram::client
