// Weights that a learner starts from instead of drawn ones: a safetensors file from outside.
//
// Names: hidden0.weight [units, inputs], hidden0.bias [units], hidden1.weight ... head.weight,
//   head.bias; or those of a PyTorch nn.Sequential, "0.weight", "0.bias", "2.weight" ..., under
//   one prefix or none: its numbers in ascending order are the layers from the input to the head,
//   or to the last hidden layer when the file has no head.
// Types: F32, F64, F16 and BF16, converted to float32; every value must be finite there.
// Ownership: borrows the bytes.
// Bounds: header 1 MiB, 10 000 tensors.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace engram::strategies {

struct PretrainedWeights {
  enum class Scope {
    // The layers below the head; a head in the file is checked and left out, those of tasks
    // (head.TASK.weight) are left out.
    kTrunk,
    kStrict,  // every layer; the file has all parameters of the model and nothing else
  };
  absl::string_view safetensors;
  Scope scope = Scope::kTrunk;
  // kStrict: the classes of the head's outputs, in class order. Where the file's __metadata__ has
  // "labels", a JSON array, it must name the same.
  std::vector<std::string> labels;
};

}  // namespace engram::strategies
