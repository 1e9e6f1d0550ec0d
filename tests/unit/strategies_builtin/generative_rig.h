// What the tests of generative models and strategies share: rows around two corners of the cube,
// and the closed-form gradients of a network beside autograd's.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/models/generative_model.h"
#include "tests/unit/strategies_core/reference_network.h"

namespace engram::strategies {

constexpr int64_t kCornerFeatures = 6;

// Features near 0.1 and 0.9: corner 0 is low in its first half, corner 1 in its second.
inline at::Tensor CornerRows(const std::vector<int32_t>& corners, Generator* generator) {
  const at::Tensor rows = at::empty({static_cast<int64_t>(corners.size()), kCornerFeatures});
  generator->FillNormal(rows.data_ptr<float>(), rows.numel());
  rows.mul_(0.02);
  for (size_t row = 0; row < corners.size(); ++row) {
    for (int64_t i = 0; i < kCornerFeatures; ++i) {
      rows[static_cast<int64_t>(row)][i] += (i < kCornerFeatures / 2) == (corners[row] == 0) ? 0.1
                                                                                             : 0.9;
    }
  }
  return rows;
}

// As many rows of one corner as of the other.
inline at::Tensor BothCorners(int64_t rows, Generator* generator) {
  std::vector<int32_t> corners;
  for (int64_t row = 0; row < rows; ++row) corners.push_back(static_cast<int32_t>(row % 2));
  return CornerRows(corners, generator);
}

inline std::vector<float> EqualCoefficients(int64_t rows) {
  return std::vector<float>(static_cast<size_t>(rows), 1.0f / static_cast<float>(rows));
}

// Shares of the drawn rows that are near corner 0 and corner 1 in every feature.
struct Coverage {
  double first = 0;
  double second = 0;
};
inline Coverage CornerCoverage(const at::Tensor& drawn) {
  const at::Tensor high = drawn.gt(0.5);
  const at::Tensor front = high.narrow(1, 0, 3), back = high.narrow(1, 3, 3);
  const at::Tensor first = front.logical_not().all(1).logical_and(back.all(1));
  const at::Tensor second = front.all(1).logical_and(back.logical_not().all(1));
  return {first.to(at::kFloat).mean().item<double>(), second.to(at::kFloat).mean().item<double>()};
}

// Largest difference between the gradients that a network's traces stand for and those of the
// leaves that CloneParameters made of it.
inline double GradientDifference(const Network& network, const std::vector<torch::Tensor>& leaves) {
  double largest = 0;
  for (const LayerTrace& trace : network.traces()) {
    const at::Tensor weight = trace.output_gradient.t().mm(trace.input);
    const at::Tensor bias = trace.output_gradient.sum(0);
    largest = std::max(largest, (weight - leaves[trace.weight].grad()).abs().max().item<double>());
    largest = std::max(largest, (bias - leaves[trace.bias].grad()).abs().max().item<double>());
  }
  return largest;
}

template <typename Saved>
std::string SavedBytes(const Saved& saved) {
  StateWriter writer;
  saved.SaveState(&writer);
  return writer.Finish();
}

}  // namespace engram::strategies
