// Many models on real threads over a fake store: fairness, creation, deletion, drain, restart.
#include "server/model_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <set>
#include <thread>

#include "server/strands.h"
#include "storage/sha256.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::CommitMode;
using testing::FakeClock;
using testing::FakeLearner;
using testing::FakeLearnerScript;
using testing::FakeStore;
using testing::FakeStoreOptions;
using testing::MakeBoundary;
using testing::MakeExample;
using testing::MakeHeldOut;
using testing::MakeMessage;
using testing::MakeSpec;

FakeStoreOptions Threaded() {
  FakeStoreOptions options;
  options.commit = CommitMode::kThread;
  return options;
}

// Blocks until an asynchronous answer is there.
template <typename T>
class Blocking {
 public:
  std::function<void(absl::StatusOr<T>)> Callback() {
    return [state = state_](absl::StatusOr<T> value) {
      base::MutexLock lock(&state->mutex);
      state->value = std::move(value);
      state->wake.NotifyAll();
    };
  }
  absl::StatusOr<T> Wait() {
    base::MutexLock lock(&state_->mutex);
    while (!state_->value.has_value()) state_->wake.Wait(&state_->mutex);
    return *state_->value;
  }

 private:
  struct State {
    base::Mutex mutex;
    base::CondVar wake;
    absl::optional<absl::StatusOr<T>> value;
  };
  std::shared_ptr<State> state_ = std::make_shared<State>();
};

class HostTest : public ::testing::Test {
 protected:
  HostTest() : store_(Threaded()) { Start(); }

  void Start() {
    ModelHostOptions options;
    auto* limits = options.config.mutable_limits();
    limits->set_examples_per_message(1024);
    limits->set_features(65536);
    limits->set_tasks(10000);
    limits->set_producers(10000);
    limits->set_models(20);
    limits->set_weights_bytes(100);
    options.config.mutable_retention()->set_log_seconds(86400);
    options.config.mutable_retention()->set_log_bytes(int64_t{1} << 30);
    options.config.mutable_retention()->set_producer_idle_seconds(86400);
    options.config.set_live_evaluation_share(0.05);
    options.config.set_trainer_threads(2);
    options.compute_fingerprint = "fake";
    options.make_learner = [script = script_](const strategies::ModelOptions& learner) {
      return absl::StatusOr<std::unique_ptr<strategies::Learner>>(
          std::make_unique<FakeLearner>(learner, script));
    };
    options.on_serving = [this](const std::string& model, bool serving) {
      base::MutexLock lock(&serving_mutex_);
      if (serving) {
        serving_.insert(model);
      } else {
        serving_.erase(model);
      }
      serving_changed_.NotifyAll();
    };
    host_ = MakeModelHost(std::move(options), &store_);
    ASSERT_TRUE(host_->Start().ok());
  }

  absl::Status Create(const std::string& name) {
    v1::CreateModelRequest request;
    request.set_name(name);
    *request.mutable_spec() = MakeSpec();
    return host_->Create(request).status();
  }

  absl::StatusOr<v1::Model> CreateFrom(const std::string& name, const std::string& weights,
                                       v1::PretrainedWeights::Scope scope) {
    v1::CreateModelRequest request;
    request.set_name(name);
    *request.mutable_spec() = MakeSpec();
    request.mutable_weights()->set_safetensors(weights);
    request.mutable_weights()->set_scope(scope);
    return host_->Create(request);
  }

  void AwaitServing(const std::string& model) {
    base::MutexLock lock(&serving_mutex_);
    while (serving_.count(model) == 0) serving_changed_.Wait(&serving_mutex_);
  }

  absl::StatusOr<Accepted> Send(const std::string& model, v1::LearnMessage message) {
    Blocking<Accepted> accepted;
    (*host_->Find(model))->Learn("p", 0, std::move(message), accepted.Callback());
    return accepted.Wait();
  }

  absl::StatusOr<v1::WaitAppliedResponse> Applied(const std::string& model,
                                                  absl::Duration patience) {
    Blocking<v1::WaitAppliedResponse> applied;
    (*host_->Find(model))
        ->WaitApplied(0, true, SystemClock()->Monotonic() + patience, applied.Callback());
    return applied.Wait();
  }

