// A forward pass written down as operations on rows, for whoever turns it into another system's
// program (core/torchscript_writer.h) or wants its layers (core/network_export.h).
//
// Every value is [rows, columns]; the first is the features, and each step reads values made
// before it.
//
// Threading: a value type.
// Ownership: holds its tensors; those that a pass lends are valid while the pass lives.
// Failure: CHECK on misuse (a value that is not there).
// Bounds: what the passes put in.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

namespace engram::strategies {

class NetworkProgram {
 public:
  using Value = int;
  static constexpr Value kFeatures = 0;

  enum class Kind {
    kLinear,      // a W^T + b; W [out, in], b [out] or undefined
    kRelu,        // max(a, 0)
    kScaled,      // a times `number`
    kSum,         // of all inputs, of one shape
    kJoin,        // columns of all inputs, side by side
    kPick,        // of a, the columns named, in their order
    kUnitLength,  // each row of a over its Euclidean length; rows of zeros stay
    kBehind,      // [rows, 1]: the lowest of each row of a, less `number`
  };
  struct Step {
    Kind kind = Kind::kLinear;
    std::vector<Value> inputs;
    at::Tensor weight = {};
    at::Tensor bias = {};
    std::vector<int64_t> columns = {};
    double number = 0;
  };

  // steps()[i] makes value i + 1; the last one is what the program answers.
  const std::vector<Step>& steps() const { return steps_; }

  Value Linear(Value a, const at::Tensor& weight, const at::Tensor& bias);
  // The same of a layer that stays where it is: lent.
  Value Linear(Value a, const float* weight, const float* bias, int64_t out, int64_t in);
  Value Relu(Value a);
  Value Scaled(Value a, double factor);
  Value Sum(const std::vector<Value>& inputs);
  Value Join(const std::vector<Value>& inputs);
  Value Pick(Value a, const std::vector<int64_t>& columns);
  Value UnitLength(Value a);
  Value Behind(Value a, double margin);

 private:
  Value Add(Step step);

  std::vector<Step> steps_;
};

// The rows named, in their order: `rows` itself where that is all of them.
at::Tensor PickRows(const at::Tensor& rows, const std::vector<int64_t>& wanted);

}  // namespace engram::strategies
