#include "strategies/core/optimizer.h"

#include <algorithm>
#include <cmath>

#include "storage/base/status_macros.h"
#include "strategies/core/kernels.h"
#include "strategies/core/path_integral.h"
#include "strategies/core/proximal_pull.h"
#include "strategies/core/step_hooks.h"
#include "strategies/models/products.h"

namespace engram::strategies {
namespace {

// Floats of one array updated before the next part is touched: a tile of all arrays of an Adam step
// with a pull fits the second-level cache.
constexpr int64_t kTile = 8192;

// Outputs of a weight that the BLAS updates before the pulls and the path read the same part: fewer
// would have it pack the rows too often. A multiple of what its kernels take at once: it is slower
// with the odd ones left over (tests/bench/training).
int64_t TileOutputs(int64_t rows) { return std::max<int64_t>(32, rows / 2 / 16 * 16); }

// Beyond this many rows the BLAS writes the weights faster than our one-pass update
// (tests/bench/training).
constexpr int64_t kRankRows = 16;

static_assert(kRankRows <= kPathRows, "a path is summed up in one pass");

void WriteBiasGradient(const LayerTrace& trace, int64_t out, float* gradient) {
  const float* delta = trace.output_gradient.data_ptr<float>();
  const int64_t rows = trace.input.size(0);
  if (!trace.bias_input.defined()) {
    ActiveKernels().column_sums(delta, rows, out, gradient);
    return;
  }
  WeightProduct(delta, trace.bias_input.data_ptr<float>(), rows, out, /*in=*/1, /*decay=*/0,
                /*rate=*/-1, gradient);
}

}  // namespace

Optimizer::Optimizer(const OptimizerOptions& options, ParameterArena* arena)
    : options_(options), rate_(options.learning_rate, options.schedule), arena_(arena) {
  const auto saved = ParameterArena::Persistence::kSaved;
  if (!plain()) {
    gradient_ = arena_->AddCompanion("optimizer.gradient", ParameterArena::Persistence::kDerived);
    moment1_ = arena_->AddCompanion(adaptive() ? "optimizer.moment1" : "optimizer.momentum", saved);
  }
  if (adaptive()) moment2_ = arena_->AddCompanion("optimizer.moment2", saved);
}

bool Optimizer::plain() const {
  return options_.kind == OptimizerKind::kSgd && options_.momentum == 0;
}

Optimizer::Rate Optimizer::RateOf(double factor) const {
  const double value = factor * learning_rate();
  return {value, static_cast<float>(value),
          static_cast<float>(1.0 - value * options_.weight_decay)};
}

double Optimizer::second_correction() const {
  return 1.0 - std::pow(options_.beta2, static_cast<double>(steps_));
}

std::vector<at::Tensor> Optimizer::moments() const {
  std::vector<at::Tensor> kept;
  for (const CompanionId id : {moment1_, moment2_}) {
    if (id >= 0) kept.push_back(arena_->Companion(id));
  }
  return kept;
}

bool Optimizer::Integrates(absl::Span<ProximalPull* const> pulls) const {
  return plain() && pulls.size() <= 1;
}

void Optimizer::Step(const std::vector<LayerTrace>& traces, absl::Span<ProximalPull* const> pulls,
                     PathIntegral* path) {
  if (plain()) {
    ++steps_;
    for (ProximalPull* pull : pulls) pull->Prepare(*this);
    for (const LayerTrace& trace : traces) {
      StepWeight(trace, {pulls, path});
      if (trace.bias != kNoParameter) StepBias(trace, {pulls, path});
    }
    return;
  }
  const at::Tensor& gradient = arena_->Companion(gradient_);
  if (gradient_generation_ != arena_->generation()) {
    gradient.zero_();  // a layer that is not trained any more writes none
    gradient_generation_ = arena_->generation();
  }
  WriteGradient(traces, gradient);
  StepWithGradient(gradient, pulls);
}

void Optimizer::StepWithGradient(const at::Tensor& gradient, absl::Span<ProximalPull* const> pulls,
                                 absl::Span<UpdateObserver* const> observers) {
  ++steps_;
  for (ProximalPull* pull : pulls) pull->Prepare(*this);
  const float* values = gradient.data_ptr<float>();
  const float* parameters = arena_->flat().data_ptr<float>();
  if (!observers.empty()) before_.resize(kTile);
  for (const ParameterArena::TrainedRange& range : arena_->trained_ranges()) {
    const Rate rate = RateOf(range.rate_factor);
    for (int64_t begin = range.begin; begin < range.end; begin += kTile) {
      const int64_t count = std::min(kTile, range.end - begin);
      const float* block = parameters + begin;
      if (!observers.empty()) std::copy(block, block + count, before_.begin());
      UpdateFlat(values, begin, count, rate);
      for (ProximalPull* pull : pulls) pull->Apply(begin, count, rate.value, *this);
      for (UpdateObserver* observer : observers) {
        observer->AfterUpdate({begin, count, values + begin, before_.data(), block});
      }
    }
  }
}

void Optimizer::WriteGradient(const std::vector<LayerTrace>& traces,
                              const at::Tensor& gradient) const {
  float* values = gradient.data_ptr<float>();
  for (const LayerTrace& trace : traces) {
    const ParameterArena::Slot& weight = arena_->slot(trace.weight);
    const float* delta = trace.output_gradient.data_ptr<float>();
    const int64_t rows = trace.input.size(0);
    WeightProduct(delta, trace.input.data_ptr<float>(), rows, weight.rows, weight.columns,
                  /*decay=*/0, /*rate=*/-1, values + weight.offset);
    if (trace.bias == kNoParameter) continue;
    WriteBiasGradient(trace, weight.rows, values + arena_->slot(trace.bias).offset);
  }
}

void Optimizer::StepWeight(const LayerTrace& trace, const Beside& beside) {
  const ParameterArena::Slot& weight = arena_->slot(trace.weight);
  const Rate rate = RateOf(arena_->rate_factor(trace.weight));
  RankUpdate update;
  update.input = trace.input.data_ptr<float>();
  update.delta = trace.output_gradient.data_ptr<float>();
  update.rows = trace.input.size(0);
  update.out = weight.rows;
  update.in = weight.columns;
  if (update.rows <= kRankRows) {
    Run(update, weight.offset, rate, beside);
    return;
  }
  const bool alone = beside.path == nullptr && beside.pulls.empty();
  const int64_t tile = alone ? weight.rows : TileOutputs(update.rows);
  for (int64_t first = 0; first < weight.rows; first += tile) {
    update.out = std::min(tile, weight.rows - first);
    StepOutputs(update, weight.rows, weight.offset + first * weight.columns, rate, beside);
    update.delta += update.out;
  }
}

void Optimizer::StepOutputs(const RankUpdate& update, int64_t delta_stride, int64_t begin,
                            const Rate& rate, const Beside& beside) {
  const int64_t count = update.out * update.in;
  if (beside.path == nullptr) {
    WeightProduct(update.delta, update.input, update.rows, update.out, update.in, rate.kept,
                  rate.step, arena_->flat().data_ptr<float>() + begin, delta_stride);
    for (ProximalPull* pull : beside.pulls) pull->Apply(begin, count, rate.value, *this);
    return;
  }
  layer_gradient_.resize(static_cast<size_t>(count));
  WeightProduct(update.delta, update.input, update.rows, update.out, update.in, /*decay=*/0,
                /*rate=*/-1, layer_gradient_.data(), delta_stride);
  Descend(layer_gradient_.data(), begin, count, rate, beside);
}

void Optimizer::StepBias(const LayerTrace& trace, const Beside& beside) {
  const ParameterArena::Slot& bias = arena_->slot(trace.bias);
  layer_gradient_.resize(static_cast<size_t>(bias.rows));
  WriteBiasGradient(trace, bias.rows, layer_gradient_.data());
  Descend(layer_gradient_.data(), bias.offset, bias.rows,
          RateOf(arena_->rate_factor(trace.bias)), beside);
}

void Optimizer::Run(RankUpdate update, int64_t begin, const Rate& rate, const Beside& beside) {
  update.weights = arena_->flat().data_ptr<float>() + begin;
  update.decay = rate.kept;
  update.rate = rate.step;
  absl::Span<ProximalPull* const> rest = beside.pulls;
  if (!rest.empty()) {
    update.fraction = rest[0]->fraction().data_ptr<float>() + begin;
    update.anchor = rest[0]->anchor().data_ptr<float>() + begin;
    rest.remove_prefix(1);
  }
  if (beside.path != nullptr) update.sums = beside.path->At(begin);
  ActiveKernels().rank_update(update);
  for (ProximalPull* pull : rest) pull->Apply(begin, update.out * update.in, rate.value, *this);
}

void Optimizer::Descend(const float* gradient, int64_t begin, int64_t count, const Rate& rate,
                        const Beside& beside) {
  static constexpr float kWhole = 1;
  RankUpdate update;
  update.input = gradient;
  update.delta = &kWhole;
  update.rows = 1;
  update.out = 1;
  update.in = count;
  Run(update, begin, rate, beside);
}

void Optimizer::UpdateFlat(const float* gradient, int64_t begin, int64_t count, const Rate& rate) {
  float* parameters = arena_->flat().data_ptr<float>() + begin;
  const float weight_decay = static_cast<float>(options_.weight_decay);
  if (plain()) {
    Descend(gradient + begin, begin, count, rate, {});
    return;
  }
  float* moment1 = arena_->Companion(moment1_).data_ptr<float>() + begin;
  if (!adaptive()) {
    ActiveKernels().descend_with_momentum(parameters, gradient + begin, moment1, count,
                                          static_cast<float>(options_.momentum), weight_decay,
                                          rate.step);
    return;
  }
  AdamUpdate update;
  update.parameters = parameters;
  update.gradient = gradient + begin;
  update.moment1 = moment1;
  update.moment2 = arena_->Companion(moment2_).data_ptr<float>() + begin;
  update.count = count;
  update.decay = options_.kind == OptimizerKind::kAdamW ? rate.kept : 1.0f;
  update.gradient_decay = options_.kind == OptimizerKind::kAdam ? weight_decay : 0.0f;
  update.beta1 = static_cast<float>(options_.beta1);
  update.beta2 = static_cast<float>(options_.beta2);
  const double first = 1.0 - std::pow(options_.beta1, static_cast<double>(steps_));
  update.step_size = static_cast<float>(rate.value / first);
  update.inverse_root = static_cast<float>(1.0 / std::sqrt(second_correction()));
  update.epsilon = static_cast<float>(options_.epsilon);
  ActiveKernels().adam(update);
}

void Optimizer::Reconfigure(const OptimizerOptions& next) {
  options_ = next;
  rate_.Reconfigure(next.learning_rate, next.schedule);
}

void Optimizer::Reset() {
  steps_ = 0;
  if (moment1_ >= 0) arena_->Companion(moment1_).zero_();
  if (moment2_ >= 0) arena_->Companion(moment2_).zero_();
}

void Optimizer::SaveState(StateWriter* writer) const {
  writer->PutInteger("steps", steps_);
  rate_.SaveState(writer);
}

absl::Status Optimizer::LoadState(const StateReader& reader) {
  ENGRAM_ASSIGN_OR_RETURN(steps_, reader.GetInteger("steps"));
  return rate_.LoadState(reader);
}

}  // namespace engram::strategies