  FakeStore store_;
  std::shared_ptr<FakeLearnerScript> script_ = std::make_shared<FakeLearnerScript>();
  base::Mutex serving_mutex_;
  base::CondVar serving_changed_;
  std::set<std::string> serving_ ABSL_GUARDED_BY(serving_mutex_);
  std::unique_ptr<ModelHost> host_;
};

TEST_F(HostTest, AModelLearnsFromTheMomentItIsCreated) {
  ASSERT_TRUE(Create("a").ok());
  AwaitServing("a");
  EXPECT_EQ((*host_->Find("a"))->Live().version(), 0);
  ASSERT_TRUE(Send("a", MakeMessage(1, {MakeExample(1), MakeHeldOut(2), MakeExample(2)})).ok());
  ASSERT_TRUE(Send("a", MakeBoundary(2)).ok());
  const auto applied = Applied("a", absl::Minutes(1));
  ASSERT_TRUE(applied.ok()) << applied.status();
  EXPECT_EQ(applied->applied_sequence(), 4);
  EXPECT_EQ((*host_->Find("a"))->Report().rows_size(), 1);
}

TEST_F(HostTest, NamesAreCheckedUniqueAndLimited) {
  EXPECT_TRUE(absl::IsInvalidArgument(Create("../a")));
  EXPECT_TRUE(absl::IsInvalidArgument(Create("")));
  EXPECT_TRUE(Create("a").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Create("a")));
  for (int i = 1; i < 20; ++i) EXPECT_TRUE(Create(absl::StrCat("m", i)).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(Create("one-too-many")));
  EXPECT_EQ(host_->List().size(), 20);
  const absl::Status unknown = host_->Find("nobody").status();
  EXPECT_TRUE(absl::IsNotFound(unknown));
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("\"nobody\""));
}

TEST_F(HostTest, AModelSaysWhichWeightsItWasMadeFrom) {
  const auto made = CreateFrom("a", "weights", v1::PretrainedWeights::SCOPE_UNSPECIFIED);
  ASSERT_TRUE(made.ok()) << made.status();
  const v1::WeightsOrigin& origin = made->spec().weights();
  EXPECT_EQ(origin.scope(), v1::PretrainedWeights::TRUNK);
  EXPECT_EQ(origin.bytes(), 7);
  EXPECT_EQ(origin.sha256(), storage::Sha256Hex("weights"));
  EXPECT_EQ(*store_.catalog().LoadWeights((*store_.catalog().List())[0].uid), "weights");
  v1::CreateModelRequest copy;
  copy.set_name("b");
  *copy.mutable_spec() = made->spec();
  const absl::Status refused = host_->Create(copy).status();
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_THAT(std::string(refused.message()),
              HasSubstr("spec.weights: is filled in by the server"));
}

TEST_F(HostTest, RefusedWeightsLeaveNoModel) {
  const auto strict = v1::PretrainedWeights::STRICT;
  const absl::Status hostile = CreateFrom("a", "hostile", strict).status();
  EXPECT_TRUE(absl::IsInvalidArgument(hostile));
  EXPECT_EQ(hostile.message(), "weights: hostile");
  const absl::Status large = CreateFrom("a", std::string(101, 'w'), strict).status();
  EXPECT_TRUE(absl::IsResourceExhausted(large));
  EXPECT_THAT(std::string(large.message()), HasSubstr("101 bytes exceed the limit of 100"));
  EXPECT_TRUE(store_.catalog().List()->empty());
  ASSERT_TRUE(CreateFrom("a", "weights", strict).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(CreateFrom("a", "hostile", strict).status()));
}

TEST_F(HostTest, CandidatesMustTakeTheWeightsOfTheModel) {
  v1::CreateModelRequest request;
  request.set_name("a");
  *request.mutable_spec() = MakeSpec();
  request.mutable_spec()->mutable_mlp()->add_hidden(32);
  request.mutable_weights()->set_safetensors("wide");
  v1::Tune* tune = request.mutable_spec()->mutable_tune();
  tune->set_tasks(1);
  tune->add_candidates()->mutable_spec()->mutable_optimizer()->set_learning_rate(0.1);
  v1::Tune::Candidate* narrow = tune->add_candidates();
  narrow->set_name("narrow");
  narrow->mutable_spec()->mutable_mlp()->add_hidden(16);
  const absl::Status refused = host_->Create(request).status();
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_EQ(refused.message(),
            "spec.tune.candidates[1]: \"narrow\" begins with the model's weights, which do not fit "
            "it: 32 units, not 16; or let the candidate keep the model's layers and strategies");
  EXPECT_TRUE(store_.catalog().List()->empty());
  narrow->mutable_spec()->clear_network();
  narrow->mutable_spec()->set_label_smoothing(0.1);
  EXPECT_TRUE(host_->Create(request).ok());
}

