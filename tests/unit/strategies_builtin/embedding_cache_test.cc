// What is kept below a frozen backbone changes no bit: not by its size, nor by a restore.
#include "strategies/core/embedding_cache.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/api/compute.h"
#include "strategies/api/learner.h"
#include "tests/unit/strategies_builtin/prototype_rig.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

constexpr int64_t kWidth = 9;

class EmbeddingCacheTest : public testing::Test {
 protected:
  EmbeddingCacheTest() : rig_(CloudModel(kWidth, "finetune")), clouds_(kWidth, 3, 1) {
    SetComputeThreads(1);
    EnterComputeThread();
    rows_ = clouds_.Next({0, 1, 2, 0, 1, 2});
    rig_.Load(rows_.View());
    EXPECT_TRUE(rig_.network->FreezeBelowHead());
  }

  // A batch of exemplars alone.
  void Replay(const std::vector<int64_t>& rows) {
    rig_.batch->Clear(rig_.units);
    for (const int64_t row : rows) {
      const float* features = rows_.features.data_ptr<float>() + row * kWidth;
      const size_t at = static_cast<size_t>(row);
      ASSERT_TRUE(
          rig_.batch->AppendRow(features, rows_.classes[at], 0, rows_.sequences[at]).ok());
    }
  }
  // Hits of a pass over the batch, which must answer as the network does.
  int64_t Hits(EmbeddingCache* cache) {
    const at::Tensor expected = rig_.network->Forward(rig_.batch->features()).clone();
    const int64_t before = cache->hits();
    EXPECT_TRUE(cache->Forward(*rig_.batch).equal(expected));
    return cache->hits() - before;
  }

  Rig rig_;
  Clouds clouds_;
  CloudBatch rows_;
};

TEST_F(EmbeddingCacheTest, TheHalvesOfAFrozenPassGiveItsBitsForAnyRows) {
  for (const int64_t count : {1, 2, 7, 16, 17, 39, 40, 41, 100}) {
    const at::Tensor features = torch::randn({count, kWidth});
    const at::Tensor whole = rig_.network->Forward(features).clone();
    const at::Tensor embeddings = torch::empty({count, rig_.network->embedding_width()});
    for (int64_t row = 0; row < count; ++row) {  // one by one, as they may come
      rig_.network->EmbedFrozen(features.narrow(0, row, 1), embeddings.narrow(0, row, 1));
    }
    EXPECT_TRUE(rig_.network->ForwardHead(embeddings).equal(whole)) << count;
  }
}

TEST_F(EmbeddingCacheTest, AnExemplarIsEmbeddedOnce) {
  EmbeddingCache cache(rig_.network.get(), 10);
  Replay({0, 1, 2});
  EXPECT_EQ(Hits(&cache), 0);
  EXPECT_EQ(Hits(&cache), 3);
  Replay({3, 1, 1, 4});
  EXPECT_EQ(Hits(&cache), 2);
  EXPECT_EQ(Hits(&cache), 4);
}

TEST_F(EmbeddingCacheTest, RowsOfTheStreamAreNotKept) {
  EmbeddingCache cache(rig_.network.get(), 10);
  Hits(&cache);
  EXPECT_EQ(Hits(&cache), 0);
  EXPECT_EQ(cache.lookups(), 0);
}

TEST_F(EmbeddingCacheTest, TheSameSequenceWithOtherFeaturesIsAnotherRow) {
  EmbeddingCache cache(rig_.network.get(), 10);
  Replay({0});
  Hits(&cache);
  rows_.features[0][kWidth - 1] += 0.5;
  Replay({0});
  EXPECT_EQ(Hits(&cache), 0);
  EXPECT_EQ(Hits(&cache), 1);
}

TEST_F(EmbeddingCacheTest, ADrawnRowIsNeverKept) {
  rows_.sequences.assign(rows_.sequences.size(), 0);
  EmbeddingCache cache(rig_.network.get(), 10);
  Replay({0, 1});
  Hits(&cache);
  EXPECT_EQ(Hits(&cache), 0);
}

TEST_F(EmbeddingCacheTest, ARowThatIsAskedForOutlivesOneThatIsNot) {
  EmbeddingCache cache(rig_.network.get(), 2);
  Replay({0, 1});
  Hits(&cache);
  Replay({0});
  EXPECT_EQ(Hits(&cache), 1);
  Replay({2});  // takes the place of 1
  EXPECT_EQ(Hits(&cache), 0);
  Replay({0, 2});
  EXPECT_EQ(Hits(&cache), 2);
  Replay({1});
  EXPECT_EQ(Hits(&cache), 0);
}

// Learners that differ in what they keep.
struct Case {
  std::string name;
  std::vector<StrategySpec> others;
  bool first = false;  // feature_extraction stands before them
};

