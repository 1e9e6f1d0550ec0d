#include "server/spec_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "google/protobuf/util/message_differencer.h"
#include "strategies/api/learner.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::ModelSpec Minimal() {
  v1::ModelSpec spec;
  spec.set_feature_count(784);
  return spec;
}

absl::Status Refusal(const std::function<void(v1::ModelSpec*)>& change) {
  v1::ModelSpec spec = Minimal();
  change(&spec);
  return CompleteSpec(spec).status();
}

TEST(SpecOptionsTest, TheDefaultsAreThoseOfTheSurface) {
  const auto spec = CompleteSpec(Minimal());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_THAT(spec->mlp().hidden(), ElementsAre(256, 256));
  EXPECT_EQ(spec->optimizer().learning_rate(), 0.05);
  EXPECT_TRUE(spec->optimizer().has_sgd());
  EXPECT_EQ(spec->batch_size(), 10);
  EXPECT_EQ(spec->max_batch_wait_ms(), 50);
  EXPECT_EQ(spec->max_abs_feature(), 1e6);
  EXPECT_EQ(spec->max_classes(), 10000);
  EXPECT_EQ(spec->held_out_fraction(), 0.02);
  EXPECT_EQ(spec->held_out_max_per_task(), 500);
  EXPECT_EQ(spec->evaluate_every_examples(), 10000);
  EXPECT_EQ(spec->publish_every_steps(), 32);
  EXPECT_EQ(spec->publish_every_ms(), 100);
  EXPECT_EQ(spec->checkpoint_every_examples(), 100000);
  EXPECT_EQ(spec->keep_automatic_checkpoints(), 5);
  EXPECT_EQ(spec->first_task(), "task-1");
  ASSERT_EQ(spec->strategies_size(), 1);
  EXPECT_TRUE(spec->strategies(0).has_finetune());
}

TEST(SpecOptionsTest, ACompletedSpecCompletesToItself) {
  v1::ModelSpec spec = Minimal();
  spec.add_strategies()->mutable_experience_replay();
  spec.add_strategies()->mutable_online_ewc();
  spec.mutable_optimizer()->mutable_adamw();
  const auto once = CompleteSpec(spec);
  ASSERT_TRUE(once.ok()) << once.status();
  const auto twice = CompleteSpec(*once);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(*once, *twice));
  EXPECT_EQ(once->strategies(0).experience_replay().memory_size(), 1000);
  EXPECT_TRUE(once->strategies(1).online_ewc().has_lambda());
  EXPECT_EQ(once->optimizer().adamw().beta2(), 0.999);
}

TEST(SpecOptionsTest, ExplicitZerosAreKept) {
  v1::ModelSpec spec = Minimal();
  spec.set_max_batch_wait_ms(0);
  spec.set_held_out_fraction(0);
  spec.set_evaluate_every_examples(0);
  spec.mutable_mlp();
  const auto complete = CompleteSpec(spec);
  ASSERT_TRUE(complete.ok());
  EXPECT_EQ(complete->max_batch_wait_ms(), 0);
  EXPECT_EQ(complete->held_out_fraction(), 0);
  EXPECT_EQ(complete->evaluate_every_examples(), 0);
  EXPECT_EQ(complete->mlp().hidden_size(), 0);  // logistic regression
}

TEST(SpecOptionsTest, ASendersShareStaysWhatItWasAndAllIsNoCap) {
  v1::ModelSpec spec = Minimal();
  spec.set_max_sender_share(1);
  const auto open = CompleteSpec(spec);
  ASSERT_TRUE(open.ok()) << open.status();
  EXPECT_FALSE(open->has_max_sender_share());
  EXPECT_EQ(ToModelOptions(*open).max_sender_share, 1);
  spec.set_max_sender_share(0.2);
  const auto capped = CompleteSpec(spec);
  ASSERT_TRUE(capped.ok()) << capped.status();
  EXPECT_EQ(ToModelOptions(*capped).max_sender_share, 0.2);
  EXPECT_THAT(std::string(CheckLiveChange(*capped, *open).message()),
              HasSubstr("spec.max_sender_share: cannot change on a live model"));
}

