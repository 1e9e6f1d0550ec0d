#include "strategies/core/network_export.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {
namespace {

using Step = NetworkProgram::Step;

std::vector<int64_t> UnitsOf(const UnitMap& units, int32_t task,
                             const std::vector<int32_t>& classes) {
  std::vector<int64_t> wanted;
  for (const int32_t cls : classes) wanted.push_back(units.Find(task, cls));
  return wanted;
}

void Layer(const std::string& name, const Step& linear, StateWriter* writer) {
  writer->PutTensor(name + ".weight", linear.weight);
  writer->PutTensor(name + ".bias", linear.bias);
}

absl::Status NotPlain() {
  return absl::FailedPreconditionError(
      "safetensors holds the layers of a plain network, this one has more than Linear layers with "
      "ReLU between them; export it as TorchScript");
}

// The Linear layers of x -> Linear -> ReLU -> ... -> Linear, or an error for any other program.
absl::StatusOr<std::vector<const Step*>> PlainLayers(const NetworkProgram& program) {
  std::vector<const Step*> layers;
  for (size_t i = 0; i < program.steps().size(); ++i) {
    const Step& step = program.steps()[i];
    const bool is_layer = i % 2 == 0;
    if (step.kind != (is_layer ? NetworkProgram::Kind::kLinear : NetworkProgram::Kind::kRelu) ||
        step.inputs.front() != static_cast<NetworkProgram::Value>(i)) {
      return NotPlain();
    }
    if (!is_layer) continue;
    if (!step.bias.defined()) return NotPlain();
    layers.push_back(&step);
  }
  if (program.steps().size() % 2 == 0) return NotPlain();
  return layers;
}

bool IsSame(const Step& a, const Step& b) {
  return a.weight.data_ptr() == b.weight.data_ptr() && a.weight.sizes() == b.weight.sizes() &&
         a.bias.data_ptr() == b.bias.data_ptr();
}

}  // namespace

NetworkOutputs OutputsOf(const UnitMap& units) {
  NetworkOutputs outputs;
  for (const UnitMap::Owner& owner : units.owners()) outputs.classes.push_back(owner.cls);
  std::sort(outputs.classes.begin(), outputs.classes.end());
  outputs.classes.erase(std::unique(outputs.classes.begin(), outputs.classes.end()),
                        outputs.classes.end());
  if (!units.per_task()) return outputs;
  for (int32_t task = 0; task < units.task_count(); ++task) {
    NetworkOutputs::Head head;
    head.task = task;
    for (const int64_t unit : units.UnitsOf(task)) {
      head.classes.push_back(units.owners()[static_cast<size_t>(unit)].cls);
    }
    std::sort(head.classes.begin(), head.classes.end());
    if (!head.classes.empty()) outputs.heads.push_back(std::move(head));
  }
  return outputs;
}

absl::StatusOr<DescribedNetwork> DescribeNetwork(const ForwardPass& pass, const UnitMap& units) {
  DescribedNetwork network;
  network.outputs = OutputsOf(units);
  if (network.outputs.classes.empty()) {
    return absl::FailedPreconditionError("the model has learned no class yet; nothing to export");
  }
  if (network.outputs.heads.size() > kHeadsMax) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the model has ", network.outputs.heads.size(), " heads, at most ", kHeadsMax,
        " fit a file"));
  }
  std::vector<NetworkOutputs::Head> heads = network.outputs.heads;
  if (heads.empty()) heads.push_back({-1, network.outputs.classes});
  for (const NetworkOutputs::Head& head : heads) {
    network.programs.emplace_back();
    const auto answer = pass.Describe(head.task, UnitsOf(units, head.task, head.classes),
                                      &network.programs.back());
    if (!answer.has_value()) {
      return absl::FailedPreconditionError("what it answers is no network of layers");
    }
    ENGRAM_CHECK(static_cast<size_t>(*answer) == network.programs.back().steps().size());
  }
  return network;
}

absl::StatusOr<std::string> WriteSafetensors(const DescribedNetwork& network,
                                             const ExportOptions& options) {
  StateWriter writer;
  for (const auto& [name, text] : options.metadata) writer.PutText(name, text);
  std::vector<const Step*> shared;
  for (size_t i = 0; i < network.programs.size(); ++i) {
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<const Step*> layers,
                            PlainLayers(network.programs[i]));
    if (i == 0) {
      shared = layers;
      for (size_t l = 0; l + 1 < layers.size(); ++l) {
        Layer(absl::StrCat("hidden", l), *layers[l], &writer);
      }
    }
    if (layers.size() != shared.size()) return NotPlain();
    for (size_t l = 0; l + 1 < layers.size(); ++l) {
      if (!IsSame(*layers[l], *shared[l])) return NotPlain();
    }
    std::string head = "head";
    if (!network.outputs.heads.empty()) {
      absl::StrAppend(&head, ".", options.tasks.at(network.outputs.heads[i].task));
    }
    Layer(head, *layers.back(), &writer);
  }
  return writer.Finish();
}

}  // namespace engram::strategies