class CachedLearnerTest : public testing::TestWithParam<Case> {
 protected:
  static void SetUpTestSuite() {
    SetComputeThreads(1);
    EnterComputeThread();
  }
  std::unique_ptr<Learner> Make(int64_t cached_rows) const {
    ModelOptions options = SmallModel(kWidth);
    options.strategies = GetParam().others;
    const StrategySpec freeze{"feature_extraction", {{"cached_rows", cached_rows}}};
    options.strategies.insert(
        GetParam().first ? options.strategies.begin() : options.strategies.end(), freeze);
    auto learner = MakeLearner(options);
    EXPECT_TRUE(learner.ok()) << learner.status();
    return std::move(learner).value();
  }
  static void LearnTask(Learner* learner, SmallStream* stream, int32_t task) {
    for (int step = 0; step < 12; ++step) {
      const int32_t cls = 2 * task;
      ASSERT_TRUE(learner->Train(stream->Next({cls, cls + 1, cls, cls + 1, cls}).View()).ok());
    }
    ASSERT_TRUE(learner->MarkBoundary({task, task + 1, 1000}).ok());
  }
};

TEST_P(CachedLearnerTest, WhatIsKeptChangesNoBit) {
  std::vector<std::string> states;
  for (const int64_t rows : {0, 3, 1000}) {
    const auto learner = Make(rows);
    SmallStream stream(kWidth, 2);
    for (int32_t task = 0; task < 3; ++task) LearnTask(learner.get(), &stream, task);
    states.push_back(SavedTensors(*learner));
  }
  EXPECT_EQ(states[1], states[0]);
  EXPECT_EQ(states[2], states[0]);
}

TEST_P(CachedLearnerTest, ARestoredLearnerStartsEmptyAndContinuesBitForBit) {
  const auto original = Make(1000), restored = Make(1000);
  SmallStream stream(kWidth, 2);
  LearnTask(original.get(), &stream, 0);
  const auto saved = original->Save([](const MemberKey&) { return false; });
  ASSERT_TRUE(restored->Restore(*saved, AllPayloads(*saved)).ok());
  SmallStream same = stream;
  LearnTask(original.get(), &stream, 1);
  LearnTask(restored.get(), &same, 1);
  EXPECT_EQ(SavedTensors(*original), SavedTensors(*restored));
}

TEST_P(CachedLearnerTest, GaugesCountWhatWasLookedForAndFound) {
  const auto kept = Make(1000), none = Make(0);
  SmallStream stream(kWidth, 2);
  for (int32_t task = 0; task < 2; ++task) LearnTask(kept.get(), &stream, task);
  const auto named = kept->Gauges().named;
  EXPECT_GT(named.at("embedding_lookups"), 0);
  EXPECT_LE(named.at("embedding_hits"), named.at("embedding_lookups"));
  EXPECT_EQ(named.at("embedding_hits") > 0, GetParam().name != "generated") << "drawn, never kept";
  EXPECT_EQ(none->Gauges().named.count("embedding_hits"), 0u);
}

const ParameterValue kFew = int64_t{12};

INSTANTIATE_TEST_SUITE_P(
    Strategies, CachedLearnerTest,
    testing::Values(
        Case{"replay", {{"experience_replay", {{"memory_size", kFew}}}}},
        Case{"two_storages",
             {{"experience_replay",
               {{"memory_size", kFew}, {"storage", std::string("float16")}}},
              {"der_plus_plus", {{"memory_size", kFew}}}}},
        Case{"many_exemplars",
             {{"experience_replay", {{"memory_size", kFew}, {"replay_batch_size", int64_t{40}}}}}},
        Case{"generated", {{"generative_replay", {{"generator_hidden", int64_t{8}}}}}},
        Case{"gdumb", {{"gdumb", {{"memory_size", kFew}, {"passes", int64_t{5}}}}}, true}),
    [](const auto& test) { return test.param.name; });

TEST(FrozenBackboneTest, GdumbDrawsTheHeadAnewAndLeavesTheBackbone) {
  ModelOptions options = SmallModel(kWidth);
  options.strategies = {{"feature_extraction", {}}, {"gdumb", {{"passes", int64_t{2}}}}};
  const auto learner = std::move(MakeLearner(options)).value();
  SmallStream stream(kWidth, 2);
  const auto tensor = [&](const char* name) {
    const std::string bytes = SavedTensors(*learner);
    return StateReader::Open(bytes)->GetTensor(std::string("parameter/") + name)->clone();
  };
  ASSERT_TRUE(learner->Train(stream.Next({0, 1, 0, 1}).View()).ok());
  const at::Tensor backbone = tensor("hidden0.weight"), head = tensor("head.weight");
  ASSERT_TRUE(learner->MarkBoundary({0, 1, 1000}).ok());
  EXPECT_TRUE(tensor("hidden0.weight").equal(backbone));
  EXPECT_FALSE(tensor("head.weight").equal(head));
}

TEST(FrozenBackboneTest, StrategiesThatWorkOnEveryLayerAreRefusedBesideIt) {
  for (const char* name : {"plasticity", "gpm"}) {
    ModelOptions options = SmallModel(kWidth);
    options.strategies = {{name, {}}, {"feature_extraction", {}}};
    const absl::Status status = ValidateOptions(options);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_NE(status.message().find("feature_extraction leaves those below the head"),
              std::string::npos);
  }
}

}  // namespace
}  // namespace engram::strategies
