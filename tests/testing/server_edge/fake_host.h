// A ModelHost that holds fake models.
//
// Threading: every method from any thread; Add before traffic. Failure: NOT_FOUND, ALREADY_EXISTS.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "server/model_host.h"
#include "storage/base/mutex.h"
#include "tests/testing/server_edge/fake_model.h"
#include "tests/testing/storage/fake_store.h"

namespace engram::testing {

class FakeHost : public server::ModelHost {
 public:
  std::shared_ptr<FakeModel> Add(std::shared_ptr<FakeModel> model);

  absl::StatusOr<v1::Model> Create(const v1::CreateModelRequest& request) override;
  absl::StatusOr<std::shared_ptr<server::ModelRuntime>> Find(absl::string_view name) const override;
  std::vector<std::shared_ptr<server::ModelRuntime>> List() const override;
  void Update(const v1::UpdateModelRequest& request,
              std::function<void(absl::StatusOr<v1::UpdateModelResponse>)> done) override;
  absl::Status Delete(absl::string_view name) override;
  absl::StatusOr<v1::Model> SetPaused(absl::string_view name, bool paused) override;
  absl::Status Start() override { return absl::OkStatus(); }
  void Drain(absl::Duration patience) override {}
  void Apply(const v1::ServerConfig& config) override;
  // What Apply was given last.
  v1::ServerConfig applied() const {
    base::MutexLock lock(&mutex_);
    return applied_;
  }
  std::string ReadOnlyReason() const override { return ""; }
  const storage::Store& store() const override { return store_; }

  // Weights that the last model was made from.
  std::string weights() const {
    base::MutexLock lock(&mutex_);
    return weights_;
  }

 private:
  FakeStore store_;
  mutable base::Mutex mutex_;
  std::string weights_ ABSL_GUARDED_BY(mutex_);
  v1::ServerConfig applied_ ABSL_GUARDED_BY(mutex_);
  absl::btree_map<std::string, std::shared_ptr<FakeModel>> models_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::testing
