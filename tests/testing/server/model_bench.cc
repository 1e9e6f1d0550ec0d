#include "tests/testing/server/model_bench.h"

#include <utility>

#include "server/spec_options.h"
#include "storage/base/check.h"

namespace engram::testing {
namespace {

template <typename T>
Answer<T> NewAnswer() {
  return std::make_shared<absl::optional<absl::StatusOr<T>>>();
}

template <typename T>
std::function<void(absl::StatusOr<T>)> Into(Answer<T> answer) {
  return [answer](absl::StatusOr<T> value) {
    ENGRAM_CHECK(!answer->has_value());  // answers come once
    *answer = std::move(value);
  };
}

template <typename T>
T Value(const Answer<T>& answer) {
  ENGRAM_CHECK(answer->has_value());
  if (!(*answer)->ok()) std::fprintf(stderr, "%s\n", (*answer)->status().ToString().c_str());
  ENGRAM_CHECK((*answer)->ok());
  return ***answer;
}

}  // namespace

v1::Example MakeExample(int64_t label, absl::string_view task) {
  v1::Example example;
  const float features[2] = {10.0f * static_cast<float>(label), 1.0f};
  example.mutable_features()->set_dense(features, sizeof(features));
  example.mutable_label()->set_number(label);
  example.set_task(std::string(task));
  return example;
}

std::vector<v1::Example> MakeExamples(int count, int64_t label) {
  return std::vector<v1::Example>(count, MakeExample(label));
}

v1::Example MakeHeldOut(int64_t label, absl::string_view task) {
  v1::Example example = MakeExample(label, task);
  example.set_split(v1::HELD_OUT);
  return example;
}

v1::LearnMessage MakeMessage(uint64_t producer_sequence, std::vector<v1::Example> examples) {
  v1::LearnMessage message;
  message.set_producer_sequence(producer_sequence);
  for (v1::Example& example : examples) *message.add_examples() = std::move(example);
  return message;
}

v1::LearnMessage MakeBoundary(uint64_t producer_sequence, absl::string_view next_task) {
  v1::LearnMessage message;
  message.set_producer_sequence(producer_sequence);
  message.mutable_boundary()->set_next_task(std::string(next_task));
  return message;
}

v1::ModelSpec MakeSpec() {
  v1::ModelSpec spec;
  spec.set_feature_count(2);
  spec.set_batch_size(3);
  spec.set_max_batch_wait_ms(0);
  spec.set_held_out_fraction(0);
  spec.set_evaluate_every_examples(0);
  spec.set_seed(7);
  return spec;
}

ModelBench::ModelBench(v1::ModelSpec spec, const std::string& weights) {
  auto complete = server::CompleteSpec(std::move(spec));
  ENGRAM_CHECK(complete.ok());
  spec_ = *complete;
  if (!weights.empty()) {
    v1::PretrainedWeights given;
    given.set_safetensors(weights);
    server::SetWeightsOrigin(given, &spec_);
  }
  if (spec_.has_tune()) spec_.mutable_tune()->set_id(1);  // as the host does
  limits_.set_examples_per_message(1024);
  limits_.set_tasks(10000);
  limits_.set_producers(10000);
  retention_.set_log_seconds(24 * 3600);
  retention_.set_log_bytes(int64_t{10} << 30);
  retention_.set_producer_idle_seconds(30 * 24 * 3600);
  FakeStoreOptions options;
  options.commit = CommitMode::kByHand;
  options.now_ms = [this] { return absl::ToUnixMillis(clock_.Anchored()); };
  store_ = std::make_unique<FakeStore>(options);
  row_ = *store_->catalog().Create("digits", spec_.SerializeAsString(),
                                   {weights, spec_.weights().sha256()});
  Restart(false);
}

ModelBench::~ModelBench() { model_.reset(); }

void ModelBench::Build() {
  background_ = std::make_unique<server::Background>();
  server::ModelContext context;
  context.name = row_.name;
  context.uid = row_.uid;
  context.store = store_.get();
  context.clock = &clock_;
  context.background = background_.get();
  learner_ = nullptr;
  context.make_learner = [this](const strategies::ModelOptions& options) {
    auto learner = std::make_unique<FakeLearner>(options, script_);
    if (learner_ == nullptr) learner_ = learner.get();  // the trainer's is the first
    return absl::StatusOr<std::unique_ptr<strategies::Learner>>(std::move(learner));
  };
  context.enter_compute_thread = [] {};
  context.compute_fingerprint = "fake";
  context.limits = limits_;
  context.retention = retention_;
  context.statistics = std::make_shared<server::ModelStatistics>();
  context.wake = [woken = woken_] { *woken = true; };
  context.deadline_set = [] {};
  context.on_guard = [this](const server::GuardAction& action) {
    guard_actions.push_back(action);
  };
  const auto rows = *store_->catalog().List();
  for (const storage::ModelRow& row : rows) {
    if (row.uid == row_.uid) row_ = row;
  }
  model_ = std::make_shared<server::LiveModel>(std::move(context), spec_, row_);
}

void ModelBench::Reopen(bool crash) {
  model_.reset();
  background_.reset();
  if (crash) store_->Crash();
  Build();
}

void ModelBench::Restart(bool crash) {
  Reopen(crash);
  Settle();
}

void ModelBench::Train() {
  while (true) {
    const size_t committed = store_->Commit();
    *woken_ = false;
    const server::Turn turn = model_->RunOnce();
    if (committed == 0 && !turn.more && !*woken_ && store_->Commit() == 0) return;
  }
}

void ModelBench::Settle() {
  while (true) {
    Train();
    bool worked = false;
    while (background_->RunOne()) worked = true;
    if (!worked) return;
  }
}

Answer<server::Accepted> ModelBench::Send(v1::LearnMessage message, uint64_t epoch) {
  auto answer = NewAnswer<server::Accepted>();
  model_->Learn("p", epoch, std::move(message), Into<server::Accepted>(answer));
  return answer;
}

Answer<server::Accepted> ModelBench::Learn(std::vector<v1::Example> examples) {
  return Send(MakeMessage(next_producer_sequence++, std::move(examples)));
}

Answer<server::Accepted> ModelBench::LearnFrom(const std::string& producer,
                                               std::vector<v1::Example> examples) {
  auto answer = NewAnswer<server::Accepted>();
  model_->Learn(producer, 0, MakeMessage(++others_next_[producer], std::move(examples)),
                Into<server::Accepted>(answer));
  return answer;
}

Answer<server::Accepted> ModelBench::Boundary(absl::string_view next_task) {
  return Send(MakeBoundary(next_producer_sequence++, next_task));
}

server::Accepted ModelBench::LearnNow(std::vector<v1::Example> examples) {
  const auto answer = Learn(std::move(examples));
  store_->Commit();
  return Value(answer);
}

server::Accepted ModelBench::BoundaryNow(absl::string_view next_task) {
  const auto answer = Boundary(next_task);
  store_->Commit();
  return Value(answer);
}

absl::Status ModelBench::Rejection(v1::LearnMessage message) {
  const auto answer = Send(std::move(message));
  store_->Commit();
  ENGRAM_CHECK(answer->has_value());
  return (*answer)->ok() ? (**answer)->rejection : (*answer)->status();
}

Answer<v1::Checkpoint> ModelBench::Checkpoint(const std::string& label) {
  auto answer = NewAnswer<v1::Checkpoint>();
  v1::CreateCheckpointRequest request;
  request.set_label(label);
  model_->CreateCheckpoint(request, Into<v1::Checkpoint>(answer));
  return answer;
}

Answer<v1::RollbackResponse> ModelBench::Rollback(const std::string& checkpoint,
                                                  uint64_t expected) {
  auto answer = NewAnswer<v1::RollbackResponse>();
  v1::RollbackRequest request;
  request.set_checkpoint(checkpoint);
  request.set_expected_current_version(expected);
  model_->Rollback(request, Into<v1::RollbackResponse>(answer));
  return answer;
}

Answer<v1::EraseResponse> ModelBench::Erase(const std::string& id, const std::string& subject) {
  auto answer = NewAnswer<v1::EraseResponse>();
  v1::EraseRequest request;
  if (!id.empty()) request.set_example_id(id);
  if (!subject.empty()) request.set_subject_id(subject);
  model_->Erase(request, Into<v1::EraseResponse>(answer));
  return answer;
}

v1::EraseResponse ModelBench::EraseNow(const std::string& id, const std::string& subject) {
  const auto answer = Erase(id, subject);
  Settle();
  return Value(answer);
}

Answer<v1::EraseResponse> ModelBench::EraseProducer(const std::string& producer) {
  auto answer = NewAnswer<v1::EraseResponse>();
  v1::EraseRequest request;
  request.set_producer(producer);
  model_->Erase(request, Into<v1::EraseResponse>(answer));
  return answer;
}

v1::EraseResponse ModelBench::EraseProducerNow(const std::string& producer) {
  const auto answer = EraseProducer(producer);
  Settle();
  return Value(answer);
}

v1::Checkpoint ModelBench::CheckpointNow(const std::string& label) {
  Settle();
  const auto answer = Checkpoint(label);
  Settle();
  return Value(answer);
}

absl::StatusOr<v1::UpdateModelResponse> ModelBench::UpdateNow(v1::ModelSpec spec) {
  auto complete = server::CompleteSpec(std::move(spec));
  if (!complete.ok()) return complete.status();
  auto answer = NewAnswer<v1::UpdateModelResponse>();
  model_->Update(*std::move(complete), Into<v1::UpdateModelResponse>(answer));
  store_->Commit();
  ENGRAM_CHECK(answer->has_value());
  return **answer;
}

absl::StatusOr<v1::UpdateModelResponse> ModelBench::PromoteNow() {
  auto answer = NewAnswer<v1::UpdateModelResponse>();
  model_->Promote(Into<v1::UpdateModelResponse>(answer));
  Settle();
  ENGRAM_CHECK(answer->has_value());
  return **answer;
}

server::RestorableLearner ModelBench::Stored() {
  const v1::Checkpoint checkpoint = CheckpointNow();
  server::ModelContext context;
  context.uid = row_.uid;
  context.store = store_.get();
  const server::CheckpointKeeper keeper(&context);
  const auto row = keeper.Find(checkpoint.id());
  ENGRAM_CHECK(row.ok());
  auto stored = keeper.Load(*row);
  ENGRAM_CHECK(stored.ok());
  return *std::move(stored);
}

v1::RollbackResponse ModelBench::RollbackNow(const std::string& checkpoint) {
  const auto answer = Rollback(checkpoint);
  Settle();
  return Value(answer);
}

}  // namespace engram::testing