TEST(SpecOptionsTest, CapsOnStepsAndBoundariesHaveTheirRanges) {
  for (const double norm : {-1.0, 2e9, static_cast<double>(NAN)}) {
    EXPECT_THAT(std::string(Refusal([norm](v1::ModelSpec* s) {
                              s->set_max_update_norm(norm);
                            }).message()),
                HasSubstr("spec.max_update_norm: must be in [0, 1e+09], got"));
  }
  EXPECT_THAT(std::string(Refusal([](v1::ModelSpec* s) {
                            s->set_max_update_norm(1);
                            s->add_strategies()->mutable_slda();
                          }).message()),
              HasSubstr("spec.max_update_norm: strategy slda does not learn by updates"));
  for (const int64_t count : {-1, 1000001}) {
    EXPECT_THAT(std::string(Refusal([count](v1::ModelSpec* s) {
                              s->set_min_task_examples(count);
                            }).message()),
                HasSubstr("spec.min_task_examples"));
  }
}

TEST(SpecOptionsTest, CapsOnStepsAndBoundariesStayWhatTheyWere) {
  v1::ModelSpec spec = Minimal();
  spec.set_min_task_examples(1);
  const auto open = CompleteSpec(spec);
  ASSERT_TRUE(open.ok()) << open.status();
  EXPECT_EQ(open->min_task_examples(), 0) << "as in a model from before the field";
  EXPECT_EQ(ToModelOptions(*open).max_update_norm, 0);
  spec.set_max_update_norm(0.5);
  const auto capped = CompleteSpec(spec);
  ASSERT_TRUE(capped.ok()) << capped.status();
  EXPECT_EQ(ToModelOptions(*capped).max_update_norm, 0.5);
  EXPECT_THAT(std::string(CheckLiveChange(*capped, *open).message()),
              HasSubstr("spec.max_update_norm: cannot change on a live model"));
  spec.set_max_update_norm(0);
  spec.set_min_task_examples(1000000);
  const auto rare = CompleteSpec(spec);
  ASSERT_TRUE(rare.ok()) << rare.status();
  EXPECT_THAT(std::string(CheckLiveChange(*open, *rare).message()),
              HasSubstr("cannot change on a running model: added: min_task_examples: 1000000"));
}

TEST(SpecOptionsTest, StrategiesBecomeTheirRegistryNamesAndParameters) {
  v1::ModelSpec spec = Minimal();
  auto* replay = spec.add_strategies()->mutable_experience_replay();
  replay->set_memory_size(50);
  replay->set_policy(v1::ExperienceReplay::CLASS_BALANCED);
  spec.add_strategies()->mutable_ewc()->set_lambda(3);
  const auto complete = CompleteSpec(spec);
  ASSERT_TRUE(complete.ok()) << complete.status();
  const strategies::ModelOptions options = ToModelOptions(*complete);
  ASSERT_EQ(options.strategies.size(), 2);
  EXPECT_EQ(options.strategies[0].name, "experience_replay");
  EXPECT_EQ(absl::get<int64_t>(options.strategies[0].parameters.at("memory_size")), 50);
  EXPECT_EQ(absl::get<std::string>(options.strategies[0].parameters.at("policy")),
            "class_balanced");
  EXPECT_EQ(options.strategies[1].name, "ewc");
  EXPECT_EQ(absl::get<double>(options.strategies[1].parameters.at("lambda")), 3);
  EXPECT_EQ(absl::get<std::string>(options.strategies[1].parameters.at("fisher")), "exact");
  EXPECT_TRUE(strategies::MakeLearner(options).ok());
}

