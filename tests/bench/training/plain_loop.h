// The peer to beat: the plain LibTorch training loop of the same network, autograd and
// torch::optim.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace engram::strategies {

class PlainLoop {
 public:
  PlainLoop(int64_t features, const std::vector<int64_t>& hidden, int64_t classes,
            double learning_rate);
  ~PlainLoop();

  // One step on [rows, features]; returns the loss. The loss is read back, as a server that reports
  // it has to.
  float Step(const float* features, const int64_t* classes, int64_t rows);

  // Forward of one row without gradients; returns its highest logit.
  float Forward(const float* features, int64_t rows);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace engram::strategies
