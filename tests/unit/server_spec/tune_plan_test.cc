// What a tune may try, and how a request becomes whole candidates.
#include "server/tune_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "google/protobuf/util/message_differencer.h"
#include "server/spec_options.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::ModelSpec Base() {
  v1::ModelSpec spec;
  spec.set_feature_count(20);
  spec.mutable_optimizer()->set_learning_rate(0.05);
  spec.add_strategies()->mutable_experience_replay()->set_memory_size(50);
  spec.add_strategies()->mutable_ewc()->set_lambda(3);
  spec.mutable_tune()->set_tasks(3);
  return spec;
}

v1::Tune::Axis* AddAxis(const std::string& parameter, const std::vector<double>& values,
                        v1::ModelSpec* spec) {
  v1::Tune::Axis* axis = spec->mutable_tune()->add_grid();
  axis->set_parameter(parameter);
  for (const double value : values) axis->add_values(value);
  return axis;
}

std::string Refusal(const std::function<void(v1::ModelSpec*)>& change) {
  v1::ModelSpec spec = Base();
  change(&spec);
  const absl::Status status = CompleteSpec(spec).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  return std::string(status.message());
}

TEST(TunePlanTest, AFragmentChangesWhatItNames) {
  v1::ModelSpec spec = Base();
  v1::ModelSpec* first = spec.mutable_tune()->add_candidates()->mutable_spec();
  first->mutable_optimizer()->set_learning_rate(1.5);
  first->add_strategies()->mutable_ewc()->set_lambda(30);
  v1::Tune::Candidate* second = spec.mutable_tune()->add_candidates();
  second->set_name("wide adam");
  second->mutable_spec()->mutable_optimizer()->mutable_adam();
  second->mutable_spec()->mutable_mlp()->add_hidden(64);
  second->mutable_spec()->add_strategies()->mutable_lwf();
  const auto complete = CompleteSpec(spec);
  ASSERT_TRUE(complete.ok()) << complete.status();
  const v1::Tune& tune = complete->tune();
  EXPECT_EQ(tune.candidates(0).name(), "candidate-1");
  const v1::ModelSpec& a = tune.candidates(0).spec();
  EXPECT_EQ(a.optimizer().learning_rate(), 1.5);
  EXPECT_EQ(a.strategies(0).experience_replay().memory_size(), 50);
  EXPECT_EQ(a.strategies(1).ewc().lambda(), 30);
  EXPECT_EQ(a.feature_count(), 20);
  EXPECT_FALSE(a.has_tune());
  const v1::ModelSpec& b = tune.candidates(1).spec();
  EXPECT_EQ(tune.candidates(1).name(), "wide adam");
  EXPECT_TRUE(b.optimizer().has_adam());
  EXPECT_EQ(b.optimizer().adam().beta2(), 0.999);
  EXPECT_EQ(b.optimizer().learning_rate(), 0.05);
  EXPECT_THAT(b.mlp().hidden(), ElementsAre(64));
  ASSERT_EQ(b.strategies_size(), 3);
  EXPECT_TRUE(b.strategies(2).has_lwf());
}

TEST(TunePlanTest, AWholeCandidateTakesNothingFromTheModel) {
  v1::ModelSpec spec = Base();
  v1::ModelSpec whole = Base();
  whole.clear_tune();
  whole.clear_strategies();
  whole.clear_optimizer();
  whole.add_strategies()->mutable_a_gem();
  v1::Tune::Candidate* candidate = spec.mutable_tune()->add_candidates();
  *candidate->mutable_spec() = whole;
  candidate->set_whole(true);
  const auto complete = CompleteSpec(spec);
  ASSERT_TRUE(complete.ok()) << complete.status();
  ASSERT_EQ(complete->tune().candidates(0).spec().strategies_size(), 1);
  EXPECT_TRUE(complete->tune().candidates(0).spec().strategies(0).has_a_gem());
}