TEST(SpecOptionsTest, EveryStrategyOfTheWireIsInTheRegistryAndTheOtherWayRound) {
  const auto* kinds = v1::StrategySpec::descriptor()->FindOneofByName("kind");
  std::vector<std::string> wire;
  for (int i = 0; i < kinds->field_count(); ++i) {
    const auto* field = kinds->field(i);
    wire.push_back(field->name());
    for (const auto& help : strategies::ListStrategies()) {
      if (help.name != field->name()) continue;
      std::vector<std::string> documented, typed;
      for (const auto& parameter : help.parameters) documented.push_back(parameter.name);
      for (int j = 0; j < field->message_type()->field_count(); ++j) {
        typed.push_back(field->message_type()->field(j)->name());
      }
      EXPECT_THAT(typed, ::testing::UnorderedElementsAreArray(documented)) << help.name;
    }
  }
  std::vector<std::string> registry;
  for (const auto& help : strategies::ListStrategies()) registry.push_back(help.name);
  EXPECT_THAT(wire, ::testing::UnorderedElementsAreArray(registry));
}

TEST(SpecOptionsTest, HeadsTakeTheirClassesFromTheSpec) {
  v1::ModelSpec spec = Minimal();
  spec.mutable_head()->set_kind(v1::Head::FIXED);
  EXPECT_THAT(std::string(CompleteSpec(spec).status().message()),
              HasSubstr("spec.labels: required with a FIXED head"));
  for (int label : {0, 1, 2}) spec.add_labels()->set_number(label);
  const auto complete = CompleteSpec(spec);
  ASSERT_TRUE(complete.ok()) << complete.status();
  EXPECT_EQ(ToModelOptions(*complete).head.kind, strategies::HeadKind::kFixed);
  EXPECT_EQ(ToModelOptions(*complete).head.head_classes, 3);
  spec.mutable_head()->set_kind(v1::Head::PER_TASK);
  EXPECT_EQ(ToModelOptions(*CompleteSpec(spec)).head.kind, strategies::HeadKind::kPerTask);
}

