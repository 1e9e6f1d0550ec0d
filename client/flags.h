// The flags of one verb: declared once, then parsed, documented, checked and completed from the
// declaration. A placeholder says what stands for a value ("FILE", "MODEL", "csv|jsonl"), and so
// what a shell completes there (client/completion.h).
//
// Accepts --name value and --name=value, --switch and --switch=false, and positional arguments in
// declared order. "--" ends the flags.
//
// Threading: one thread.
// Ownership: writes through pointers that the caller keeps alive until Parse returns.
// Failure: Parse returns INVALID_ARGUMENT with a sentence for the user: unknown flag, missing or
//   malformed value, missing or surplus positional argument.
// Bounds: none.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace engram::client {

// What is told about a flag.
struct FlagShape {
  std::string name;
  // What its value is; empty: a switch.
  std::string placeholder;
  std::string help;
  std::string default_text = {};
  // May be given again.
  bool many = false;
};

// What is told about an argument.
struct ArgumentShape {
  std::string name;
  std::string help;
  bool required = false;
  bool many = false;
};

class FlagSet {
 public:
  // `synopsis` follows "engram " in the usage line, e.g. "model create"; arguments are added to it.
  FlagSet(std::string synopsis, std::string summary);

  FlagSet& String(std::string name, std::string* value, std::string help);
  FlagSet& Int64(std::string name, int64_t* value, std::string help);
  FlagSet& Uint64(std::string name, uint64_t* value, std::string help);
  FlagSet& Double(std::string name, double* value, std::string help);
  // Stay without a value when they are not given.
  FlagSet& Int64(std::string name, absl::optional<int64_t>* value, std::string help);
  FlagSet& Uint64(std::string name, absl::optional<uint64_t>* value, std::string help);
  FlagSet& Double(std::string name, absl::optional<double>* value, std::string help);
  FlagSet& Bool(std::string name, bool* value, std::string help);
  // May be given many times.
  FlagSet& Strings(std::string name, std::vector<std::string>* values, std::string help);
  // Comma-separated.
  FlagSet& Int64s(std::string name, std::vector<int64_t>* values, std::string help);

  // In order of declaration; all required ones come first.
  FlagSet& Positional(std::string name, std::string* value, std::string help);
  FlagSet& OptionalPositional(std::string name, std::string* value, std::string help);
  // The last ones, any number but none.
  FlagSet& Rest(std::string name, std::vector<std::string>* values, std::string help);
  FlagSet& OptionalRest(std::string name, std::vector<std::string>* values, std::string help);

  // The placeholder of the flag that was declared last: a kind of thing, or choices as "a|b".
  FlagSet& Takes(std::string placeholder);

  absl::Status Parse(const std::vector<std::string>& args);

  // "engram model create NAME [FLAGS]".
  std::string Synopsis() const;
  // Several lines; defaults are what the variables held when they were declared.
  std::string Usage() const;

  const std::string& synopsis() const { return synopsis_; }
  const std::string& summary() const { return summary_; }
  std::vector<FlagShape> flag_shapes() const;
  std::vector<ArgumentShape> argument_shapes() const;

 private:
  using Setter = std::function<absl::Status(absl::string_view)>;
  struct Flag {
    FlagShape shape;
    Setter set;
  };
  struct Argument {
    ArgumentShape shape;
    std::string* value = nullptr;
    std::vector<std::string>* values = nullptr;  // of all that are left
  };

  FlagSet& Add(FlagShape shape, Setter set);
  absl::Status ParseFlag(const std::vector<std::string>& args, size_t* at);
  Flag* Find(absl::string_view name);

  const std::string synopsis_;
  const std::string summary_;
  std::vector<Flag> flags_;
  std::vector<Argument> arguments_;
};

// One line of help, its newline included.
std::string FlagLine(const FlagShape& flag);

}  // namespace engram::client
