// What every verb of the `engram` command gets, and how it reports back.
//
// A verb is a function of a VerbContext and its own arguments (global flags, --json among them, are
// already taken out, wherever they stood). It returns the exit code of the command: kExitOk,
// kExitFailed after a failed call (Fail prints it), kExitUsage after wrong arguments (WrongUsage
// prints them).
//
// Threading: a verb runs on the main thread; `out` and `err` are written by that thread only.
// Ownership: the context outlives the verb.
#pragma once

#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "client/connection.h"
#include "client/flags.h"

namespace engram::client {

constexpr int kExitOk = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

struct VerbContext {
  ConnectionOptions connection;
  // One JSON object a line on `out`, nothing else.
  bool json = false;
  // Whether `err` is a terminal: progress bars there, plain lines otherwise (client/progress.h).
  bool terminal = false;
  // Whether the program's own input and output are one that can be drawn on (client/screen.h).
  bool screen = false;
  // When set, a verb shows its flags to it and does nothing else.
  std::function<void(const FlagSet&)> on_flags;
  std::istream* in = &std::cin;
  std::ostream* out = &std::cout;
  std::ostream* err = &std::cerr;

  absl::StatusOr<std::shared_ptr<Connection>> Connect() const {
    return Connection::Open(connection);
  }
};

using VerbFunction =
    std::function<int(const VerbContext& context, const std::vector<std::string>& args)>;

// Prints "engram: NOT_FOUND: ..." to err, and what to do about it where that is known.
int Fail(const VerbContext& context, const absl::Status& status);

// Prints what is wrong to err, how the verb is called, and where its flags are explained.
int WrongUsage(const VerbContext& context, const absl::Status& status, const FlagSet& flags);

// Parses `args` into `flags`. nullopt: go on. Otherwise the verb is over with this exit code: after
// --help (usage on out, kExitOk) or wrong arguments (kExitUsage).
absl::optional<int> ParseOrExit(const VerbContext& context, const std::vector<std::string>& args,
                                FlagSet* flags);

}  // namespace engram::client