TEST(SpecOptionsTest, RefusesWhatCannotBeNamingTheField) {
  const struct {
    const char* field;
    std::function<void(v1::ModelSpec*)> change;
  } cases[] = {
      {"spec.feature_count", [](v1::ModelSpec* s) { s->set_feature_count(0); }},
      {"spec.feature_count", [](v1::ModelSpec* s) { s->set_feature_count(65537); }},
      {"spec.batch_size", [](v1::ModelSpec* s) { s->set_batch_size(-1); }},
      {"spec.batch_size", [](v1::ModelSpec* s) { s->set_batch_size(1025); }},
      {"spec.max_classes", [](v1::ModelSpec* s) { s->set_max_classes(10001); }},
      {"spec.held_out_fraction", [](v1::ModelSpec* s) { s->set_held_out_fraction(NAN); }},
      {"spec.max_abs_feature", [](v1::ModelSpec* s) { s->set_max_abs_feature(INFINITY); }},
      {"spec.first_task", [](v1::ModelSpec* s) { s->set_first_task("../x"); }},
      {"spec.strategies[0]", [](v1::ModelSpec* s) { s->add_strategies(); }},
      {"spec.optimizer.learning_rate",
       [](v1::ModelSpec* s) { s->mutable_optimizer()->set_learning_rate(0); }},
      {"spec.optimizer.learning_rate",
       [](v1::ModelSpec* s) { s->mutable_optimizer()->set_learning_rate(NAN); }},
      {"spec.optimizer.clip_norm",
       [](v1::ModelSpec* s) { s->mutable_optimizer()->set_clip_norm(-1); }},
      {"spec.optimizer.schedule.period_steps",
       [](v1::ModelSpec* s) { s->mutable_optimizer()->mutable_schedule()->set_period_steps(0); }},
      {"spec.optimizer.schedule.kind",
       [](v1::ModelSpec* s) {
         s->mutable_optimizer()->mutable_schedule()->set_kind(static_cast<v1::Schedule::Kind>(9));
       }},
      {"spec.label_smoothing", [](v1::ModelSpec* s) { s->set_label_smoothing(1); }},
      {"spec.penalty_schedule.kind",
       [](v1::ModelSpec* s) {
         s->mutable_penalty_schedule()->set_kind(static_cast<v1::PenaltySchedule::Kind>(9));
       }},
      {"spec.penalty_schedule.period_steps",
       [](v1::ModelSpec* s) { s->mutable_penalty_schedule()->set_period_steps(0); }},
      {"spec.penalty_schedule.floor",
       [](v1::ModelSpec* s) { s->mutable_penalty_schedule()->set_floor(2); }},
      {"spec.augmentation.height",
       [](v1::ModelSpec* s) { s->mutable_augmentation()->set_flip_horizontal(true); }},
      {"spec.augmentation.channels",
       [](v1::ModelSpec* s) { s->mutable_augmentation()->set_channels(0); }},
      {"spec.ema_decay", [](v1::ModelSpec* s) { s->set_ema_decay(NAN); }},
      {"spec.max_sender_share: must be in (0, 1], got 0",
       [](v1::ModelSpec* s) { s->set_max_sender_share(0); }},
      {"spec.max_sender_share", [](v1::ModelSpec* s) { s->set_max_sender_share(1.1); }},
      {"spec.max_sender_share", [](v1::ModelSpec* s) { s->set_max_sender_share(NAN); }},
      {"spec.hidden", [](v1::ModelSpec* s) { s->mutable_mlp()->add_hidden(0); }},
      {"spec.labels[1]",
       [](v1::ModelSpec* s) {
         s->add_labels()->set_number(1);
         s->add_labels()->set_text("one");
       }},
      {"spec.labels[1]: given twice",
       [](v1::ModelSpec* s) {
         s->add_labels()->set_number(1);
         s->add_labels()->set_number(1);
       }},
      {"lambda", [](v1::ModelSpec* s) { s->add_strategies()->mutable_ewc()->set_lambda(-1); }},
      {"fisher",
       [](v1::ModelSpec* s) {
         s->add_strategies()->mutable_ewc()->set_fisher(static_cast<v1::FisherEstimator>(9));
       }},
  };
  for (const auto& each : cases) {
    const absl::Status status = Refusal(each.change);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << each.field << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(each.field));
    EXPECT_TRUE(status.GetPayload("type.googleapis.com/google.rpc.BadRequest")) << each.field;
  }
}

TEST(SpecOptionsTest, AGuardStaysAsItWasGiven) {
  v1::ModelSpec spec = Minimal();
  EXPECT_FALSE(CompleteSpec(spec)->has_guard());
  spec.mutable_guard()->set_canary_drop(0.05);
  const auto complete = CompleteSpec(spec);
  ASSERT_TRUE(complete.ok()) << complete.status();
  EXPECT_EQ(complete->guard().action(), v1::Guard::REPORT);
  EXPECT_EQ(complete->guard().max_rollbacks(), 3);
  v1::ModelSpec next = *complete;
  next.mutable_guard()->set_canary_drop(0.5);
  const absl::Status refused = CheckLiveChange(*complete, next);
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("guard.canary_drop"));
}

TEST(SpecOptionsTest, AGuardThatCannotBeIsRefused) {
  const struct {
    const char* message;
    std::function<void(v1::Guard*)> change;
  } cases[] = {
      {"spec.guard.canary_drop: must be in [0, 1], got 1.5",
       [](v1::Guard* guard) { guard->set_canary_drop(1.5); }},
      {"spec.guard.canary_drop: must be in [0, 1], got nan",
       [](v1::Guard* guard) { guard->set_canary_drop(NAN); }},
      {"spec.guard.canary_drop: must be above 0",
       [](v1::Guard* guard) { guard->set_action(v1::Guard::ROLLBACK); }},
      {"spec.guard.action: unknown value 9",
       [](v1::Guard* guard) { guard->set_action(static_cast<v1::Guard::Action>(9)); }},
      {"spec.guard.max_rollbacks: must be in [1, 100], got 101",
       [](v1::Guard* guard) { guard->set_max_rollbacks(101); }},
  };
  for (const auto& each : cases) {
    const absl::Status status =
        Refusal([&](v1::ModelSpec* spec) { each.change(spec->mutable_guard()); });
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << each.message << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(each.message));
  }
}

