#include "server/serving_board.h"

namespace engram::server {

void ServingBoard::Set(const std::string& model, bool serving) {
  base::MutexLock lock(&mutex_);
  if (withdrawn_) return;
  serving_[model] = serving;
  Tell(model, serving);
}

void ServingBoard::Expect(const std::string& model) {
  base::MutexLock lock(&mutex_);
  if (withdrawn_ || !serving_.emplace(model, false).second) return;
  Tell(model, false);
}

void ServingBoard::Remove(const std::string& model) {
  base::MutexLock lock(&mutex_);
  serving_.erase(model);
  Tell(model, false);
}

void ServingBoard::Withdraw() {
  base::MutexLock lock(&mutex_);
  withdrawn_ = true;
  for (auto& [model, serving] : serving_) {
    serving = false;
    Tell(model, false);
  }
}

void ServingBoard::StopLearning() {
  base::MutexLock lock(&mutex_);
  learning_ = false;
  TellWhole();
}

std::string ServingBoard::WhyNotReady() const {
  base::MutexLock lock(&mutex_);
  return Obstacle();
}

void ServingBoard::Attach(grpc::HealthCheckServiceInterface* health) {
  base::MutexLock lock(&mutex_);
  health_ = health;
  for (const auto& [model, serving] : serving_) Tell(model, serving);
}

std::string ServingBoard::Obstacle() const {
  if (withdrawn_) return "shutting down";
  if (!serving_.at("")) return "starting";
  for (const auto& [model, serving] : serving_) {
    if (!serving) return "a model does not serve";
  }
  return learning_ ? "" : "storage is read-only: predictions go on, nothing can be learned";
}

void ServingBoard::Tell(const std::string& model, bool serving) {
  if (health_ == nullptr) return;
  if (!model.empty() && model != kLearning && model != kPrediction) {
    health_->SetServingStatus(model, serving);
  }
  TellWhole();
}

void ServingBoard::TellWhole() {
  if (health_ == nullptr) return;
  const bool open = serving_.at("") && !withdrawn_;
  health_->SetServingStatus(kPrediction, open);
  health_->SetServingStatus(kLearning, open && learning_);
  health_->SetServingStatus("", Obstacle().empty());
}

}  // namespace engram::server
