#include "strategies/models/network_program.h"

#include <numeric>
#include <utility>

#include "storage/base/check.h"

namespace engram::strategies {
namespace {

bool IsWhole(const std::vector<int64_t>& wanted, int64_t count) {
  std::vector<int64_t> all(static_cast<size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return wanted == all;
}

}  // namespace

NetworkProgram::Value NetworkProgram::Linear(Value a, const at::Tensor& weight,
                                             const at::Tensor& bias) {
  Step step{Kind::kLinear, {a}};
  step.weight = weight;
  step.bias = bias;
  return Add(std::move(step));
}

NetworkProgram::Value NetworkProgram::Linear(Value a, const float* weight, const float* bias,
                                             int64_t out, int64_t in) {
  return Linear(a, at::from_blob(const_cast<float*>(weight), {out, in}, at::kFloat),
                at::from_blob(const_cast<float*>(bias), {out}, at::kFloat));
}

NetworkProgram::Value NetworkProgram::Relu(Value a) { return Add({Kind::kRelu, {a}}); }

NetworkProgram::Value NetworkProgram::Scaled(Value a, double factor) {
  Step step{Kind::kScaled, {a}};
  step.number = factor;
  return Add(std::move(step));
}

NetworkProgram::Value NetworkProgram::Sum(const std::vector<Value>& inputs) {
  return Add({Kind::kSum, inputs});
}

NetworkProgram::Value NetworkProgram::Join(const std::vector<Value>& inputs) {
  return Add({Kind::kJoin, inputs});
}

NetworkProgram::Value NetworkProgram::Pick(Value a, const std::vector<int64_t>& columns) {
  Step step{Kind::kPick, {a}};
  step.columns = columns;
  return Add(std::move(step));
}

NetworkProgram::Value NetworkProgram::UnitLength(Value a) { return Add({Kind::kUnitLength, {a}}); }

NetworkProgram::Value NetworkProgram::Behind(Value a, double margin) {
  Step step{Kind::kBehind, {a}};
  step.number = margin;
  return Add(std::move(step));
}

NetworkProgram::Value NetworkProgram::Add(Step step) {
  const Value made = static_cast<Value>(steps_.size()) + 1;
  ENGRAM_CHECK(!step.inputs.empty());
  for (const Value input : step.inputs) ENGRAM_CHECK(input >= kFeatures && input < made);
  steps_.push_back(std::move(step));
  return made;
}

at::Tensor PickRows(const at::Tensor& rows, const std::vector<int64_t>& wanted) {
  if (IsWhole(wanted, rows.size(0))) return rows;
  return rows.index_select(0, at::tensor(wanted, at::kLong));
}

}  // namespace engram::strategies
