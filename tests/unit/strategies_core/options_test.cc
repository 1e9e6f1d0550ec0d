#include "strategies/api/options.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>

#include "strategies/core/parameters.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

using ::testing::HasSubstr;

struct Wrong {
  const char* field;
  std::function<void(ModelOptions*)> spoil;
};

TEST(OptionsTest, DefaultsOfAModelAreValid) {
  ModelOptions options;
  options.feature_count = 784;
  EXPECT_TRUE(ValidateOptions(options).ok());
  options.hidden.clear();
  EXPECT_TRUE(ValidateOptions(options).ok());
}

void ExpectRefusedByName(const std::vector<Wrong>& wrongs) {
  for (const Wrong& wrong : wrongs) {
    ModelOptions options = SmallModel(10);
    wrong.spoil(&options);
    const absl::Status status = ValidateOptions(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << wrong.field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(wrong.field));
  }
}

TEST(OptionsTest, NetworkAndHeadOutOfRangeAreRefusedByName) {
  ExpectRefusedByName({
      {"feature_count", [](ModelOptions* o) { o->feature_count = 0; }},
      {"feature_count", [](ModelOptions* o) { o->feature_count = 65537; }},
      {"hidden[1]",
       [](ModelOptions* o) {
         o->hidden = {4, 0};
       }},
      {"hidden[0]", [](ModelOptions* o) { o->hidden = {65537}; }},
      {"hidden", [](ModelOptions* o) { o->hidden.assign(17, 4); }},
      {"hidden",
       [](ModelOptions* o) {
         o->hidden = {65536, 65536};
       }},
      {"head.head_classes", [](ModelOptions* o) { o->head.kind = HeadKind::kFixed; }},
      {"head.max_classes", [](ModelOptions* o) { o->head.max_classes = 10001; }},
      {"head.max_classes", [](ModelOptions* o) { o->head.max_classes = 0; }},
      {"batch_size", [](ModelOptions* o) { o->batch_size = 0; }},
      {"batch_size", [](ModelOptions* o) { o->batch_size = 1025; }},
  });
}

TEST(OptionsTest, OptimizerOutOfRangeIsRefusedByName) {
  const double nan = std::nan("");
  const auto adam = [](OptimizerOptions optimizer) {
    return [optimizer](ModelOptions* o) {
      o->optimizer = optimizer;
      o->optimizer.kind = OptimizerKind::kAdamW;
    };
  };
  OptimizerOptions momentum, beta1, beta2, epsilon;
  momentum.momentum = 0.9;
  beta1.beta1 = 1;
  beta2.beta2 = nan;
  epsilon.epsilon = 0;
  ExpectRefusedByName({
      {"learning_rate", [](ModelOptions* o) { o->optimizer.learning_rate = 0; }},
      {"learning_rate", [](ModelOptions* o) { o->optimizer.learning_rate = -1; }},
      {"learning_rate", [nan](ModelOptions* o) { o->optimizer.learning_rate = nan; }},
      {"learning_rate", [](ModelOptions* o) { o->optimizer.learning_rate = 1e9; }},
      {"weight_decay", [](ModelOptions* o) { o->optimizer.weight_decay = -0.1; }},
      {"weight_decay",
       [](ModelOptions* o) {
         o->optimizer.learning_rate = 10;
         o->optimizer.weight_decay = 0.5;
       }},
      {"momentum", [](ModelOptions* o) { o->optimizer.momentum = 1; }},
      {"momentum", adam(momentum)},
      {"beta1", adam(beta1)},
      {"beta2", adam(beta2)},
      {"epsilon", adam(epsilon)},
  });
}

TEST(OptionsTest, StrategiesOutOfRangeAreRefusedByName) {
  const auto ewc = [](const char* name, ParameterValue value) {
    return [name, value](ModelOptions* o) { o->strategies = {{"ewc", {{name, value}}}}; };
  };
  const auto listed = [](std::vector<StrategySpec> specs) {
    return [specs](ModelOptions* o) { o->strategies = specs; };
  };
  ExpectRefusedByName({
      {"strategies[1]", listed({{"ewc", {}}, {"nope", {}}})},
      {"listed twice", listed({{"ewc", {}}, {"ewc", {}}})},
      {"memory_size", listed({{"experience_replay", {{"memory_size", int64_t{0}}}}})},
      {"ewc.lambda", ewc("lambda", -1.0)},
      {"ewc.lambda", ewc("lambda", std::nan(""))},
      {"ewc.lambda", ewc("lambda", std::string("big"))},
      {"ewc.fisher", ewc("fisher", std::string("best"))},
      {"ewc.fisher", ewc("fisher", 1.0)},
      {"ewc.fisher_examples", ewc("fisher_examples", 1.5)},
      {"ewc.speed", ewc("speed", 1.0)},
  });
}

