#include "strategies/models/columns.h"

#include <algorithm>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "strategies/core/kernels.h"
#include "strategies/models/initialise.h"
#include "strategies/models/products.h"
#include "strategies/models/row_groups.h"

namespace engram::strategies {
namespace {

using Places = absl::InlinedVector<const float*, 24>;

at::Tensor Rows(int64_t rows, int64_t columns) { return at::empty({rows, columns}, at::kFloat); }

// [left | right], row by row.
void JoinRows(const float* left, int64_t left_width, const float* right, int64_t right_width,
              int64_t rows, float* joined) {
  for (int64_t row = 0; row < rows; ++row) {
    joined = std::copy_n(left + row * left_width, left_width, joined);
    joined = std::copy_n(right + row * right_width, right_width, joined);
  }
}

void SplitRows(const float* joined, int64_t left_width, int64_t right_width, int64_t rows,
               float* left, float* right) {
  for (int64_t row = 0; row < rows; ++row, joined += left_width + right_width) {
    left = std::copy_n(joined, left_width, left);
    right = std::copy_n(joined + left_width, right_width, right);
  }
}

}  // namespace

// Columns are evaluated side by side, layer by layer, up to the one that answers.
class Columns::Pass : public ForwardPass {
 public:
  Pass(const Columns& columns, at::Tensor flat)
      : flat_(std::move(flat)),
        by_task_(columns.heads_.by_task()),
        latest_(columns.active_),
        units_(columns.units_),
        features_(columns.options_.feature_count) {
    const float* values = flat_.data_ptr<float>();
    for (size_t c = 0; c < columns.columns_.size(); ++c) {
      Column column;
      for (const Layer& layer : columns.columns_[c]) {
        column.layers.push_back(columns.ValuesOf(layer, values));
        widest_ = std::max({widest_, layer.own, column.layers.back().out});
      }
      column.units = columns.heads_[c].units;
      column.trunk = columns.trunks_[c];
      columns_.push_back(std::move(column));
    }
    adapter_width_ = columns.options_.adapter_width;
    laterals_ = columns.options_.laterals;
  }

  void Run(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
           ForwardScratch* scratch, float* logits) const override {
    ForEachGroup(rows, tasks, [&](int64_t begin, int64_t count, size_t column) {
      const Column& answering = columns_[column];
      const Places below = RunHidden(features + begin * features_, count, answering.trunk, scratch);
      const LateralRoom room = RoomFor(count, answering.trunk, scratch);
      float* outputs = scratch->back.data();
      RunLayer(answering.layers.back(), below, count, false, room, outputs);
      SpreadUnits(outputs, count, answering.units, units_, logits + begin * units_);
    });
  }

  int64_t embedding_width() const override { return columns_[0].layers.back().own; }
  void Embed(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
             ForwardScratch* scratch, float* embeddings) const override {
    const int64_t width = embedding_width();
    ForEachGroup(rows, tasks, [&](int64_t begin, int64_t count, size_t column) {
      const size_t trunk = columns_[column].trunk;
      const Places below = RunHidden(features + begin * features_, count, trunk, scratch);
      std::copy_n(below.back(), count * width, embeddings + begin * width);
    });
  }

  absl::optional<NetworkProgram::Value> Describe(int32_t task, const std::vector<int64_t>& units,
                                                 NetworkProgram* program) const override {
    const Column& answering = columns_[ColumnOf({&task, 1}, 0)];
    const Values below = DescribeHidden(answering.trunk, program);
    const NetworkProgram::Value outputs = DescribeLayer(answering.layers.back(), below, program);
    return program->Pick(outputs, RowsOfUnits(answering.units, units));
  }
  absl::optional<NetworkProgram::Value> DescribeEmbedding(int32_t task,
                                                          NetworkProgram* program) const override {
    return DescribeHidden(columns_[ColumnOf({&task, 1}, 0)].trunk, program).back();
  }