TEST_F(HostTest, ADeletedModelIsGoneAndItsNameFree) {
  ASSERT_TRUE(Create("a").ok());
  ASSERT_TRUE(Send("a", MakeMessage(1, {MakeExample(1)})).ok());
  const auto held = *host_->Find("a");
  ASSERT_TRUE(host_->Delete("a").ok());
  EXPECT_TRUE(absl::IsNotFound(host_->Find("a").status()));
  EXPECT_TRUE(absl::IsNotFound(host_->Delete("a")));
  Blocking<Accepted> late;
  held->Learn("p", 0, MakeMessage(2, {MakeExample(1)}), late.Callback());
  EXPECT_TRUE(absl::IsNotFound(late.Wait().status()));
  ASSERT_TRUE(Create("a").ok());
  EXPECT_EQ((*host_->Find("a"))->DurableSequence(), 0);
  host_->Drain(absl::Minutes(1));
  EXPECT_TRUE(store_.catalog().Orphans()->empty());
}

TEST_F(HostTest, ADrainTrainsWhatIsDurableTakesACheckpointAndRefusesTheRest) {
  ASSERT_TRUE(Create("a").ok());
  for (int i = 1; i <= 50; ++i) {
    ASSERT_TRUE(Send("a", MakeMessage(i, std::vector<v1::Example>(30, MakeExample(1)))).ok());
  }
  host_->Drain(absl::Minutes(1));
  const auto model = *host_->Find("a");
  EXPECT_EQ(model->Live().version(), 1500);
  EXPECT_EQ((*model->ListCheckpoints())[0].applied_sequence(), 1500);
  const absl::Status refused = Send("a", MakeMessage(51, {MakeExample(1)})).status();
  EXPECT_TRUE(absl::IsUnavailable(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("shutting down, retry elsewhere"));
  EXPECT_TRUE(absl::IsUnavailable(Create("b")));
}

TEST_F(HostTest, StoredModelsServeAgainAfterARestart) {
  ASSERT_TRUE(Create("a").ok());
  ASSERT_TRUE(host_->SetPaused("a", true)->paused());
  ASSERT_TRUE(Create("b").ok());
  ASSERT_TRUE(Send("b", MakeMessage(1, std::vector<v1::Example>(6, MakeExample(1)))).ok());
  ASSERT_TRUE(Applied("b", absl::Minutes(1)).ok());
  host_.reset();
  {
    base::MutexLock lock(&serving_mutex_);
    serving_.clear();
  }
  Start();
  AwaitServing("a");
  AwaitServing("b");
  EXPECT_TRUE((*host_->Find("a"))->Describe().paused());
  EXPECT_EQ((*host_->Find("b"))->Live().version(), 6);
  EXPECT_TRUE((*Send("b", MakeMessage(1, std::vector<v1::Example>(6, MakeExample(1))))).duplicate);
}

TEST_F(HostTest, AWaitEndsAtItsDeadline) {
  ASSERT_TRUE(Create("a").ok());
  ASSERT_TRUE(Send("a", MakeMessage(1, {MakeExample(1)})).ok());  // waits for its batch
  const auto applied = Applied("a", absl::Milliseconds(5));
  EXPECT_TRUE(absl::IsDeadlineExceeded(applied.status()));
  EXPECT_THAT(std::string(applied.status().message()), HasSubstr("applied_through=0 < 1"));
}

TEST_F(HostTest, ProducersLearnersAndReadersMeetWithoutARace) {
  constexpr int kModels = 3;
  constexpr int kMessages = 60;
  for (int m = 0; m < kModels; ++m) ASSERT_TRUE(Create(absl::StrCat("m", m)).ok());
  std::atomic<bool> done{false};
  std::vector<std::thread> threads;
  for (int m = 0; m < kModels; ++m) {
    threads.emplace_back([this, m] {
      const std::string name = absl::StrCat("m", m);
      for (int i = 1; i <= kMessages; ++i) {
        auto message = i % 20 == 0 ? MakeBoundary(i)
                                   : MakeMessage(i, {MakeExample(i % 5), MakeHeldOut(i % 5),
                                                     MakeExample(i % 3)});
        EXPECT_TRUE(Send(name, std::move(message)).ok());
        if (i % 25 != 0) continue;
        Blocking<v1::Checkpoint> checkpoint;
        (*host_->Find(name))->CreateCheckpoint({}, checkpoint.Callback());
        const auto made = checkpoint.Wait();
        ASSERT_TRUE(made.ok()) << made.status();
        v1::RollbackRequest request;
        request.set_checkpoint(made->id());
        Blocking<v1::RollbackResponse> rolled_back;
        (*host_->Find(name))->Rollback(request, rolled_back.Callback());
        EXPECT_TRUE(rolled_back.Wait().ok());
      }
    });
  }
  threads.emplace_back([this, &done] {
    std::vector<float> scores;
    while (!done) {
      for (const auto& model : host_->List()) {
        const Served live = model->Live();
        EXPECT_TRUE(live.snapshot->Predict({10.0f, 1.0f}, 1, {}, &scores).ok());
        EXPECT_LE(live.version(), model->DurableSequence());
        EXPECT_EQ(model->Report().model(), model->name());
        EXPECT_EQ(model->Describe().name(), model->name());
      }
    }
  });
  for (int m = 0; m < kModels; ++m) threads[m].join();
  done = true;
  threads.back().join();
  host_->Drain(absl::Minutes(1));
  for (const auto& model : host_->List()) {
    EXPECT_EQ(model->statistics().rejected_examples, 0);
    EXPECT_EQ(model->Report().pending_evaluations(), 0);
    EXPECT_EQ(model->Report().rollbacks_size(), 2);
  }
}

TEST(StrandsTest, ShareTurnsByTheWorkTheyDid) {
  FakeClock clock;
  Strands strands(&clock);
  std::vector<int> order;
  auto strand = [&](int id, int64_t examples) {
    return [&order, id, examples] {
      order.push_back(id);
      Turn turn;
      turn.examples = examples;
      turn.more = true;
      return turn;
    };
  };
  strands.Add(1, strand(1, 300));
  strands.Add(2, strand(2, 100));
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(strands.RunOne());
  EXPECT_THAT(order, ElementsAre(1, 2, 2, 2, 1, 2, 2, 2));
}

TEST(StrandsTest, AnIdleStrandRunsWhenWokenOrWhenItsTimeHasCome) {
  FakeClock clock;
  Strands strands(&clock);
  int turns = 0;
  strands.Add(1, [&] {
    ++turns;
    Turn turn;
    turn.wake_in = absl::Milliseconds(50);
    return turn;
  });
  EXPECT_TRUE(strands.RunOne());
  EXPECT_FALSE(strands.RunOne());
  strands.Wake(1);
  EXPECT_TRUE(strands.RunOne());
  clock.Advance(absl::Milliseconds(50));
  EXPECT_TRUE(strands.RunOne());
  EXPECT_EQ(turns, 3);
  strands.Remove(1);
  strands.Wake(1);
  EXPECT_FALSE(strands.RunOne());
}

TEST(StrandsTest, OneThatWasIdleDoesNotMakeUpForIt) {
  FakeClock clock;
  Strands strands(&clock);
  std::vector<int> order;
  auto strand = [&](int id, bool more) {
    return [&order, id, more] {
      order.push_back(id);
      Turn turn;
      turn.examples = 100;
      turn.more = more;
      return turn;
    };
  };
  strands.Add(1, strand(1, true));
  strands.Add(2, strand(2, false));
  for (int i = 0; i < 10; ++i) strands.RunOne();
  order.clear();
  strands.Wake(2);
  strands.RunOne();
  strands.Wake(2);
  strands.RunOne();
  strands.Wake(2);
  strands.RunOne();
  EXPECT_LE(std::count(order.begin(), order.end(), 2), 2);
}

}  // namespace
}  // namespace engram::server
