#include "tests/testing/storage/fake_store.h"

#include <utility>

#include "tests/testing/storage/fake_log.h"
#include "tests/testing/storage/fake_parts.h"

namespace engram::testing {

FakeStore::FakeStore(FakeStoreOptions options)
    : shared_(std::make_unique<Shared>(std::move(options))),
      log_(std::make_unique<Log>(shared_.get())),
      checkpoints_(std::make_unique<Checkpoints>(shared_.get())),
      episodic_(std::make_unique<Episodic>()),
      importance_(std::make_unique<Importance>()),
      held_out_(std::make_unique<HeldOut>()),
      catalog_(std::make_unique<Catalog>(shared_.get())) {}

FakeStore::~FakeStore() = default;

storage::SampleLog& FakeStore::log() { return *log_; }
storage::CheckpointStore& FakeStore::checkpoints() { return *checkpoints_; }
storage::EpisodicStore& FakeStore::episodic() { return *episodic_; }
storage::ImportanceStore& FakeStore::importance() { return *importance_; }
storage::HeldOutStore& FakeStore::held_out() { return *held_out_; }
storage::ModelCatalog& FakeStore::catalog() { return *catalog_; }

storage::StoreStatistics FakeStore::Statistics() const { return log_->Statistics(); }

void FakeStore::ObserveCommits(std::function<void(double seconds)> observer) {
  log_->Observe(std::move(observer));
}

void FakeStore::ObserveHealth(std::function<void(const absl::Status& read_only)> observer) {
  log_->ObserveHealth(std::move(observer));
}

void FakeStore::WhileDeleting(std::function<void()> hook) {
  shared_->while_deleting = std::move(hook);
}

std::string FakeStore::EngineVersion() const { return "fake"; }

size_t FakeStore::Commit() { return log_->Commit(); }
void FakeStore::FailCommits(std::string reason) { log_->FailCommits(std::move(reason)); }
void FakeStore::RefuseWrites(absl::Status status) { shared_->Refuse(std::move(status)); }

void FakeStore::Crash() {
  shared_->Refuse(absl::OkStatus());
  log_->Crash();
}

int64_t FakeStore::weights_loads() const { return catalog_->weights_loads(); }

void FakeStore::CorruptCheckpoint(storage::ModelUid model, std::string id) {
  checkpoints_->Corrupt(model, std::move(id));
}

}  // namespace engram::testing
