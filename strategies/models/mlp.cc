#include "strategies/models/mlp.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "strategies/core/kernels.h"
#include "strategies/models/initialise.h"
#include "strategies/models/products.h"

namespace engram::strategies {
namespace {

constexpr int64_t kHeadCapacity = 16;

struct LayerShape {
  ParameterId weight = 0;
  ParameterId bias = 0;
  int64_t in = 0;
};

class MlpForwardPass : public ForwardPass {
 public:
  struct Layer {
    const float* weight;
    const float* bias;
    int64_t in;
    int64_t out;
  };

  MlpForwardPass(at::Tensor flat, std::vector<Layer> layers)
      : flat_(std::move(flat)), layers_(std::move(layers)) {}

  void Run(const float* features, int64_t rows, absl::Span<const int32_t> /*tasks*/,
           ForwardScratch* scratch, float* logits) const override {
    const size_t head = layers_.size() - 1;
    RunLayer(head, RunHidden(features, head, rows, scratch), rows, logits);
  }

  int64_t embedding_width() const override { return layers_.back().in; }
  void Embed(const float* features, int64_t rows, absl::Span<const int32_t> /*tasks*/,
             ForwardScratch* scratch, float* embeddings) const override {
    const size_t head = layers_.size() - 1;
    if (head == 0) {
      std::copy(features, features + rows * layers_[0].in, embeddings);
      return;
    }
    RunLayer(head - 1, RunHidden(features, head - 1, rows, scratch), rows, embeddings);
  }

  absl::optional<NetworkProgram::Value> Describe(int32_t task, const std::vector<int64_t>& units,
                                                 NetworkProgram* program) const override {
    const Layer& head = layers_.back();
    const auto weight =
        at::from_blob(const_cast<float*>(head.weight), {head.out, head.in}, at::kFloat);
    const auto bias = at::from_blob(const_cast<float*>(head.bias), {head.out}, at::kFloat);
    const NetworkProgram::Value input = *DescribeEmbedding(task, program);
    return program->Linear(input, PickRows(weight, units), PickRows(bias, units));
  }
  absl::optional<NetworkProgram::Value> DescribeEmbedding(int32_t /*task*/,
                                                          NetworkProgram* program) const override {
    NetworkProgram::Value value = NetworkProgram::kFeatures;
    for (size_t i = 0; i + 1 < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      value = program->Linear(value, layer.weight, layer.bias, layer.out, layer.in);
      value = program->Relu(value);
    }
    return value;
  }

 private:
  // The input of layer `end`.
  const float* RunHidden(const float* features, size_t end, int64_t rows,
                         ForwardScratch* scratch) const {
    const float* input = features;
    for (size_t i = 0; i < end; ++i) {
      std::vector<float>& store = i % 2 == 0 ? scratch->front : scratch->back;
      const size_t size = static_cast<size_t>(rows * layers_[i].out);
      if (store.size() < size) store.resize(size);
      RunLayer(i, input, rows, store.data());
      input = store.data();
    }
    return input;
  }

  void RunLayer(size_t index, const float* input, int64_t rows, float* output) const {
    const Layer& layer = layers_[index];
    ForwardProduct(input, layer.weight, rows, layer.out, layer.in, output);
    ActiveKernels().add_bias(output, layer.bias, rows, layer.out, index + 1 < layers_.size());
  }

  at::Tensor flat_;
  std::vector<Layer> layers_;
};

class Mlp : public Network {
 public:
  Mlp(const MlpOptions& options, ParameterArena* arena, Generator* generator) : arena_(arena) {
    int64_t in = options.feature_count;
    for (size_t i = 0; i < options.hidden.size(); ++i) {
      AddLayer(absl::StrCat("hidden", i), options.hidden[i], in, options.hidden[i]);
      in = options.hidden[i];
    }
    const int64_t capacity = std::max(options.units, kHeadCapacity);
    AddLayer("head", options.units, in, capacity);
    arena_->Allocate();
    Reinitialise(generator);
    outputs_.resize(layers_.size());
    deltas_.resize(layers_.size());
  }

