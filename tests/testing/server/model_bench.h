// One model over a FakeStore, stepped by hand: commits, turns of the trainer and background jobs
// happen when a test asks for them. Single-threaded.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "server/live_model.h"
#include "tests/testing/server/fake_clock.h"
#include "tests/testing/server/fake_learner.h"
#include "tests/testing/storage/fake_store.h"

namespace engram::testing {

// Of one feature pair {10 * label, 1}, so that the fake learner can tell classes apart.
v1::Example MakeExample(int64_t label, absl::string_view task = "");
std::vector<v1::Example> MakeExamples(int count, int64_t label = 1);
v1::Example MakeHeldOut(int64_t label, absl::string_view task = "");
v1::LearnMessage MakeMessage(uint64_t producer_sequence, std::vector<v1::Example> examples);
v1::LearnMessage MakeBoundary(uint64_t producer_sequence, absl::string_view next_task = "");
// Two features, batch 3, nothing held out, no automatic flush, checkpoint or live evaluation.
v1::ModelSpec MakeSpec();

// An answer that may not have come yet.
template <typename T>
using Answer = std::shared_ptr<absl::optional<absl::StatusOr<T>>>;

class ModelBench {
 public:
  // Empty `weights`: the model is not made from any.
  explicit ModelBench(v1::ModelSpec spec = MakeSpec(), const std::string& weights = "");
  ~ModelBench();

  server::LiveModel& model() { return *model_; }
  FakeStore& store() { return *store_; }
  FakeClock& clock() { return clock_; }
  // The one that the model began with: gone once a tune has promoted another.
  FakeLearner& learner() { return *learner_; }
  FakeLearnerScript& script() { return *script_; }
  server::Background& background() { return *background_; }
  v1::Limits& limits() { return limits_; }
  v1::Retention& retention() { return retention_; }
  storage::ModelUid uid() const { return row_.uid; }

  // Producer "p", its next sequence. The answer comes with Commit (or at once).
  Answer<server::Accepted> Send(v1::LearnMessage message, uint64_t epoch = 0);
  Answer<server::Accepted> Learn(std::vector<v1::Example> examples);
  Answer<server::Accepted> Boundary(absl::string_view next_task = "");
  // Sends, commits and returns the answer. `Rejection` is its rejection or error.
  server::Accepted LearnNow(std::vector<v1::Example> examples);
  server::Accepted BoundaryNow(absl::string_view next_task = "");
  // As another producer than "p".
  Answer<server::Accepted> LearnFrom(const std::string& producer,
                                     std::vector<v1::Example> examples);
  absl::Status Rejection(v1::LearnMessage message);

  Answer<v1::Checkpoint> Checkpoint(const std::string& label = "");
  Answer<v1::RollbackResponse> Rollback(const std::string& checkpoint, uint64_t expected = 0);
  // Exactly one of them.
  Answer<v1::EraseResponse> Erase(const std::string& id, const std::string& subject);
  v1::EraseResponse EraseNow(const std::string& id, const std::string& subject);
  Answer<v1::EraseResponse> EraseProducer(const std::string& producer);
  v1::EraseResponse EraseProducerNow(const std::string& producer);
  v1::Checkpoint CheckpointNow(const std::string& label = "");
  v1::RollbackResponse RollbackNow(const std::string& checkpoint);

  // UpdateModel, committed.
  absl::StatusOr<v1::UpdateModelResponse> UpdateNow(v1::ModelSpec spec);
  absl::StatusOr<v1::UpdateModelResponse> PromoteNow();
  // What a checkpoint of this moment stores of the model and of a tune's candidates.
  server::RestorableLearner Stored();

  // Everything that can happen without time passing: commits, turns, background jobs.
  void Settle();
  // Turns of the trainer and commits only.
  void Train();

  // A new process over what is durable. `crash`: what was not durable is gone.
  void Restart(bool crash = true);
  // Made, not yet stepped.
  void Reopen(bool crash = true);

  uint64_t next_producer_sequence = 1;
  // What the guard did, as the audit log would be told.
  std::vector<server::GuardAction> guard_actions;

 private:
  void Build();

  v1::ModelSpec spec_;
  std::map<std::string, uint64_t> others_next_;  // sequences of other producers
  v1::Limits limits_;
  v1::Retention retention_;
  FakeClock clock_;
  std::unique_ptr<FakeStore> store_;
  storage::ModelRow row_;
  std::shared_ptr<FakeLearnerScript> script_ = std::make_shared<FakeLearnerScript>();
  std::shared_ptr<bool> woken_ = std::make_shared<bool>(false);
  std::unique_ptr<server::Background> background_;
  std::shared_ptr<server::LiveModel> model_;
  FakeLearner* learner_ = nullptr;
};

}  // namespace engram::testing