TEST(TunePlanTest, TheGridIsEveryCombinationTheLastAxisFastest) {
  v1::ModelSpec spec = Base();
  AddAxis("learning_rate", {0.01, 0.3}, &spec);
  AddAxis("ewc.lambda", {1, 10, 100}, &spec);
  AddAxis("experience_replay.replay_batch_size", {20}, &spec);
  const auto complete = CompleteSpec(spec);
  ASSERT_TRUE(complete.ok()) << complete.status();
  const v1::Tune& tune = complete->tune();
  EXPECT_EQ(tune.grid_size(), 0);
  ASSERT_EQ(tune.candidates_size(), 6);
  EXPECT_EQ(tune.candidates(1).name(),
            "learning_rate=0.01,ewc.lambda=10,experience_replay.replay_batch_size=20");
  EXPECT_EQ(tune.candidates(1).spec().optimizer().learning_rate(), 0.01);
  EXPECT_EQ(tune.candidates(1).spec().strategies(1).ewc().lambda(), 10);
  EXPECT_EQ(tune.candidates(1).spec().strategies(0).experience_replay().replay_batch_size(), 20);
  EXPECT_EQ(tune.candidates(5).spec().optimizer().learning_rate(), 0.3);
  EXPECT_EQ(tune.candidates(5).spec().strategies(1).ewc().lambda(), 100);
}

TEST(TunePlanTest, TheGridReachesIntoTheOptimizer) {
  v1::ModelSpec spec = Base();
  AddAxis("optimizer.sgd.momentum", {0.9}, &spec);
  AddAxis("optimizer.schedule.warm_up_steps", {100}, &spec);
  AddAxis("ema_decay", {0.99}, &spec);
  const auto complete = CompleteSpec(spec);
  ASSERT_TRUE(complete.ok()) << complete.status();
  const v1::ModelSpec& candidate = complete->tune().candidates(0).spec();
  EXPECT_EQ(candidate.optimizer().sgd().momentum(), 0.9);
  EXPECT_EQ(candidate.optimizer().schedule().warm_up_steps(), 100);
  EXPECT_EQ(candidate.ema_decay(), 0.99);
}

TEST(TunePlanTest, AugmentationAndThePenaltyScheduleMayBeTried) {
  v1::ModelSpec spec = Base();
  spec.set_feature_count(16);
  AddAxis("augmentation.noise", {0.1, 0.2}, &spec);
  AddAxis("penalty_schedule.decay", {0.25}, &spec);
  v1::ModelSpec* change = spec.mutable_tune()->add_candidates()->mutable_spec();
  change->mutable_augmentation()->set_mixup_alpha(0.4);
  change->mutable_penalty_schedule()->set_kind(v1::PenaltySchedule::TASKS);
  const auto complete = CompleteSpec(spec);
  ASSERT_TRUE(complete.ok()) << complete.status();
  const v1::Tune& tune = complete->tune();
  ASSERT_EQ(tune.candidates_size(), 3);
  EXPECT_EQ(tune.candidates(0).spec().augmentation().mixup_alpha(), 0.4);
  EXPECT_EQ(tune.candidates(0).spec().penalty_schedule().kind(), v1::PenaltySchedule::TASKS);
  EXPECT_EQ(tune.candidates(2).spec().augmentation().noise(), 0.2);
  EXPECT_EQ(tune.candidates(2).spec().penalty_schedule().decay(), 0.25);
  EXPECT_FALSE(complete->has_augmentation());
}

TEST(TunePlanTest, ACompletedTuneCompletesToItselfAlsoAfterTheModelHasChanged) {
  v1::ModelSpec spec = Base();
  AddAxis("learning_rate", {0.01, 0.3}, &spec);
  spec.mutable_tune()->add_candidates()->mutable_spec()->mutable_optimizer()->set_clip_norm(2);
  const auto once = CompleteSpec(spec);
  ASSERT_TRUE(once.ok()) << once.status();
  v1::ModelSpec changed = *once;
  changed.mutable_optimizer()->set_clip_norm(5);
  changed.mutable_optimizer()->set_learning_rate(0.2);
  const auto twice = CompleteSpec(changed);
  ASSERT_TRUE(twice.ok()) << twice.status();
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(once->tune(), twice->tune()));
}

