#include "strategies/core/parameters.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::strategies {
namespace {

absl::Status WrongKind(const std::string& field, absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": expected ", expected));
}

absl::Status CheckRange(const std::string& field, const ParameterHelp& help, double value) {
  if (value >= help.min && value <= help.max) return absl::OkStatus();  // NaN fails both
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": must be in [", help.min, ", ", help.max, "], got ", value));
}

absl::StatusOr<ParameterValue> CheckNumber(const std::string& field, const ParameterHelp& help,
                                           const ParameterValue& value) {
  double number = 0;
  if (const auto* integer = absl::get_if<int64_t>(&value)) {
    number = static_cast<double>(*integer);
  } else if (const auto* real = absl::get_if<double>(&value)) {
    number = *real;
  } else {
    return WrongKind(field, "a number");
  }
  ENGRAM_RETURN_IF_ERROR(CheckRange(field, help, number));
  return ParameterValue(number);
}

absl::StatusOr<ParameterValue> CheckChoice(const std::string& field, const ParameterHelp& help,
                                           const ParameterValue& value) {
  const auto* text = absl::get_if<std::string>(&value);
  if (text == nullptr) return WrongKind(field, "a choice");
  if (std::find(help.choices.begin(), help.choices.end(), *text) == help.choices.end()) {
    return absl::InvalidArgumentError(absl::StrCat(
        field, ": must be one of ", absl::StrJoin(help.choices, ", "), ", got \"", *text, "\""));
  }
  return value;
}

absl::StatusOr<ParameterValue> CheckValue(const std::string& field, const ParameterHelp& help,
                                          const ParameterValue& value) {
  switch (help.kind) {
    case ParameterKind::kBool:
      if (!absl::holds_alternative<bool>(value)) return WrongKind(field, "true or false");
      return value;
    case ParameterKind::kInteger: {
      const auto* integer = absl::get_if<int64_t>(&value);
      if (integer == nullptr) return WrongKind(field, "an integer");
      ENGRAM_RETURN_IF_ERROR(CheckRange(field, help, static_cast<double>(*integer)));
      return value;
    }
    case ParameterKind::kNumber:
      return CheckNumber(field, help, value);
    case ParameterKind::kChoice:
      return CheckChoice(field, help, value);
  }
  return absl::InternalError(absl::StrCat(field, ": unknown kind"));
}

}  // namespace

absl::StatusOr<StrategyParameters> StrategyParameters::Resolve(const StrategyHelp& help,
                                                               const StrategySpec& spec) {
  StrategyParameters result;
  for (const ParameterHelp& parameter : help.parameters) {
    result.values_[parameter.name] = parameter.default_value;
  }
  for (const auto& [name, value] : spec.parameters) {
    const auto known = std::find_if(help.parameters.begin(), help.parameters.end(),
                                    [&n = name](const ParameterHelp& p) { return p.name == n; });
    const std::string field = absl::StrCat(help.name, ".", name);
    if (known == help.parameters.end()) {
      return absl::InvalidArgumentError(absl::StrCat(field, ": unknown parameter"));
    }
    ENGRAM_ASSIGN_OR_RETURN(result.values_[name], CheckValue(field, *known, value));
  }
  return result;
}

bool StrategyParameters::Bool(absl::string_view name) const { return absl::get<bool>(At(name)); }

int64_t StrategyParameters::Integer(absl::string_view name) const {
  return absl::get<int64_t>(At(name));
}

double StrategyParameters::Number(absl::string_view name) const {
  return absl::get<double>(At(name));
}

const std::string& StrategyParameters::Choice(absl::string_view name) const {
  return absl::get<std::string>(At(name));
}

const ParameterValue& StrategyParameters::At(absl::string_view name) const {
  const auto it = values_.find(std::string(name));
  ENGRAM_CHECK(it != values_.end());
  return it->second;
}

}  // namespace engram::strategies