  int64_t units() const override { return arena_->slot(layers_.back().weight).rows; }

  void AddUnits(int64_t count, Generator* generator) override {
    const LayerShape& head = layers_.back();
    const int64_t first = units();
    arena_->GrowRows({head.weight, head.bias}, first + count);
    InitialiseRows(arena_, head.weight, first, head.in, generator);
    InitialiseRows(arena_, head.bias, first, head.in, generator);
    rows_ = 0;
  }

  void Reinitialise(Generator* generator) override {
    for (size_t i = frozen_ ? layers_.size() - 1 : 0; i < layers_.size(); ++i) {
      InitialiseRows(arena_, layers_[i].weight, 0, layers_[i].in, generator);
      InitialiseRows(arena_, layers_[i].bias, 0, layers_[i].in, generator);
    }
  }

  const at::Tensor& Forward(const at::Tensor& features) override {
    const int64_t rows = features.size(0);
    ShapeBuffers(rows);
    traces_[0].input = features;
    for (size_t i = 0; i < layers_.size(); ++i) {
      if (i > 0) traces_[i].input = outputs_[i - 1];
      RunLayer(i, traces_[i].input, outputs_[i]);
    }
    if (frozen_) head_trace_ = {traces_.back()};
    return outputs_.back();
  }

  int64_t embedding_width() const override { return layers_.back().in; }

  void EmbedFrozen(const at::Tensor& features, const at::Tensor& embeddings) override {
    ENGRAM_CHECK(frozen_);
    at::Tensor input = features;
    const size_t head = layers_.size() - 1;
    if (head == 0) embeddings.copy_(features);
    for (size_t i = 0; i < head; ++i) {
      const at::Tensor output =
          i + 1 == head ? embeddings : at::empty({features.size(0), Out(i)}, at::kFloat);
      RunLayer(i, input, output);
      input = output;
    }
  }

  const at::Tensor& ForwardHead(const at::Tensor& embeddings) override {
    ENGRAM_CHECK(frozen_);
    ShapeBuffers(embeddings.size(0));
    traces_.back().input = embeddings;
    RunLayer(layers_.size() - 1, embeddings, outputs_.back());
    head_trace_ = {traces_.back()};
    return outputs_.back();
  }

  using Network::Backward;
  void Backward(const at::Tensor& logit_gradient, const at::Tensor& embedding_gradient) override {
    traces_.back().output_gradient = logit_gradient;
    embedding_gradient_ = embedding_gradient;
    if (frozen_) {
      head_trace_ = {traces_.back()};
    } else {
      BackwardBelowHead();
    }
  }

  bool FreezeBelowHead() override {
    frozen_ = true;
    head_trace_ = {traces_.back()};
    arena_->SetTrained({traces_.back().weight, traces_.back().bias});
    return true;
  }

  void WriteInputGradient(const at::Tensor& gradient) override {
    if (frozen_) BackwardBelowHead();
    BackwardProduct(traces_[0].output_gradient.data_ptr<float>(), Values(layers_[0].weight),
                    gradient.size(0), Out(0), layers_[0].in, gradient.data_ptr<float>());
  }

  const std::vector<LayerTrace>& traces() const override { return frozen_ ? head_trace_ : traces_; }

  std::unique_ptr<const ForwardPass> Bind(const at::Tensor& flat) const override {
    std::vector<MlpForwardPass::Layer> layers;
    const float* values = flat.data_ptr<float>();
    for (size_t i = 0; i < layers_.size(); ++i) {
      layers.push_back({values + arena_->slot(layers_[i].weight).offset,
                        values + arena_->slot(layers_[i].bias).offset, layers_[i].in, Out(i)});
    }
    return std::make_unique<MlpForwardPass>(flat, std::move(layers));
  }

