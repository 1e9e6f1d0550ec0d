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

bool ServingBoard::Ready() const {
  base::MutexLock lock(&mutex_);
  return AllServe();
}

void ServingBoard::Attach(grpc::HealthCheckServiceInterface* health) {
  base::MutexLock lock(&mutex_);
  health_ = health;
  for (const auto& [model, serving] : serving_) Tell(model, serving);
}

bool ServingBoard::AllServe() const {
  for (const auto& [model, serving] : serving_) {
    if (!serving) return false;
  }
  return true;
}

void ServingBoard::Tell(const std::string& model, bool serving) {
  if (health_ == nullptr) return;
  if (!model.empty()) health_->SetServingStatus(model, serving);
  health_->SetServingStatus("", AllServe());
}

}  // namespace engram::server
