#include "tests/testing/server_edge/fake_host.h"

#include <utility>

#include "server/errors.h"
#include "storage/base/status_macros.h"

namespace engram::testing {

std::shared_ptr<FakeModel> FakeHost::Add(std::shared_ptr<FakeModel> model) {
  base::MutexLock lock(&mutex_);
  models_[model->name()] = model;
  return model;
}

absl::StatusOr<v1::Model> FakeHost::Create(const v1::CreateModelRequest& request) {
  if (Find(request.name()).ok()) return server::AlreadyExists("model", request.name());
  {
    base::MutexLock lock(&mutex_);
    weights_ = request.weights().safetensors();
  }
  return Add(std::make_shared<FakeModel>(request.name(), request.spec()))->Describe();
}

absl::StatusOr<std::shared_ptr<server::ModelRuntime>> FakeHost::Find(absl::string_view name) const {
  base::MutexLock lock(&mutex_);
  const auto found = models_.find(std::string(name));
  if (found == models_.end()) return server::NotFound("model", name, "");
  return std::shared_ptr<server::ModelRuntime>(found->second);
}

std::vector<std::shared_ptr<server::ModelRuntime>> FakeHost::List() const {
  base::MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<server::ModelRuntime>> models;
  for (const auto& [name, model] : models_) models.push_back(model);
  return models;
}

void FakeHost::Update(const v1::UpdateModelRequest& request,
                      std::function<void(absl::StatusOr<v1::UpdateModelResponse>)> done) {
  const auto model = Find(request.name());
  if (!model.ok()) return done(model.status());
  v1::UpdateModelResponse response;
  *response.mutable_model() = (*model)->Describe();
  done(response);
}

absl::Status FakeHost::Delete(absl::string_view name) {
  ENGRAM_RETURN_IF_ERROR(Find(name).status());
  base::MutexLock lock(&mutex_);
  models_.erase(std::string(name));
  return absl::OkStatus();
}

absl::StatusOr<v1::Model> FakeHost::SetPaused(absl::string_view name, bool paused) {
  ENGRAM_ASSIGN_OR_RETURN(const auto model, Find(name));
  v1::Model described = model->Describe();
  described.set_paused(paused);
  return described;
}

void FakeHost::Apply(const v1::ServerConfig& config) {
  base::MutexLock lock(&mutex_);
  applied_ = config;
}

}  // namespace engram::testing