 private:
  void RunLayer(size_t index, const at::Tensor& input, const at::Tensor& output) const {
    const LayerShape& layer = layers_[index];
    const bool hidden = index + 1 < layers_.size();
    const auto product = frozen_ && hidden ? ForwardProductByRow : ForwardProduct;
    product(input.data_ptr<float>(), Values(layer.weight), input.size(0), Out(index), layer.in,
            output.data_ptr<float>());
    ActiveKernels().add_bias(output.data_ptr<float>(), Values(layer.bias), input.size(0),
                             Out(index), hidden);
  }

  void BackwardBelowHead() {
    const int64_t rows = traces_.back().output_gradient.size(0);
    for (size_t i = layers_.size() - 1; i > 0; --i) {
      const int64_t in = layers_[i].in;
      float* delta = deltas_[i - 1].data_ptr<float>();
      BackwardProduct(traces_[i].output_gradient.data_ptr<float>(), Values(layers_[i].weight), rows,
                      Out(i), in, delta);
      if (i + 1 == layers_.size() && embedding_gradient_.defined()) {
        deltas_[i - 1].add_(embedding_gradient_);
      }
      ActiveKernels().mask_by_activation(delta, outputs_[i - 1].data_ptr<float>(), rows * in);
    }
  }

  void AddLayer(const std::string& name, int64_t rows, int64_t columns, int64_t capacity) {
    LayerShape layer;
    layer.weight = arena_->Add(name + ".weight", rows, columns, capacity);
    layer.bias = arena_->Add(name + ".bias", rows, 1, capacity);
    layer.in = columns;
    layers_.push_back(layer);
    LayerTrace trace;
    trace.weight = layer.weight;
    trace.bias = layer.bias;
    traces_.push_back(trace);
  }

  int64_t Out(size_t layer) const { return arena_->slot(layers_[layer].weight).rows; }
  const float* Values(ParameterId id) const {
    return arena_->flat().data_ptr<float>() + arena_->slot(id).offset;
  }

  // Buffers hold the most rows seen; the tensors handed out are views of this step's rows.
  void ShapeBuffers(int64_t rows) {
    ENGRAM_CHECK(rows > 0 && units() > 0);
    if (rows == rows_) return;
    if (rows > capacity_ || rows_ == 0) {
      capacity_ = std::max(rows, capacity_);
      output_stores_.clear();
      delta_stores_.clear();
      for (size_t i = 0; i < layers_.size(); ++i) {
        output_stores_.push_back(at::empty({capacity_, Out(i)}, at::kFloat));
        delta_stores_.push_back(
            at::empty({i + 1 < layers_.size() ? capacity_ : 0, Out(i)}, at::kFloat));
      }
    }
    rows_ = rows;
    for (size_t i = 0; i < layers_.size(); ++i) {
      outputs_[i] = output_stores_[i].narrow(0, 0, rows);
      if (i + 1 == layers_.size()) continue;
      deltas_[i] = delta_stores_[i].narrow(0, 0, rows);
      traces_[i].output_gradient = deltas_[i];
      traces_[i + 1].input = outputs_[i];
    }
  }

  ParameterArena* arena_;
  std::vector<LayerShape> layers_;
  std::vector<LayerTrace> traces_;
  bool frozen_ = false;
  std::vector<LayerTrace> head_trace_;  // while frozen_: the last of traces_
  at::Tensor embedding_gradient_;       // of the last Backward; undefined: none
  std::vector<at::Tensor> output_stores_;  // by layer, [capacity_, out]
  std::vector<at::Tensor> delta_stores_;
  std::vector<at::Tensor> outputs_;  // by layer, [rows_, out]: activations, logits last
  std::vector<at::Tensor> deltas_;
  int64_t capacity_ = 0;
  int64_t rows_ = 0;  // 0: the buffers do not fit the layout
};

}  // namespace

std::unique_ptr<Network> MakeMlp(const MlpOptions& options, ParameterArena* arena,
                                 Generator* generator) {
  return std::make_unique<Mlp>(options, arena, generator);
}

}  // namespace engram::strategies