TEST(TunePlanTest, RefusesWhatCannotBeTried) {
  const auto one = [](v1::ModelSpec* s) { return s->mutable_tune()->add_candidates(); };
  EXPECT_THAT(Refusal([](v1::ModelSpec*) {}), HasSubstr("expected 1 to 16"));
  EXPECT_THAT(Refusal([&](v1::ModelSpec* s) { one(s), s->mutable_tune()->set_tasks(0); }),
              HasSubstr("tasks or examples must say when"));
  EXPECT_THAT(Refusal([&](v1::ModelSpec* s) { one(s), s->mutable_tune()->set_examples(-1); }),
              HasSubstr("spec.tune.examples"));
  EXPECT_THAT(Refusal([&](v1::ModelSpec* s) { one(s)->mutable_spec()->set_batch_size(20); }),
              HasSubstr("a candidate cannot change batch_size: 20"));
  EXPECT_THAT(
      Refusal([&](v1::ModelSpec* s) { one(s)->mutable_spec()->set_max_sender_share(0.5); }),
      HasSubstr("a candidate cannot change max_sender_share: 0.5"));
  EXPECT_THAT(Refusal([&](v1::ModelSpec* s) {
                v1::ModelSpec other = *s;
                other.clear_tune();
                other.set_seed(9);
                *one(s)->mutable_spec() = other;
                s->mutable_tune()->mutable_candidates(0)->set_whole(true);
              }),
              HasSubstr("a candidate cannot change"));
  EXPECT_THAT(Refusal([&](v1::ModelSpec* s) {
                one(s)->mutable_spec()->mutable_optimizer()->set_learning_rate(-1);
              }),
              HasSubstr("spec.tune.candidates[0]: spec.optimizer.learning_rate"));
  EXPECT_THAT(Refusal([&](v1::ModelSpec* s) { one(s)->set_name("own"); }), HasSubstr("is taken"));
  EXPECT_THAT(Refusal([&](v1::ModelSpec* s) { one(s)->set_name("a\nb"); }),
              HasSubstr("printable"));
  EXPECT_THAT(Refusal([](v1::ModelSpec* s) { AddAxis("mas.lambda", {1}, s); }),
              HasSubstr("the model has no strategy mas"));
  EXPECT_THAT(Refusal([](v1::ModelSpec* s) { AddAxis("ewc.lambada", {1}, s); }),
              HasSubstr("no number \"ewc.lambada\""));
  EXPECT_THAT(Refusal([](v1::ModelSpec* s) { AddAxis("optimizer.adam.beta1", {0.8}, s); }),
              HasSubstr("no number")) << "SGD is in use";
  EXPECT_THAT(Refusal([](v1::ModelSpec* s) { AddAxis("ewc.fisher_examples", {1.5}, s); }),
              HasSubstr("cannot be 1.5"));
  EXPECT_THAT(Refusal([](v1::ModelSpec* s) { AddAxis("ewc.fisher", {1}, s); }),
              HasSubstr("is no number"));
  EXPECT_THAT(Refusal([](v1::ModelSpec* s) { AddAxis("learning_rate", {}, s); }),
              HasSubstr("an axis needs values"));
  EXPECT_THAT(Refusal([](v1::ModelSpec* s) {
                AddAxis("learning_rate", std::vector<double>(17, 0.1), s);
              }),
              HasSubstr("at most 16 combinations"));
}

TEST(TunePlanTest, CandidatesMustFitInMemoryTogether) {
  v1::ModelSpec spec = Base();
  spec.mutable_strategies(0)->mutable_experience_replay()->set_memory_size(10'000'000);
  AddAxis("learning_rate", {0.1, 0.2, 0.3, 0.4, 0.5, 0.6}, &spec);
  const absl::Status status = CompleteSpec(spec).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("MiB of memory together"));
  spec.mutable_tune()->mutable_grid(0)->mutable_values()->Truncate(5);
  EXPECT_TRUE(CompleteSpec(spec).ok());
}

TEST(TunePlanTest, TasksAreInterleavedOnlyWhereEveryCandidateAllowsIt) {
  v1::ModelSpec spec;
  spec.set_feature_count(20);
  EXPECT_TRUE(InterleavedTasks(*CompleteSpec(spec)));
  spec.mutable_tune()->set_tasks(1);
  spec.mutable_tune()->add_candidates()->mutable_spec()->mutable_optimizer()->set_learning_rate(1);
  EXPECT_TRUE(InterleavedTasks(*CompleteSpec(spec)));
  spec.mutable_tune()->add_candidates()->mutable_spec()->add_strategies()->mutable_ewc();
  EXPECT_FALSE(InterleavedTasks(*CompleteSpec(spec)));
  EXPECT_EQ(CompleteSpec(spec)->tune().candidates(1).spec().strategies_size(), 1)
      << "finetune gives way";
}

}  // namespace
}  // namespace engram::server
