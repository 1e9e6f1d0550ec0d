#include "tests/crash/operator.h"

#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/toy_examples.h"

namespace engram::crash {
namespace {

constexpr int kManualCheckpointsMax = 20;
const absl::Duration kPatience = absl::Seconds(5);

testing::Stubs Connect(const std::string& address) {
  return testing::Stubs(grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
}

void DeleteOldest(const testing::Stubs& stubs, const std::string& model) {
  v1::ListCheckpointsRequest list;
  list.set_model(model);
  const auto listed =
      testing::Call(*stubs.checkpoints, &v1::Checkpoints::Stub::ListCheckpoints, list, kPatience);
  int manual = 0;
  for (const v1::Checkpoint& checkpoint : listed->checkpoints()) {
    if (checkpoint.automatic() || ++manual <= kManualCheckpointsMax) continue;
    v1::DeleteCheckpointRequest request;
    request.set_model(model);
    request.set_id(checkpoint.id());
    testing::Call(*stubs.checkpoints, &v1::Checkpoints::Stub::DeleteCheckpoint, request, kPatience);
  }
}

}  // namespace

Operator::Operator(uint64_t seed, std::vector<std::string> models, const AddressBook* addresses)
    : seed_(seed), models_(std::move(models)), addresses_(addresses) {
  thread_ = std::thread([this] { Run(); });
}

void Operator::Stop() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

std::map<std::string, std::vector<AnsweredRollback>> Operator::rollbacks() const {
  base::MutexLock lock(&mutex_);
  return rollbacks_;
}

void Operator::Run() {
  for (uint64_t turn = 0; !stop_; ++turn) {
    const uint64_t draw = testing::Mix(seed_ + turn);
    absl::SleepFor(absl::Milliseconds(10 + draw % 80));
    const std::string address = addresses_->Get();
    if (!address.empty()) Act(address, models_[(draw >> 8) % models_.size()], draw >> 16);
  }
}

void Operator::Act(const std::string& address, const std::string& model, uint64_t draw) {
  if (draw % 3 == 0) return RollBack(address, model, draw >> 4);
  const testing::Stubs stubs = Connect(address);
  v1::CreateCheckpointRequest request;
  request.set_model(model);
  const auto created = testing::Call(*stubs.checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint,
                                     request, kPatience);
  if (!created.ok()) return;
  ++checkpoints_;
  DeleteOldest(stubs, model);
}

void Operator::RollBack(const std::string& address, const std::string& model, uint64_t draw) {
  const testing::Stubs stubs = Connect(address);
  v1::ListCheckpointsRequest list;
  list.set_model(model);
  const auto listed =
      testing::Call(*stubs.checkpoints, &v1::Checkpoints::Stub::ListCheckpoints, list, kPatience);
  const int count = listed->checkpoints_size();
  if (count == 0) return;
  v1::RollbackRequest request;
  request.set_model(model);
  request.set_checkpoint(
      listed->checkpoints(static_cast<int>(draw % static_cast<uint64_t>(count))).id());
  const auto done =
      testing::Call(*stubs.checkpoints, &v1::Checkpoints::Stub::Rollback, request, kPatience);
  if (!done.ok() || done->rollback_sequence() == 0) return;
  base::MutexLock lock(&mutex_);
  rollbacks_[model].push_back({done->rollback_sequence(), done->restored_sequence()});
}

}  // namespace engram::crash