 private:
  struct Column {
    std::vector<LayerValues> layers;
    std::vector<int64_t> units;
    size_t trunk = 0;
  };
  using Values = std::vector<NetworkProgram::Value>;

  // As Columns::RunLayer without its relu, and RunHidden.
  static NetworkProgram::Value DescribeLayer(const LayerValues& layer, const Values& below,
                                             NetworkProgram* program) {
    NetworkProgram::Value input = below.back();
    int64_t in = layer.own;
    if (layer.adapter != nullptr) {
      Values scaled;
      for (size_t j = 0; j + 1 < below.size(); ++j) {
        scaled.push_back(program->Scaled(below[j], layer.alpha[j]));
      }
      const int64_t earlier = static_cast<int64_t>(scaled.size());
      const NetworkProgram::Value adapted = program->Relu(
          program->Linear(program->Join(scaled), layer.adapter, layer.adapter_bias, layer.width,
                          earlier * layer.own));
      input = program->Join({input, adapted});
      in += layer.width;
    }
    return program->Linear(input, layer.weight, layer.bias, layer.out, in);
  }

  Values DescribeHidden(size_t column, NetworkProgram* program) const {
    Values below(column + 1, NetworkProgram::kFeatures);
    for (size_t i = 0; i + 1 < columns_[0].layers.size(); ++i) {
      Values above = below;
      for (size_t c = laterals_ ? 0 : column; c <= column; ++c) {
        const auto end = below.begin() + static_cast<ptrdiff_t>(c) + 1;
        above[c] = program->Relu(
            DescribeLayer(columns_[c].layers[i], Values(below.begin(), end), program));
      }
      below = above;
    }
    return below;
  }

  template <typename Body>
  void ForEachGroup(int64_t rows, absl::Span<const int32_t> tasks, Body body) const {
    ForEachRowGroup(
        rows, [&](int64_t row) { return ColumnOf(tasks, row); }, body);
  }

  size_t ColumnOf(absl::Span<const int32_t> tasks, int64_t row) const {
    if (tasks.empty()) return latest_;
    const auto found = by_task_.find(tasks[static_cast<size_t>(row)]);
    return found == by_task_.end() ? latest_ : found->second;
  }

  // scratch->front holds two layers of all columns, scratch->back outputs and room for laterals.
  LateralRoom RoomFor(int64_t rows, size_t column, ForwardScratch* scratch) const {
    const int64_t earlier = static_cast<int64_t>(column);
    const size_t floats = static_cast<size_t>(
        rows * widest_ + LateralFloats(rows, earlier, widest_, adapter_width_));
    if (scratch->back.size() < floats) scratch->back.resize(floats);
    LateralRoom room;
    room.adapted = scratch->back.data() + rows * widest_;
    room.joined = room.adapted + rows * adapter_width_;
    room.scaled = room.joined + rows * (widest_ + adapter_width_);
    return room;
  }

  // What the head sees: the last hidden layer of every column up to `column`.
  Places RunHidden(const float* features, int64_t rows, size_t column,
                   ForwardScratch* scratch) const {
    const size_t block = static_cast<size_t>(rows * widest_);
    const size_t floats = 2 * (column + 1) * block;
    if (scratch->front.size() < floats) scratch->front.resize(floats);
    const LateralRoom room = RoomFor(rows, column, scratch);
    Places below(column + 1, features), above(column + 1);
    for (size_t i = 0; i + 1 < columns_[0].layers.size(); ++i) {
      for (size_t c = laterals_ ? 0 : column; c <= column; ++c) {
        float* out = scratch->front.data() + ((i % 2) * (column + 1) + c) * block;
        RunLayer(columns_[c].layers[i], absl::MakeConstSpan(below).first(c + 1), rows, true, room,
                 out);
        above[c] = out;
      }
      below = above;
    }
    return below;
  }

