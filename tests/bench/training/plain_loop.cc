#include "tests/bench/training/plain_loop.h"

#include <torch/torch.h>

namespace engram::strategies {

struct PlainLoop::Parts {
  int64_t features = 0;
  torch::nn::Sequential network;
  std::unique_ptr<torch::optim::SGD> optimizer;
};

PlainLoop::PlainLoop(int64_t features, const std::vector<int64_t>& hidden, int64_t classes,
                     double learning_rate)
    : parts_(std::make_unique<Parts>()) {
  parts_->features = features;
  int64_t in = features;
  for (int64_t width : hidden) {
    parts_->network->push_back(torch::nn::Linear(in, width));
    parts_->network->push_back(torch::nn::ReLU());
    in = width;
  }
  parts_->network->push_back(torch::nn::Linear(in, classes));
  parts_->optimizer =
      std::make_unique<torch::optim::SGD>(parts_->network->parameters(), learning_rate);
}

PlainLoop::~PlainLoop() = default;

float PlainLoop::Step(const float* features, const int64_t* classes, int64_t rows) {
  const auto inputs = torch::from_blob(const_cast<float*>(features), {rows, parts_->features});
  const auto targets = torch::from_blob(const_cast<int64_t*>(classes), {rows}, torch::kLong);
  parts_->optimizer->zero_grad();
  const auto loss = torch::nn::functional::cross_entropy(parts_->network->forward(inputs), targets);
  loss.backward();
  parts_->optimizer->step();
  return loss.item<float>();
}

float PlainLoop::Forward(const float* features, int64_t rows) {
  const torch::InferenceMode guard;
  const auto inputs = torch::from_blob(const_cast<float*>(features), {rows, parts_->features});
  return parts_->network->forward(inputs).max().item<float>();
}

}  // namespace engram::strategies
