// A snapshot's network as a file for other programs: what answers predictions, and nothing that
// learning needs besides.
//
// safetensors: hidden0.weight [units, inputs], hidden0.bias [units] ... head.weight, head.bias, as
//   PretrainedWeights takes them; with a head a task, head.TASK.weight and head.TASK.bias. Only
//   what a plain network answers, ReLU between its layers.
// TorchScript: a module for torch.jit.load. forward(x [rows, features]) gives logits [rows,
//   classes]; with a head a task it is forward(x, task), a name, and the logits of classes that are
//   not the task's are -inf. Its extra files are the metadata.
// Rows of a head and logits are in the order of NetworkOutputs.
//
// Bounds: as large as the network, and as often a task where each has a network of its own.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace engram::strategies {

enum class ExportFormat { kSafetensors, kTorchScript };

struct ExportOptions {
  ExportFormat format = ExportFormat::kSafetensors;
  std::vector<std::string> tasks;                            // names, by column
  std::vector<std::pair<std::string, std::string>> metadata;  // names and texts
};

// What the outputs of an exported network stand for.
struct NetworkOutputs {
  struct Head {
    int32_t task = 0;  // column
    std::vector<int32_t> classes;
  };
  std::vector<int32_t> classes;  // those with an output, ascending
  std::vector<Head> heads;       // where heads are per task
};

}  // namespace engram::strategies
