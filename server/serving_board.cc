#include "server/serving_board.h"

namespace engram::server {

void ServingBoard::Set(const std::string& model, bool serving) {
  base::MutexLock lock(&mutex_);
  if (withdrawn_) return;
  serving_[model] = serving;
  if (health_ != nullptr) health_->SetServingStatus(model, serving);
}

void ServingBoard::Withdraw() {
  base::MutexLock lock(&mutex_);
  withdrawn_ = true;
  for (auto& [model, serving] : serving_) {
    serving = false;
    if (health_ != nullptr) health_->SetServingStatus(model, false);
  }
}

bool ServingBoard::Ready() const {
  base::MutexLock lock(&mutex_);
  for (const auto& [model, serving] : serving_) {
    if (!serving) return false;
  }
  return true;
}

void ServingBoard::Attach(grpc::HealthCheckServiceInterface* health) {
  base::MutexLock lock(&mutex_);
  health_ = health;
  if (health_ == nullptr) return;
  for (const auto& [model, serving] : serving_) health_->SetServingStatus(model, serving);
}

}  // namespace engram::server