TEST(SpecOptionsTest, AQuarantineIsCompletedAndFixed) {
  v1::ModelSpec spec = Minimal();
  EXPECT_FALSE(CompleteSpec(spec)->has_quarantine());
  spec.mutable_quarantine()->set_min_label_score(0.01);
  const auto complete = CompleteSpec(spec);
  ASSERT_TRUE(complete.ok()) << complete.status();
  EXPECT_EQ(complete->quarantine().after_examples(), 200);
  EXPECT_EQ(complete->quarantine().max_share(), 0.2);
  v1::ModelSpec next = *complete;
  next.mutable_quarantine()->set_max_share(0.3);
  const absl::Status refused = CheckLiveChange(*complete, next);
  EXPECT_TRUE(absl::IsInvalidArgument(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("quarantine.max_share"));
}

TEST(SpecOptionsTest, AQuarantineOutOfRangeIsRefusedByName) {
  struct Case {
    const char* message;
    std::function<void(v1::Quarantine*)> change;
  };
  const std::vector<Case> cases = {
      {"spec.quarantine: min_label_score or max_deviation must be above 0",
       [](v1::Quarantine*) {}},
      {"spec.quarantine.min_label_score: must be in [0, 1), got 1",
       [](v1::Quarantine* quarantine) { quarantine->set_min_label_score(1); }},
      {"spec.quarantine.min_label_score: must be in [0, 1), got nan",
       [](v1::Quarantine* quarantine) { quarantine->set_min_label_score(NAN); }},
      {"spec.quarantine.max_deviation: must be finite and at least 0, got -1",
       [](v1::Quarantine* quarantine) { quarantine->set_max_deviation(-1); }},
      {"spec.quarantine.max_deviation: must be finite and at least 0, got inf",
       [](v1::Quarantine* quarantine) { quarantine->set_max_deviation(INFINITY); }},
      {"spec.quarantine.after_examples: must be in [1, 1e+06], got -1",
       [](v1::Quarantine* quarantine) {
         quarantine->set_max_deviation(5);
         quarantine->set_after_examples(-1);
       }},
      {"spec.quarantine.max_share: must be in (0, 1], got 1.5",
       [](v1::Quarantine* quarantine) {
         quarantine->set_max_deviation(5);
         quarantine->set_max_share(1.5);
       }},
  };
  for (const auto& each : cases) {
    const absl::Status status =
        Refusal([&](v1::ModelSpec* spec) { each.change(spec->mutable_quarantine()); });
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << each.message << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(each.message));
  }
}

TEST(SpecOptionsTest, AnAugmentationReachesTheLearnerAndMayChangeLive) {
  const v1::ModelSpec current = *CompleteSpec(Minimal());
  EXPECT_FALSE(current.has_augmentation());
  v1::ModelSpec next = current;
  v1::Augmentation* augmentation = next.mutable_augmentation();
  augmentation->set_height(28);
  augmentation->set_width(28);
  augmentation->set_flip_vertical(true);
  augmentation->set_crop_padding(4);
  augmentation->set_rotate_degrees(10);
  augmentation->set_scale(0.1);
  augmentation->set_noise(0.2);
  augmentation->set_mixup_alpha(0.3);
  augmentation->set_cutmix_alpha(0.4);
  const auto complete = CompleteSpec(next);
  ASSERT_TRUE(complete.ok()) << complete.status();
  EXPECT_EQ(complete->augmentation().channels(), 1);
  const strategies::AugmentationOptions options = ToModelOptions(*complete).augmentation;
  EXPECT_EQ(options.height * options.width * options.channels, 784);
  EXPECT_FALSE(options.flip_horizontal);
  EXPECT_TRUE(options.flip_vertical);
  EXPECT_EQ(options.crop_padding, 4);
  EXPECT_EQ(options.rotate_degrees, 10);
  EXPECT_EQ(options.scale, 0.1);
  EXPECT_EQ(options.noise, 0.2);
  EXPECT_EQ(options.mixup_alpha, 0.3);
  EXPECT_EQ(options.cutmix_alpha, 0.4);
  EXPECT_TRUE(CheckLiveChange(current, *complete).ok()) << CheckLiveChange(current, *complete);
  EXPECT_TRUE(CheckLiveChange(*complete, current).ok());
}

