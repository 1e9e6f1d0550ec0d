// A grid of modules (Fernando et al. 2017, PathNet): layers of M small linear layers with ReLU, of
// which a path uses a few in each layer. What the path's modules of one layer answer is summed and
// goes to all of the next layer's; each task has a head of its own behind the last sum.
//
// One path learns at a time. Modules that are frozen pass gradients on and get none.
//
// Threading, Ownership: as Network. Failure: LoadState as TaskHeads::Read.
// Bounds: M modules a layer, whatever the number of tasks, and a head a task.
#pragma once

#include <memory>
#include <vector>

#include "strategies/core/unit_map.h"
#include "strategies/models/network.h"
#include "strategies/models/task_heads.h"

namespace engram::strategies {

struct ModulesOptions {
  int64_t feature_count = 0;
  std::vector<int64_t> hidden;  // width of a module, by layer
  int64_t modules = 0;          // M, in each layer
  int64_t active = 0;           // N of a path in each layer, at most M
};

// By layer, N different modules each: layer l's are at [l N, (l + 1) N).
using ModulePath = std::vector<int64_t>;

class Modules : public Network {
 public:
  // Adds all modules to `arena` and allocates it.
  Modules(const ModulesOptions& options, ParameterArena* arena, Generator* generator);

  const ModulesOptions& options() const { return options_; }
  int64_t layers() const { return static_cast<int64_t>(options_.hidden.size()); }
  bool frozen(int64_t layer, int64_t module) const { return grid_[layer][module].frozen; }
  int64_t free_modules() const;

  // Gives each unit that is new in `owners` to its task's head, adding heads for new tasks.
  void Place(const std::vector<UnitMap::Owner>& owners, Generator* generator);
  // What Forward evaluates and Backward trains from here on.
  void Activate(int32_t task, const ModulePath& path);
  // What predictions of the task go through.
  void SetPath(int32_t task, const ModulePath& path);
  // The path of a task that is closed, null before.
  const ModulePath* ClosedPath(int32_t task) const;
  // Freezes the modules of the task's path for ever and draws all that are free anew.
  void Close(int32_t task, Generator* generator);

  int64_t units() const override { return units_; }
  // Place says whose they are.
  void AddUnits(int64_t count, Generator* generator) override { units_ += count; }

  const at::Tensor& Forward(const at::Tensor& features) override;
  using Network::Backward;
  void Backward(const at::Tensor& logit_gradient, const at::Tensor& embedding_gradient) override;
  void WriteInputGradient(const at::Tensor& gradient) override;
  void Reinitialise(Generator* generator) override;
  const std::vector<LayerTrace>& traces() const override { return traces_; }

  std::unique_ptr<const ForwardPass> Bind(const at::Tensor& flat) const override;
  void SaveState(StateWriter* writer) const override;
  absl::Status LoadState(const StateReader& reader) override;

 private:
  struct Module {
    ParameterId weight = 0;
    ParameterId bias = 0;
    bool frozen = false;
  };
  // What a task's predictions go through.
  struct Route {
    ModulePath path;
    bool closed = false;
  };
  class Pass;

  int64_t Inputs(int64_t layer) const {
    return layer == 0 ? options_.feature_count : options_.hidden[layer - 1];
  }
  Module& At(int64_t layer, int64_t place) {
    return grid_[layer][path_[layer * options_.active + place]];
  }
  const float* Values(ParameterId id) const {
    return arena_->flat().data_ptr<float>() + arena_->slot(id).offset;
  }
  void AddHead(int32_t task);
  void InitialiseFree(Generator* generator);
  void FollowActive();
  void ShapeBuffers(int64_t rows);
  // d loss / d input of `layer`, from the deltas of its modules, over `below`.
  void BackwardLayer(int64_t layer, float* below);

  ModulesOptions options_;
  ParameterArena* arena_;
  TaskHeads heads_;
  std::vector<std::vector<Module>> grid_;  // by layer
  std::vector<Route> routes_;              // by head
  int64_t units_ = 0;
  size_t active_ = 0;  // head
  ModulePath path_;
  std::vector<LayerTrace> traces_;
  std::vector<at::Tensor> outputs_;  // by place on the path, [rows, width]
  std::vector<at::Tensor> deltas_;
  std::vector<at::Tensor> sums_;        // by layer
  std::vector<at::Tensor> sum_deltas_;  // d loss / d sum
  at::Tensor head_output_;
  at::Tensor head_delta_;
  at::Tensor logits_;
  std::vector<float> share_;  // of one module in what is passed down
  int64_t rows_ = 0;          // 0: the buffers do not fit the structure
};

}  // namespace engram::strategies
