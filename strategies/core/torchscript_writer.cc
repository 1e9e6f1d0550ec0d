#include "strategies/core/torchscript_writer.h"

#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/api/module.h>

#include <algorithm>
#include <limits>
#include <map>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "storage/base/check.h"

namespace engram::strategies {
namespace {

using Kind = NetworkProgram::Kind;
using Step = NetworkProgram::Step;

// Registers tensors with the module, each once, and says what the program calls them.
class ModuleTensors {
 public:
  explicit ModuleTensors(torch::jit::Module* module) : module_(module) {}

  std::string Parameter(const at::Tensor& values, const char* kind) {
    const auto key = std::make_pair(values.data_ptr(), values.sizes().vec());
    const auto found = names_.find(key);
    if (found != names_.end()) return found->second;
    const std::string name = absl::StrCat(kind, names_.size());
    module_->register_parameter(name, values.clone(), /*is_buffer=*/false);
    kept_.push_back(values);  // so that no other gets its place
    return names_[key] = absl::StrCat("self.", name);
  }

  std::string Indexes(const std::vector<int64_t>& values) {
    const std::string name = absl::StrCat("columns", ++indexes_);
    module_->register_buffer(name, at::tensor(values, at::kLong));
    return absl::StrCat("self.", name);
  }

 private:
  torch::jit::Module* module_;
  std::map<std::pair<const void*, std::vector<int64_t>>, std::string> names_;
  std::vector<at::Tensor> kept_;
  int indexes_ = 0;
};

std::string Name(NetworkProgram::Value value) { return absl::StrCat("v", value); }

std::string Names(const std::vector<NetworkProgram::Value>& values, const char* separator) {
  return absl::StrJoin(values, separator, [](std::string* text, NetworkProgram::Value value) {
    absl::StrAppend(text, Name(value));
  });
}

std::string Expression(const Step& step, ModuleTensors* tensors) {
  const std::string a = Name(step.inputs.front());
  switch (step.kind) {
    case Kind::kLinear: {
      const std::string weight = tensors->Parameter(step.weight, "weight");
      const std::string bias =
          step.bias.defined() ? tensors->Parameter(step.bias, "bias") : "None";
      return absl::StrCat("torch.linear(", a, ", ", weight, ", ", bias, ")");
    }
    case Kind::kRelu:
      return absl::StrCat("torch.relu(", a, ")");
    case Kind::kScaled:
      return absl::StrFormat("%s * %.17e", a, step.number);
    case Kind::kSum:
      return Names(step.inputs, " + ");
    case Kind::kJoin:
      return absl::StrCat("torch.cat([", Names(step.inputs, ", "), "], 1)");
    case Kind::kPick:
      return absl::StrCat("torch.index_select(", a, ", 1, ", tensors->Indexes(step.columns), ")");
    case Kind::kUnitLength:
      return absl::StrFormat(
          "(%s.double() / torch.clamp_min(torch.norm(%s.double(), 2, [1], True), 1e-300)).float()",
          a, a);
    case Kind::kBehind:
      return absl::StrFormat("torch.amin(%s, [1], True) - %.17e", a, step.number);
  }
  ENGRAM_CHECK(false);
  return a;
}

std::string Method(absl::string_view signature, const NetworkProgram& program,
                   ModuleTensors* tensors) {
  std::string text = absl::StrCat("def ", signature, ":\n");
  for (size_t i = 0; i < program.steps().size(); ++i) {
    absl::StrAppend(&text, "  ", Name(static_cast<int>(i) + 1), " = ",
                    Expression(program.steps()[i], tensors), "\n");
  }
  absl::StrAppend(&text, "  return ", Name(static_cast<int>(program.steps().size())), "\n");
  return text;
}

// Where each class of the head is among those of all heads.
std::vector<int64_t> PlacesOf(const NetworkOutputs::Head& head,
                              const std::vector<int32_t>& classes) {
  std::vector<int64_t> places;
  for (const int32_t cls : head.classes) {
    places.push_back(std::lower_bound(classes.begin(), classes.end(), cls) - classes.begin());
  }
  return places;
}

// A method a head, and forward, which finds the head by the task's name: names are never part of
// the program's text.
std::string HeadMethods(const DescribedNetwork& network, const ExportOptions& options,
                        ModuleTensors* tensors, torch::jit::Module* module) {
  const NetworkOutputs& outputs = network.outputs;
  c10::Dict<std::string, int64_t> by_name;
  std::string text;
  std::string dispatch =
      "def forward(self, v0: Tensor, task: str) -> Tensor:\n"
      "  assert task in self.heads, \"the model has no head for this task\"\n"
      "  head = self.heads[task]\n"
      "  y = self.nothing.repeat([v0.size(0), 1])\n";
  for (size_t i = 0; i < outputs.heads.size(); ++i) {
    by_name.insert(options.tasks.at(outputs.heads[i].task), static_cast<int64_t>(i));
    absl::StrAppend(&text,
                    Method(absl::StrCat("head", i, "(self, v0: Tensor) -> Tensor"),
                           network.programs[i], tensors));
    absl::StrAppend(&dispatch, "  if head == ", i, ":\n    y = y.index_copy(1, ",
                    tensors->Indexes(PlacesOf(outputs.heads[i], outputs.classes)), ", self.head",
                    i, "(v0))\n");
  }
  const float nothing = -std::numeric_limits<float>::infinity();
  module->register_buffer(
      "nothing", at::full({1, static_cast<int64_t>(outputs.classes.size())}, nothing));
  module->register_attribute("heads", c10::DictType::create(c10::StringType::get(),
                                                            c10::IntType::get()),
                             by_name);
  return absl::StrCat(text, dispatch, "  return y\n");
}

}  // namespace

std::string WriteTorchScript(const DescribedNetwork& network, const ExportOptions& options) {
  const c10::InferenceMode off(false);  // what a program is made of may be trained elsewhere
  torch::jit::Module module("engram");
  ModuleTensors tensors(&module);
  const std::string text =
      network.outputs.heads.empty()
          ? Method("forward(self, v0: Tensor) -> Tensor", network.programs.front(), &tensors)
          : HeadMethods(network, options, &tensors, &module);
  module.define(text);
  module.eval();
  torch::jit::ExtraFilesMap extra;
  for (const auto& [name, value] : options.metadata) extra[name] = value;
  std::ostringstream file;
  module.save(file, extra);
  return file.str();
}

}  // namespace engram::strategies
