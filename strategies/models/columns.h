// Progressive networks (Rusu et al. 2016, eq. 2 and section 3): a column of hidden layers and a
// head of its own for each task, fed beside its own activations by what earlier columns make of the
// same input:
//   h_i^(k) = relu(W_i h_{i-1}^(k) + U_i relu(V_i [alpha_j h_{i-1}^(j)]_{j<k} + c_i) + b_i)
// W and U are one matrix, [W | U]: a linear layer over the column's activations and its adapter's.
// alpha is a scalar for each earlier column and layer, learned; the head has laterals too, the
// first layer has none (all columns read the features themselves).
//
// One column learns at a time; older ones are only evaluated, and no gradient reaches them. A task
// that returns to an older column trains that column's head alone, since later columns build on the
// rest. So does every task beyond max_columns, on the last column there is.
//
// Threading, Ownership: as Network. Failure: LoadState as TaskHeads::Read.
// Bounds: max_columns columns and a head a task; evaluating column k costs k columns, one without
//   laterals.
#pragma once

#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "strategies/core/unit_map.h"
#include "strategies/models/network.h"
#include "strategies/models/task_heads.h"

namespace engram::strategies {

struct ColumnsOptions {
  int64_t feature_count = 0;
  std::vector<int64_t> hidden;  // of each column
  int64_t adapter_width = 0;    // rows of V
  int64_t max_columns = 1;
  bool laterals = true;  // false: independent columns
  double alpha = 1;      // of all earlier columns together, to begin with
};

class Columns : public Network {
 public:
  // Adds the first column to `arena`, for whatever task comes first, and allocates it.
  Columns(const ColumnsOptions& options, ParameterArena* arena, Generator* generator);

  // Gives each unit that is new in `owners` to its task's column, opening columns for new tasks.
  // Returns whether it opened any.
  bool Place(const std::vector<UnitMap::Owner>& owners, Generator* generator);
  // The column that Forward evaluates and Backward trains from here on; the task has one.
  void Activate(int32_t task);
  // Those with hidden layers of their own.
  int64_t columns() const { return static_cast<int64_t>(trunks_.back()) + 1; }

  int64_t units() const override { return units_; }
  // Place says whose they are.
  void AddUnits(int64_t count, Generator* generator) override { units_ += count; }

  const at::Tensor& Forward(const at::Tensor& features) override;
  using Network::Backward;
  void Backward(const at::Tensor& logit_gradient, const at::Tensor& embedding_gradient) override;
  // By way of the column's own first layer; what passes through older columns is left out.
  void WriteInputGradient(const at::Tensor& gradient) override;
  void Reinitialise(Generator* generator) override;
  const std::vector<LayerTrace>& traces() const override { return traces_; }

  std::unique_ptr<const ForwardPass> Bind(const at::Tensor& flat) const override;
  void SaveState(StateWriter* writer) const override;
  absl::Status LoadState(const StateReader& reader) override;

 private:
  struct Layer {
    ParameterId weight = 0;  // [out, own + adapter width]
    ParameterId bias = 0;
    int64_t own = 0;  // inputs from the column itself
    // Where there are laterals.
    ParameterId adapter = kNoParameter;  // V, [adapter width, earlier columns * own]
    ParameterId adapter_bias = kNoParameter;
    ParameterId alpha = kNoParameter;  // [earlier columns, 1]
    bool lateral() const { return adapter != kNoParameter; }
  };
  // Where a layer's parameters are in a flat array.
  struct LayerValues {
    const float* weight = nullptr;
    const float* bias = nullptr;
    const float* adapter = nullptr;
    const float* adapter_bias = nullptr;
    const float* alpha = nullptr;
    int64_t own = 0;
    int64_t out = 0;
    int64_t width = 0;  // of the adapter
  };
  // Room for what a layer with laterals computes on the way.
  struct LateralRoom {
    float* scaled = nullptr;
    float* adapted = nullptr;
    float* joined = nullptr;
  };
  class Pass;
  // What the trained column's layer leaves for the way back.
  struct Kept {
    at::Tensor scaled;   // alpha h of earlier columns, side by side
    at::Tensor adapted;  // relu(V scaled + c)
    at::Tensor joined;   // [own | adapted]
    at::Tensor delta;    // d loss / d layer output, before relu
    at::Tensor adapted_delta;
    at::Tensor alpha_delta;  // [rows, earlier columns]
  };

  size_t depth() const { return options_.hidden.size(); }
  size_t trunk() const { return trunks_[active_]; }
  // The first column that column `c` needs evaluated.
  size_t FirstRead(size_t c) const { return options_.laterals ? 0 : c; }
  bool learns_trunk() const { return trunk() == active_ && active_ + 1 == columns_.size(); }
  int64_t Inputs(const Layer& layer) const {
    return layer.own + (layer.lateral() ? options_.adapter_width : 0);
  }
  LayerValues ValuesOf(const Layer& layer, const float* flat) const;
  // `below`: what lies under the layer in the columns up to its own, which comes last.
  static void RunLayer(const LayerValues& layer, absl::Span<const float* const> below, int64_t rows,
                       bool relu, const LateralRoom& room, float* out);
  static int64_t LateralFloats(int64_t rows, int64_t earlier, int64_t own, int64_t width) {
    return rows * (earlier * own + width + own + width);
  }
  // Adds a column's parameters without a place yet.
  void Open(int32_t task);
  void InitialiseColumn(size_t column, Generator* generator);
  void ShapeBuffers(int64_t rows);
  void FollowActive();
  void ShapeLayer(size_t index, int64_t rows);
  void BackwardLaterals(size_t index);

  ColumnsOptions options_;
  ParameterArena* arena_;
  TaskHeads heads_;
  // By head, by layer; the head itself last. Beyond max_columns the layers before it are those of
  // the last column.
  std::vector<std::vector<Layer>> columns_;
  std::vector<size_t> trunks_;  // by head: the column of its hidden layers
  int64_t units_ = 0;
  size_t active_ = 0;
  std::vector<LayerTrace> traces_;
  std::vector<std::vector<at::Tensor>> activations_;  // by hidden layer, by column
  std::vector<Kept> kept_;                            // by layer of the active column
  at::Tensor ones_;                                   // [rows, 1], the input of alpha's trace
  at::Tensor outputs_;
  at::Tensor logits_;
  ForwardScratch scratch_;
  std::vector<float> joined_delta_;
  std::vector<float> scaled_delta_;
  int64_t rows_ = 0;  // 0: the buffers do not fit the structure
};

}  // namespace engram::strategies