  at::Tensor flat_;
  std::vector<Column> columns_;
  absl::flat_hash_map<int32_t, size_t> by_task_;
  size_t latest_;
  int64_t units_;
  int64_t features_;
  int64_t widest_ = 1;
  int64_t adapter_width_ = 0;
  bool laterals_ = true;
};

Columns::Columns(const ColumnsOptions& options, ParameterArena* arena, Generator* generator)
    : options_(options), arena_(arena), heads_(arena) {
  Open(TaskHeads::kNoTask);
  arena_->Allocate();
  InitialiseColumn(0, generator);
  FollowActive();
}

void Columns::Open(int32_t task) {
  const size_t index = columns_.size();
  const bool shares = static_cast<int64_t>(index) >= options_.max_columns;
  trunks_.push_back(shares ? trunks_.back() : index);
  const int64_t earlier = static_cast<int64_t>(trunks_.back());
  std::vector<Layer> layers = shares ? columns_[trunks_.back()] : std::vector<Layer>(depth() + 1);
  int64_t own = shares ? layers.back().own : options_.feature_count;
  for (size_t i = shares ? depth() : 0; i <= depth(); ++i) {
    Layer& layer = layers[i];
    layer.own = own;
    const std::string name = absl::StrCat("column", index, ".layer", i);
    if (options_.laterals && i > 0 && earlier > 0) {
      layer.adapter =
          arena_->Add(name + ".adapter", options_.adapter_width, earlier * own,
                      options_.adapter_width);
      layer.adapter_bias =
          arena_->Add(name + ".adapter_bias", options_.adapter_width, 1, options_.adapter_width);
      layer.alpha = arena_->Add(name + ".alpha", earlier, 1, earlier);
    }
    if (i == depth()) break;
    own = options_.hidden[i];
    layer.weight = arena_->Add(name + ".weight", own, Inputs(layer), own);
    layer.bias = arena_->Add(name + ".bias", own, 1, own);
  }
  heads_.Add(task, layers.back().own, Inputs(layers.back()));
  layers.back().weight = heads_[heads_.size() - 1].weight;
  layers.back().bias = heads_[heads_.size() - 1].bias;
  columns_.push_back(std::move(layers));
}

void Columns::InitialiseColumn(size_t column, Generator* generator) {
  for (size_t i = trunks_[column] == column ? 0 : depth(); i <= depth(); ++i) {
    const Layer& layer = columns_[column][i];
    InitialiseRows(arena_, layer.weight, 0, layer.own, generator);
    InitialiseRows(arena_, layer.bias, 0, layer.own, generator);
    if (!layer.lateral()) continue;
    // A new column begins as a network of its own would; the laterals come in as they help.
    arena_->View(layer.weight).narrow(1, layer.own, options_.adapter_width).zero_();
    const int64_t scaled = arena_->slot(layer.adapter).columns;
    InitialiseRows(arena_, layer.adapter, 0, scaled, generator);
    InitialiseRows(arena_, layer.adapter_bias, 0, scaled, generator);
    arena_->View(layer.alpha).fill_(options_.alpha / static_cast<double>(trunks_[column]));
  }
}

bool Columns::Place(const std::vector<UnitMap::Owner>& owners, Generator* generator) {
  if (heads_.placed() == static_cast<int64_t>(owners.size())) return false;
  const size_t before = columns_.size();
  while (heads_.placed() < static_cast<int64_t>(owners.size())) {
    const int32_t task = owners[static_cast<size_t>(heads_.placed())].task;
    size_t column = heads_.Find(task);
    if (column == heads_.size() && heads_[0].task == TaskHeads::kNoTask) {
      heads_.Name(column = 0, task);
    } else if (column == heads_.size()) {
      Open(task);
      arena_->Extend();
      InitialiseColumn(column, generator);
    }
    heads_.PlaceUnit(column, generator);
  }
  FollowActive();  // it may not be the newest any more
  return columns_.size() > before;
}

void Columns::Activate(int32_t task) {
  const size_t column = heads_.Find(task);
  ENGRAM_CHECK(column < columns_.size());
  if (column == active_) return;
  active_ = column;
  FollowActive();
}

void Columns::FollowActive() {
  std::vector<ParameterId> trained;
  const std::vector<Layer>& layers = columns_[active_];
  for (size_t i = learns_trunk() ? 0 : depth(); i <= depth(); ++i) {
    const Layer& layer = layers[i];
    trained.insert(trained.end(), {layer.weight, layer.bias});
    if (layer.lateral()) {
      trained.insert(trained.end(), {layer.adapter, layer.adapter_bias, layer.alpha});
    }
  }
  arena_->SetTrained(std::move(trained));
  rows_ = 0;
}

void Columns::Reinitialise(Generator* generator) {
  for (size_t c = 0; c < columns_.size(); ++c) InitialiseColumn(c, generator);
}

Columns::LayerValues Columns::ValuesOf(const Layer& layer, const float* flat) const {
  const auto place = [&](ParameterId id) {
    return id == kNoParameter ? nullptr : flat + arena_->slot(id).offset;
  };
  LayerValues values;
  values.weight = place(layer.weight);
  values.bias = place(layer.bias);
  values.adapter = place(layer.adapter);
  values.adapter_bias = place(layer.adapter_bias);
  values.alpha = place(layer.alpha);
  values.own = layer.own;
  values.out = arena_->slot(layer.weight).rows;
  values.width = options_.adapter_width;
  return values;
}

void Columns::RunLayer(const LayerValues& layer, absl::Span<const float* const> below, int64_t rows,
                       bool relu, const LateralRoom& room, float* out) {
  const float* input = below.back();
  int64_t in = layer.own;
  if (layer.adapter != nullptr) {
    const size_t earlier = below.size() - 1;
    float* scaled = room.scaled;
    for (int64_t row = 0; row < rows; ++row) {
      for (size_t j = 0; j < earlier; ++j) {
        const float* values = below[j] + row * layer.own;
        const float alpha = layer.alpha[j];
        for (int64_t x = 0; x < layer.own; ++x) *scaled++ = alpha * values[x];
      }
    }
    ForwardProduct(room.scaled, layer.adapter, rows, layer.width,
                   static_cast<int64_t>(earlier) * layer.own, room.adapted);
    ActiveKernels().add_bias(room.adapted, layer.adapter_bias, rows, layer.width, true);
    JoinRows(input, layer.own, room.adapted, layer.width, rows, room.joined);
    input = room.joined;
    in += layer.width;
  }
  ForwardProduct(input, layer.weight, rows, layer.out, in, out);
  ActiveKernels().add_bias(out, layer.bias, rows, layer.out, relu);
}

void Columns::ShapeBuffers(int64_t rows) {
  ENGRAM_CHECK(rows > 0 && heads_.placed() == units_);
  if (rows == rows_) return;
  rows_ = rows;
  traces_.clear();
  kept_.assign(depth() + 1, Kept());
  activations_.assign(depth(), {});
  for (size_t i = 0; i < depth(); ++i) {
    activations_[i].resize(trunk() + 1);
    for (size_t c = FirstRead(trunk()); c <= trunk(); ++c) {
      activations_[i][c] = Rows(rows, options_.hidden[i]);
    }
  }
  ones_ = at::ones({rows, 1}, at::kFloat);
  outputs_ = Rows(rows, static_cast<int64_t>(heads_[active_].units.size()));
  logits_ = Rows(rows, units_);
  int64_t widest = 1, widest_joined = 1;
  for (size_t i = 0; i <= depth(); ++i) {
    ShapeLayer(i, rows);
    widest = std::max(widest, columns_[active_][i].own);
    widest_joined = std::max(widest_joined, Inputs(columns_[active_][i]));
  }
  const int64_t earlier = static_cast<int64_t>(trunk());
  scratch_.back.resize(
      static_cast<size_t>(LateralFloats(rows, earlier, widest, options_.adapter_width)));
  joined_delta_.resize(static_cast<size_t>(rows * widest_joined));
  scaled_delta_.resize(static_cast<size_t>(rows * earlier * widest));
}

void Columns::ShapeLayer(size_t index, int64_t rows) {
  const Layer& layer = columns_[active_][index];
  Kept& kept = kept_[index];
  kept.delta = Rows(rows, arena_->slot(layer.weight).rows);
  // Older columns are built upon: of one that is not the newest the head alone learns.
  const bool traced = learns_trunk() || index == depth();
  LayerTrace trace;
  trace.weight = layer.weight;
  trace.bias = layer.bias;
  trace.output_gradient = kept.delta;
  if (index > 0) trace.input = activations_[index - 1][trunk()];
  if (layer.lateral()) {
    const int64_t earlier = static_cast<int64_t>(trunk());
    kept.scaled = Rows(rows, earlier * layer.own);
    kept.adapted = Rows(rows, options_.adapter_width);
    kept.joined = Rows(rows, Inputs(layer));
    kept.adapted_delta = Rows(rows, options_.adapter_width);
    kept.alpha_delta = Rows(rows, earlier);
    trace.input = kept.joined;
    if (traced) {
      traces_.push_back({kept.scaled, kept.adapted_delta, layer.adapter, layer.adapter_bias});
      traces_.push_back({ones_, kept.alpha_delta, layer.alpha, kNoParameter});
    }
  }
  if (traced) traces_.push_back(std::move(trace));
}

const at::Tensor& Columns::Forward(const at::Tensor& features) {
  const int64_t rows = features.size(0);
  ShapeBuffers(rows);
  for (LayerTrace& trace : traces_) {
    if (trace.weight == columns_[active_][0].weight) trace.input = features;
  }
  const float* flat = arena_->flat().data_ptr<float>();
  const auto room = [&](size_t i, size_t c) {
    const Layer& layer = columns_[c][i];
    LateralRoom places;
    if (!layer.lateral()) return places;
    if (c == trunk()) {
      return LateralRoom{kept_[i].scaled.data_ptr<float>(), kept_[i].adapted.data_ptr<float>(),
                         kept_[i].joined.data_ptr<float>()};
    }
    places.scaled = scratch_.back.data();
    places.adapted = places.scaled + rows * static_cast<int64_t>(c) * layer.own;
    places.joined = places.adapted + rows * options_.adapter_width;
    return places;
  };
  Places below(trunk() + 1, features.data_ptr<float>());
  for (size_t i = 0; i < depth(); ++i) {
    for (size_t c = FirstRead(trunk()); c <= trunk(); ++c) {
      RunLayer(ValuesOf(columns_[c][i], flat), absl::MakeConstSpan(below).first(c + 1), rows, true,
               room(i, c), activations_[i][c].data_ptr<float>());
    }
    for (size_t c = FirstRead(trunk()); c <= trunk(); ++c) {
      below[c] = activations_[i][c].data_ptr<float>();
    }
  }
  RunLayer(ValuesOf(columns_[active_].back(), flat), below, rows, false, room(depth(), trunk()),
           outputs_.data_ptr<float>());
  SpreadUnits(outputs_.data_ptr<float>(), rows, heads_[active_].units, units_,
              logits_.data_ptr<float>());
  return logits_;
}

void Columns::Backward(const at::Tensor& logit_gradient, const at::Tensor& embedding_gradient) {
  const float* flat = arena_->flat().data_ptr<float>();
  CollectUnits(logit_gradient.data_ptr<float>(), rows_, heads_[active_].units, units_,
               kept_.back().delta.data_ptr<float>());
  for (size_t i = depth(); i > 0; --i) {
    const Layer& layer = columns_[active_][i];
    const int64_t in = Inputs(layer);
    float* joined = joined_delta_.data();
    BackwardProduct(kept_[i].delta.data_ptr<float>(), flat + arena_->slot(layer.weight).offset,
                    rows_, arena_->slot(layer.weight).rows, in, joined);
    if (i == depth() && embedding_gradient.defined()) {
      const float* more = embedding_gradient.data_ptr<float>();
      for (int64_t x = 0; x < rows_ * in; ++x) joined[x] += more[x];
    }
    float* below = kept_[i - 1].delta.data_ptr<float>();
    if (layer.lateral()) {
      SplitRows(joined, layer.own, options_.adapter_width, rows_, below,
                kept_[i].adapted_delta.data_ptr<float>());
      BackwardLaterals(i);
    } else {
      std::copy_n(joined, rows_ * in, below);
    }
    ActiveKernels().mask_by_activation(below, activations_[i - 1][trunk()].data_ptr<float>(),
                                       rows_ * layer.own);
  }
}

// Down to V and alpha; what alpha scales belongs to columns that stand still.
void Columns::BackwardLaterals(size_t index) {
  const Layer& layer = columns_[active_][index];
  const Kept& kept = kept_[index];
  float* adapted_delta = kept.adapted_delta.data_ptr<float>();
  ActiveKernels().mask_by_activation(adapted_delta, kept.adapted.data_ptr<float>(),
                                     kept.adapted.numel());
  const int64_t own = layer.own, earlier = static_cast<int64_t>(trunk());
  BackwardProduct(adapted_delta,
                  arena_->flat().data_ptr<float>() + arena_->slot(layer.adapter).offset, rows_,
                  options_.adapter_width, earlier * own, scaled_delta_.data());
  float* alpha_delta = kept.alpha_delta.data_ptr<float>();
  const float* slopes = scaled_delta_.data();
  for (int64_t row = 0; row < rows_; ++row) {
    for (size_t j = 0; j < trunk(); ++j, slopes += own) {
      const float* values = activations_[index - 1][j].data_ptr<float>() + row * own;
      float sum = 0;
      for (int64_t x = 0; x < own; ++x) sum += slopes[x] * values[x];
      *alpha_delta++ = sum;
    }
  }
}

void Columns::WriteInputGradient(const at::Tensor& gradient) {
  const Layer& first = columns_[active_][0];
  BackwardProduct(kept_[0].delta.data_ptr<float>(),
                  arena_->flat().data_ptr<float>() + arena_->slot(first.weight).offset, rows_,
                  arena_->slot(first.weight).rows, first.own, gradient.data_ptr<float>());
}

std::unique_ptr<const ForwardPass> Columns::Bind(const at::Tensor& flat) const {
  return std::make_unique<Pass>(*this, flat);
}

void Columns::SaveState(StateWriter* writer) const {
  heads_.SaveState(writer);
  writer->PutInteger("active", static_cast<int64_t>(active_));
}

absl::Status Columns::LoadState(const StateReader& reader) {
  ENGRAM_ASSIGN_OR_RETURN(const TaskHeads::Saved saved, TaskHeads::Read(reader));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t active, reader.GetInteger("active"));
  if (active < 0 || active >= static_cast<int64_t>(saved.tasks.size())) {
    return absl::DataLossError(absl::StrCat("active: column ", active, " of ", saved.tasks.size()));
  }
  if (saved.tasks[0] != TaskHeads::kNoTask) heads_.Name(0, saved.tasks[0]);
  for (size_t c = 1; c < saved.tasks.size(); ++c) Open(saved.tasks[c]);
  arena_->Extend();
  for (const size_t column : saved.head_of_unit) heads_.PlaceUnit(column, nullptr);
  units_ = heads_.placed();
  active_ = static_cast<size_t>(active);
  FollowActive();
  return absl::OkStatus();
}

}  // namespace engram::strategies
