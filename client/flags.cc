#include "client/flags.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

constexpr size_t kHelpColumn = 28;
constexpr char kWhole[] = "a whole number";
constexpr char kNatural[] = "a whole number from 0";
constexpr char kNumber[] = "a number";

// A setter that parses with one of Abseil's SimpleAto* functions.
template <typename T, typename Atoi>
std::function<absl::Status(absl::string_view)> NumberSetter(T* value, absl::string_view kind,
                                                            Atoi parse) {
  return [value, kind, parse](absl::string_view text) {
    if (parse(text, value)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("expected ", kind, ", got \"", text, "\""));
  };
}

// The same into an optional, which stays empty on a bad text.
template <typename T, typename Atoi>
std::function<absl::Status(absl::string_view)> NumberSetter(absl::optional<T>* value,
                                                            absl::string_view kind, Atoi parse) {
  return [value, kind, parse](absl::string_view text) {
    T parsed{};
    const absl::Status status = NumberSetter(&parsed, kind, parse)(text);
    if (status.ok()) *value = parsed;
    return status;
  };
}

std::string Padded(std::string left) {
  if (left.size() + 2 > kHelpColumn) return absl::StrCat(left, "\n", std::string(kHelpColumn, ' '));
  left.resize(kHelpColumn, ' ');
  return left;
}

}  // namespace

FlagSet::FlagSet(std::string synopsis, std::string summary)
    : synopsis_(std::move(synopsis)), summary_(std::move(summary)) {}

FlagSet& FlagSet::Add(FlagShape shape, Setter set) {
  flags_.push_back({std::move(shape), std::move(set)});
  return *this;
}

FlagSet& FlagSet::String(std::string name, std::string* value, std::string help) {
  return Add({std::move(name), "TEXT", std::move(help), *value}, [value](absl::string_view text) {
    *value = std::string(text);
    return absl::OkStatus();
  });
}

FlagSet& FlagSet::Int64(std::string name, int64_t* value, std::string help) {
  return Add({std::move(name), "N", std::move(help), absl::StrCat(*value)},
             NumberSetter(value, kWhole, absl::SimpleAtoi<int64_t>));
}

FlagSet& FlagSet::Uint64(std::string name, uint64_t* value, std::string help) {
  return Add({std::move(name), "N", std::move(help), absl::StrCat(*value)},
             NumberSetter(value, kNatural, absl::SimpleAtoi<uint64_t>));
}

FlagSet& FlagSet::Double(std::string name, double* value, std::string help) {
  return Add({std::move(name), "X", std::move(help), absl::StrCat(*value)},
             NumberSetter(value, kNumber, absl::SimpleAtod));
}

FlagSet& FlagSet::Int64(std::string name, absl::optional<int64_t>* value, std::string help) {
  return Add({std::move(name), "N", std::move(help)},
             NumberSetter(value, kWhole, absl::SimpleAtoi<int64_t>));
}

FlagSet& FlagSet::Uint64(std::string name, absl::optional<uint64_t>* value, std::string help) {
  return Add({std::move(name), "N", std::move(help)},
             NumberSetter(value, kNatural, absl::SimpleAtoi<uint64_t>));
}

FlagSet& FlagSet::Double(std::string name, absl::optional<double>* value, std::string help) {
  return Add({std::move(name), "X", std::move(help)},
             NumberSetter(value, kNumber, absl::SimpleAtod));
}

FlagSet& FlagSet::Bool(std::string name, bool* value, std::string help) {
  return Add({std::move(name), "", std::move(help), *value ? "true" : ""},
             NumberSetter(value, "true or false", absl::SimpleAtob));
}

FlagSet& FlagSet::Strings(std::string name, std::vector<std::string>* values, std::string help) {
  return Add({std::move(name), "TEXT", std::move(help), "", true},
             [values](absl::string_view text) {
               values->emplace_back(text);
               return absl::OkStatus();
             });
}

FlagSet& FlagSet::Int64s(std::string name, std::vector<int64_t>* values, std::string help) {
  const auto set = [values](absl::string_view text) {
    std::vector<int64_t> parsed;
    for (const absl::string_view part : absl::StrSplit(text, ',', absl::SkipEmpty())) {
      if (!absl::SimpleAtoi(part, &parsed.emplace_back())) {
        return absl::InvalidArgumentError(
            absl::StrCat("expected whole numbers joined by commas, got \"", text, "\""));
      }
    }
    *values = std::move(parsed);
    return absl::OkStatus();
  };
  return Add({std::move(name), "N,N,...", std::move(help), absl::StrJoin(*values, ",")}, set);
}

FlagSet& FlagSet::Positional(std::string name, std::string* value, std::string help) {
  arguments_.push_back({{std::move(name), std::move(help), true}, value});
  return *this;
}

