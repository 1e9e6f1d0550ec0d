// A parameter of a strategy as its table entry says it, in one expression:
//   NumberParameter("lambda", 3.0).AtMost(1e12).Live().Help("strength of the pull")
//
// Threading: values, no sharing. Failure: none; the contract suite checks the table.
#pragma once

#include <string>
#include <vector>

#include "strategies/api/options.h"

namespace engram::strategies {

class ParameterDraft {
 public:
  ParameterDraft(std::string name, ParameterKind kind, ParameterValue fallback);

  // A number's range, inclusive.
  ParameterDraft& AtMost(double max) { return Between(0, max); }
  ParameterDraft& Between(double min, double max);
  // UpdateModel may change it on a running model.
  ParameterDraft& Live();
  // Ends the expression.
  ParameterHelp Help(std::string text);

 private:
  friend ParameterDraft ChoiceParameter(std::string name, std::vector<std::string> choices);

  ParameterHelp help_;
};

ParameterDraft NumberParameter(std::string name, double fallback);
ParameterDraft IntegerParameter(std::string name, int64_t fallback);
ParameterDraft BoolParameter(std::string name, bool fallback);
// The first choice is the default.
ParameterDraft ChoiceParameter(std::string name, std::vector<std::string> choices);

}  // namespace engram::strategies