TEST(OptionsTest, AWholeNumberServesWhereANumberIsAsked) {
  ModelOptions options = SmallModel(10);
  options.strategies = {{"ewc", {{"lambda", int64_t{7}}}}};
  EXPECT_TRUE(ValidateOptions(options).ok());
}

TEST(OptionsTest, LiveChangesAreTheOptimizersNumbersAndLiveParameters) {
  ModelOptions current = SmallModel(10);
  current.strategies = {{"ewc", {}}};
  ModelOptions next = current;
  next.optimizer.learning_rate = 0.7;
  next.optimizer.weight_decay = 0.01;
  next.strategies[0].parameters["lambda"] = 50.0;
  EXPECT_TRUE(ValidateLiveChange(current, next).ok());
}

TEST(OptionsTest, EveryOtherChangeIsRefusedByName) {
  const std::vector<Wrong> wrongs = {
      {"feature_count", [](ModelOptions* o) { o->feature_count = 11; }},
      {"hidden", [](ModelOptions* o) { o->hidden = {8}; }},
      {"head", [](ModelOptions* o) { o->head.max_classes = 9; }},
      {"seed", [](ModelOptions* o) { ++o->seed; }},
      {"batch_size", [](ModelOptions* o) { ++o->batch_size; }},
      {"optimizer.kind", [](ModelOptions* o) { o->optimizer.kind = OptimizerKind::kAdam; }},
      {"optimizer.kind", [](ModelOptions* o) { o->optimizer.momentum = 0.5; }},
      {"strategies", [](ModelOptions* o) { o->strategies.clear(); }},
      {"strategies",
       [](ModelOptions* o) {
         o->strategies.push_back({"finetune", {}});
       }},
      {"ewc.fisher_examples",
       [](ModelOptions* o) { o->strategies[0].parameters["fisher_examples"] = int64_t{5}; }},
      {"learning_rate", [](ModelOptions* o) { o->optimizer.learning_rate = -1; }},
  };
  ModelOptions current = SmallModel(10);
  current.strategies = {{"ewc", {}}};
  for (const Wrong& wrong : wrongs) {
    ModelOptions next = current;
    wrong.spoil(&next);
    const absl::Status status = ValidateLiveChange(current, next);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << wrong.field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(wrong.field));
  }
}

TEST(OptionsTest, InterleavedTasksNeedEveryStrategysConsent) {
  ModelOptions options = SmallModel(10);
  EXPECT_TRUE(InterleavedTasks(options));
  options.strategies = {{"experience_replay", {}}};
  const bool replay = InterleavedTasks(options);
  options.strategies = {{"experience_replay", {}}, {"ewc", {}}};
  EXPECT_FALSE(InterleavedTasks(options));
  EXPECT_TRUE(replay);
}

TEST(RegistryTest, EveryStrategyExplainsItselfAndItsParameters) {
  ASSERT_GE(ListStrategies().size(), 4u);
  for (const StrategyHelp& help : ListStrategies()) {
    for (const std::string* text : {&help.name, &help.family, &help.paper, &help.idea, &help.memory,
                                    &help.time, &help.when}) {
      EXPECT_FALSE(text->empty()) << help.name;
    }
    EXPECT_TRUE(StrategyParameters::Resolve(help, {help.name, {}}).ok());
    // A default that its own range refuses would make every explicit spec fail.
    StrategySpec spec{help.name, {}};
    for (const ParameterHelp& parameter : help.parameters) {
      EXPECT_FALSE(parameter.help.empty()) << help.name << "." << parameter.name;
      spec.parameters[parameter.name] = parameter.default_value;
    }
    EXPECT_TRUE(StrategyParameters::Resolve(help, spec).ok()) << help.name;
  }
}

TEST(OptionsTest, StrategiesThatCannotStandTogetherAreRefused) {
  const auto refusal = [](std::vector<StrategySpec> strategies, HeadKind head) {
    ModelOptions options = SmallModel(4);
    options.head.kind = head;
    options.strategies = std::move(strategies);
    const absl::Status status = ValidateOptions(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(refusal({{"progressive", {}}, {"pathnet", {}}}, HeadKind::kPerTask),
              HasSubstr("a model has one"));
  EXPECT_THAT(refusal({{"plasticity", {}}, {"progressive", {}}}, HeadKind::kPerTask),
              HasSubstr("needs a plain network"));
  EXPECT_THAT(refusal({{"progressive", {}}}, HeadKind::kGrowing), HasSubstr("heads per task"));
  EXPECT_THAT(refusal({{"mer", {}}, {"ewc", {}}}, HeadKind::kGrowing), HasSubstr("beside others"));
}

}  // namespace
}  // namespace engram::strategies