FlagSet& FlagSet::OptionalPositional(std::string name, std::string* value, std::string help) {
  arguments_.push_back({{std::move(name), std::move(help), false}, value});
  return *this;
}

FlagSet& FlagSet::Rest(std::string name, std::vector<std::string>* values, std::string help) {
  arguments_.push_back({{std::move(name), std::move(help), true, true}, nullptr, values});
  return *this;
}

FlagSet& FlagSet::OptionalRest(std::string name, std::vector<std::string>* values,
                               std::string help) {
  arguments_.push_back({{std::move(name), std::move(help), false, true}, nullptr, values});
  return *this;
}

FlagSet& FlagSet::Takes(std::string placeholder) {
  flags_.back().shape.placeholder = std::move(placeholder);
  return *this;
}

FlagSet::Flag* FlagSet::Find(absl::string_view name) {
  const auto found = std::find_if(flags_.begin(), flags_.end(),
                                  [name](const Flag& flag) { return flag.shape.name == name; });
  return found == flags_.end() ? nullptr : &*found;
}

absl::Status FlagSet::ParseFlag(const std::vector<std::string>& args, size_t* at) {
  const absl::string_view word = absl::string_view(args[*at]).substr(2);
  const size_t equals = word.find('=');
  const absl::string_view name = word.substr(0, equals);
  Flag* flag = Find(name);
  if (flag == nullptr) return absl::InvalidArgumentError(absl::StrCat("unknown flag --", name));
  absl::string_view value;
  if (equals != absl::string_view::npos) {
    value = word.substr(equals + 1);
  } else if (flag->shape.placeholder.empty()) {
    value = "true";
  } else if (*at + 1 < args.size()) {
    value = args[++*at];
  } else {
    return absl::InvalidArgumentError(absl::StrCat("--", name, " needs a value"));
  }
  const absl::Status set = flag->set(value);
  if (!set.ok()) return absl::InvalidArgumentError(absl::StrCat("--", name, ": ", set.message()));
  return absl::OkStatus();
}

absl::Status FlagSet::Parse(const std::vector<std::string>& args) {
  size_t next_argument = 0;
  bool flags_over = false;
  for (size_t at = 0; at < args.size(); ++at) {
    const std::string& word = args[at];
    if (!flags_over && word == "--") {
      flags_over = true;
    } else if (!flags_over && absl::StartsWith(word, "--")) {
      ENGRAM_RETURN_IF_ERROR(ParseFlag(args, &at));
    } else if (next_argument < arguments_.size()) {
      const Argument& argument = arguments_[next_argument];
      if (argument.values == nullptr) ++next_argument;
      argument.values == nullptr ? * argument.value = word : argument.values->emplace_back(word);
    } else {
      return absl::InvalidArgumentError(absl::StrCat("unexpected argument \"", word, "\""));
    }
  }
  if (next_argument < arguments_.size() && arguments_[next_argument].shape.required &&
      (arguments_[next_argument].values == nullptr || arguments_[next_argument].values->empty())) {
    return absl::InvalidArgumentError(
        absl::StrCat("missing argument ", arguments_[next_argument].shape.name));
  }
  return absl::OkStatus();
}

std::string FlagSet::Synopsis() const {
  std::string text = absl::StrCat("engram ", synopsis_);
  for (const Argument& argument : arguments_) {
    const ArgumentShape& shape = argument.shape;
    absl::StrAppend(&text, " ", shape.required ? shape.name : absl::StrCat("[", shape.name, "]"));
  }
  return absl::StrCat(text, flags_.empty() ? "" : " [FLAGS]");
}

std::string FlagSet::Usage() const {
  std::string text = absl::StrCat("usage: ", Synopsis(), "\n", summary_, "\n");
  for (const Argument& argument : arguments_) {
    absl::StrAppend(&text, Padded(absl::StrCat("  ", argument.shape.name)), argument.shape.help,
                    "\n");
  }
  for (const Flag& flag : flags_) absl::StrAppend(&text, FlagLine(flag.shape));
  return text;
}

std::vector<FlagShape> FlagSet::flag_shapes() const {
  std::vector<FlagShape> shapes;
  for (const Flag& flag : flags_) shapes.push_back(flag.shape);
  return shapes;
}

std::vector<ArgumentShape> FlagSet::argument_shapes() const {
  std::vector<ArgumentShape> shapes;
  for (const Argument& argument : arguments_) shapes.push_back(argument.shape);
  return shapes;
}

std::string FlagLine(const FlagShape& flag) {
  const std::string left =
      absl::StrCat("  --", flag.name, flag.placeholder.empty() ? "" : " ", flag.placeholder);
  return absl::StrCat(
      Padded(left), flag.help,
      flag.default_text.empty() ? "" : absl::StrCat(" (default ", flag.default_text, ")"), "\n");
}

}  // namespace engram::client
