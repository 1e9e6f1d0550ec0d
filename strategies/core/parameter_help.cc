#include "strategies/core/parameter_help.h"

#include <utility>

namespace engram::strategies {

ParameterDraft::ParameterDraft(std::string name, ParameterKind kind, ParameterValue fallback) {
  help_.name = std::move(name);
  help_.kind = kind;
  help_.default_value = std::move(fallback);
}

ParameterDraft& ParameterDraft::Between(double min, double max) {
  help_.min = min;
  help_.max = max;
  return *this;
}

ParameterDraft& ParameterDraft::Live() {
  help_.live = true;
  return *this;
}

ParameterHelp ParameterDraft::Help(std::string text) {
  help_.help = std::move(text);
  return std::move(help_);
}

ParameterDraft NumberParameter(std::string name, double fallback) {
  return {std::move(name), ParameterKind::kNumber, fallback};
}

ParameterDraft IntegerParameter(std::string name, int64_t fallback) {
  return {std::move(name), ParameterKind::kInteger, fallback};
}

ParameterDraft BoolParameter(std::string name, bool fallback) {
  return {std::move(name), ParameterKind::kBool, fallback};
}

ParameterDraft ChoiceParameter(std::string name, std::vector<std::string> choices) {
  ParameterDraft draft(std::move(name), ParameterKind::kChoice, choices.front());
  draft.help_.choices = std::move(choices);
  return draft;
}

}  // namespace engram::strategies
