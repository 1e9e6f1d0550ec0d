#include "strategies/core/trace_cone.h"

#include <cmath>

#include "storage/base/check.h"
#include "strategies/core/gradient_projection.h"
#include "strategies/core/kernels.h"

namespace engram::strategies {
namespace {

void CopyInto(const at::Tensor& from, at::Tensor* to) {
  if (!to->defined() || to->sizes() != from.sizes()) *to = at::empty_like(from);
  to->copy_(from);
}

bool IsFinite(const at::Tensor& rows) {
  return std::isfinite(ActiveKernels().largest_magnitude(rows.data_ptr<float>(), rows.numel()));
}

void Join(const at::Tensor& front, const at::Tensor& back, at::Tensor* joint) {
  const int64_t rows = front.size(0) + back.size(0);
  if (!joint->defined() || joint->size(0) != rows || joint->size(1) != front.size(1)) {
    *joint = at::empty({rows, front.size(1)}, at::kFloat);
  }
  at::cat_out(*joint, {front, back}, 0);
}

// [rows, 1] of what a layer's bias is multiplied by.
at::Tensor BiasInput(const LayerTrace& trace) {
  return trace.bias_input.defined() ? trace.bias_input : at::ones({trace.input.size(0), 1});
}

// [left rows, right rows] of the products of single rows' gradients.
at::Tensor RowProducts(const std::vector<LayerTrace>& left, const std::vector<LayerTrace>& right) {
  at::Tensor sum;
  for (size_t i = 0; i < left.size(); ++i) {
    at::Tensor inputs = at::mm(left[i].input, right[i].input.t());
    if (left[i].bias != kNoParameter) inputs.addmm_(BiasInput(left[i]), BiasInput(right[i]).t());
    inputs.mul_(at::mm(left[i].output_gradient, right[i].output_gradient.t()));
    sum = sum.defined() ? sum.add_(inputs) : inputs;
  }
  return sum;
}

// Sums of neighbouring columns, those before each end, in float64: [rows, ends].
at::Tensor SumColumns(const at::Tensor& values, absl::Span<const int64_t> ends) {
  const at::Tensor sums =
      at::empty({values.size(0), static_cast<int64_t>(ends.size())}, at::kDouble);
  int64_t begin = 0;
  for (size_t i = 0; i < ends.size(); begin = ends[i++]) {
    sums.select(1, static_cast<int64_t>(i))
        .copy_(values.narrow(1, begin, ends[i] - begin).sum(1, /*keepdim=*/false, at::kDouble));
  }
  return sums;
}

}  // namespace

void TraceCone::Keep(const std::vector<LayerTrace>& traces, absl::Span<const int64_t> ends) {
  ends_.assign(ends.begin(), ends.end());
  kept_.resize(traces.size());
  joint_.resize(traces.size());
  for (size_t i = 0; i < traces.size(); ++i) {
    kept_[i].weight = traces[i].weight;
    kept_[i].bias = traces[i].bias;
    CopyInto(traces[i].input, &kept_[i].input);
    CopyInto(traces[i].output_gradient, &kept_[i].output_gradient);
  }
  int64_t begin = 0;
  for (const int64_t end : ends_) {
    const auto rows = [begin, end](const at::Tensor& of) {
      return of.narrow(0, begin, end - begin);
    };
    bool finite = true;
    for (const LayerTrace& layer : kept_) {
      finite = finite && IsFinite(rows(layer.input)) && IsFinite(rows(layer.output_gradient));
    }
    for (const LayerTrace& layer : kept_) {
      if (finite) break;
      rows(layer.input).zero_();
      rows(layer.output_gradient).zero_();
    }
    begin = end;
  }
}

bool TraceCone::Project(double strength, std::vector<LayerTrace>* traces) {
  ENGRAM_CHECK(traces->size() == kept_.size());
  ConeSlopes slopes;
  slopes.products = SumColumns(RowProducts(*traces, kept_), ends_).sum(0);
  if (!(slopes.products.min().item<double>() < 0)) return true;
  const at::Tensor half = SumColumns(RowProducts(kept_, kept_), ends_);
  slopes.gram = SumColumns(half.t(), ends_);
  slopes.length = std::sqrt(RowProducts(*traces, *traces).sum(at::kDouble).item<double>());
  const ConeMultipliers multipliers = SolveCone(slopes, strength);
  int64_t begin = 0;
  for (size_t task = 0; task < ends_.size(); begin = ends_[task++]) {
    for (const LayerTrace& layer : kept_) {
      layer.output_gradient.narrow(0, begin, ends_[task] - begin).mul_(multipliers.values[task]);
    }
  }
  for (size_t i = 0; i < kept_.size(); ++i) {
    LayerTrace& trace = (*traces)[i];
    if (trace.bias_input.defined()) {
      Join(trace.bias_input, BiasInput(kept_[i]), &joint_[i].bias_input);
      trace.bias_input = joint_[i].bias_input;
    }
    Join(trace.input, kept_[i].input, &joint_[i].input);
    Join(trace.output_gradient, kept_[i].output_gradient, &joint_[i].delta);
    trace.input = joint_[i].input;
    trace.output_gradient = joint_[i].delta;
  }
  return multipliers.solved;
}

}  // namespace engram::strategies
