// What the learner itself reaches on a scenario, without a server around it: the command line and
// the report of `engram scenario run`, trained in process.
//
//   learner_experiment split-mnist --data DIR --scenario task --protocol vdv --strategy ewc
//
// Not part of ctest: it needs minutes, and real digits.
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "client/scenario/run_verb.h"
#include "client/verb.h"
#include "tests/testing/in_process/in_process_run.h"

int main(int argc, char** argv) {
  std::vector<std::string> args(argv + 1, argv + argc);
  engram::client::VerbContext context;
  context.terminal = isatty(STDERR_FILENO) == 1;
  const auto json = std::find(args.begin(), args.end(), "--json");
  context.json = json != args.end();
  if (context.json) args.erase(json);
  return engram::scenario::RunVerb(
      context, args,
      [](const engram::scenario::RunOptions& options, const engram::datasets::RowSplit& source,
         const engram::scenario::RunEvents& events) {
        return engram::testing::RunInProcess(options, source, events);
      });
}