TEST(SpecOptionsTest, APenaltyScheduleReachesTheLearnerAndMayChangeLive) {
  const v1::ModelSpec current = *CompleteSpec(Minimal());
  EXPECT_FALSE(current.has_penalty_schedule());
  const std::pair<v1::PenaltySchedule::Kind, strategies::PenaltyScheduleKind> kinds[] = {
      {v1::PenaltySchedule::CONSTANT, strategies::PenaltyScheduleKind::kConstant},
      {v1::PenaltySchedule::TASKS, strategies::PenaltyScheduleKind::kTasks},
      {v1::PenaltySchedule::TASK_SHARE, strategies::PenaltyScheduleKind::kTaskShare},
      {v1::PenaltySchedule::CLASS_SHARE, strategies::PenaltyScheduleKind::kClassShare},
      {v1::PenaltySchedule::STEP_DECAY, strategies::PenaltyScheduleKind::kStepDecay},
      {v1::PenaltySchedule::TASK_DECAY, strategies::PenaltyScheduleKind::kTaskDecay},
  };
  for (const auto& [wire, kind] : kinds) {
    v1::ModelSpec next = current;
    next.mutable_penalty_schedule()->set_kind(wire);
    next.mutable_penalty_schedule()->set_warm_up_steps(7);
    next.mutable_penalty_schedule()->set_floor(0.25);
    const auto complete = CompleteSpec(next);
    ASSERT_TRUE(complete.ok()) << complete.status();
    EXPECT_EQ(complete->penalty_schedule().period_steps(), 1000);
    const strategies::PenaltyScheduleOptions options = ToModelOptions(*complete).penalty_schedule;
    EXPECT_EQ(options.kind, kind);
    EXPECT_EQ(options.decay, 0.5);
    EXPECT_EQ(options.floor, 0.25);
    EXPECT_EQ(options.warm_up_steps, 7);
    EXPECT_TRUE(CheckLiveChange(current, *complete).ok());
    EXPECT_TRUE(CheckLiveChange(*complete, current).ok());
  }
}

TEST(SpecOptionsTest, OnlyNumbersOfTheOptimizerAndLiveParametersMayChange) {
  v1::ModelSpec spec = Minimal();
  spec.add_strategies()->mutable_ewc();
  const v1::ModelSpec current = *CompleteSpec(spec);
  v1::ModelSpec next = current;
  next.mutable_optimizer()->set_learning_rate(0.01);
  next.mutable_optimizer()->set_clip_norm(5);
  next.mutable_optimizer()->mutable_schedule()->set_kind(v1::Schedule::COSINE);
  next.mutable_strategies(0)->mutable_ewc()->set_lambda(9);
  EXPECT_TRUE(CheckLiveChange(current, next).ok()) << CheckLiveChange(current, next);
  next.set_publish_every_ms(50);
  EXPECT_THAT(std::string(CheckLiveChange(current, next).message()),
              HasSubstr("publish_every_ms"));
  next = current;
  next.mutable_strategies(0)->mutable_online_ewc();
  EXPECT_TRUE(absl::IsInvalidArgument(CheckLiveChange(current, next)));
  next = current;
  next.set_feature_count(10);
  EXPECT_TRUE(absl::IsInvalidArgument(CheckLiveChange(current, next)));
}

}  // namespace
}  // namespace engram::server
