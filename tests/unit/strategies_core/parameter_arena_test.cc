#include "strategies/core/parameter_arena.h"

#include <gtest/gtest.h>

#include <tuple>
#include <vector>

namespace engram::strategies {
namespace {

struct Arena {
  ParameterArena arena;
  ParameterId body, head, bias;

  Arena() {
    body = arena.Add("body.weight", 3, 5, 3);
    head = arena.Add("head.weight", 2, 3, 4);
    bias = arena.Add("head.bias", 2, 1, 4);
    arena.Allocate();
  }
};

TEST(ParameterArenaTest, ParametersAreViewsOfOneFlatTensor) {
  Arena a;
  a.arena.View(a.head).fill_(2);
  EXPECT_EQ(a.arena.flat().sum().item<float>(), 12.0f);
  EXPECT_EQ(a.arena.View(a.body).sum().item<float>(), 0.0f);
  EXPECT_EQ(a.arena.parameter_count(), 15 + 6 + 2);
}

TEST(ParameterArenaTest, EveryParameterStartsAtACacheLine) {
  Arena a;
  for (const auto& slot : a.arena.slots()) EXPECT_EQ(slot.offset % 16, 0) << slot.name;
}

// (begin, end, rate factor)
using Ranges = std::vector<std::tuple<int64_t, int64_t, double>>;

Ranges TrainedRanges(const ParameterArena& arena) {
  Ranges ranges;
  for (const ParameterArena::TrainedRange& range : arena.trained_ranges()) {
    ranges.emplace_back(range.begin, range.end, range.rate_factor);
  }
  return ranges;
}

TEST(ParameterArenaTest, TrainedRangesJoinNeighboursAndFollowTheLayout) {
  Arena a;
  EXPECT_EQ(TrainedRanges(a.arena), (Ranges{{0, a.arena.size(), 1}}));
  const uint64_t generation = a.arena.generation();
  a.arena.SetTrained({a.bias, a.head});
  EXPECT_GT(a.arena.generation(), generation);
  const int64_t head = a.arena.slot(a.head).offset;
  EXPECT_EQ(TrainedRanges(a.arena), (Ranges{{head, a.arena.size(), 1}}));
  a.arena.SetTrained({a.body, a.bias});
  a.arena.GrowRows({a.head, a.bias}, 40);
  const int64_t bias = a.arena.slot(a.bias).offset;
  EXPECT_EQ(TrainedRanges(a.arena), (Ranges{{0, 16, 1}, {bias, a.arena.size(), 1}}));
}

TEST(ParameterArenaTest, ARateFactorCountsForAllButTheParametersNamed) {
  Arena a;
  a.arena.SetRateFactor(0.5, {a.bias, a.head});
  const int64_t head = a.arena.slot(a.head).offset;
  EXPECT_EQ(TrainedRanges(a.arena), (Ranges{{0, head, 0.5}, {head, a.arena.size(), 1}}));
  EXPECT_EQ(a.arena.rate_factor(a.body), 0.5);
  EXPECT_EQ(a.arena.rate_factor(a.bias), 1);
  const uint64_t generation = a.arena.generation();
  a.arena.SetRateFactor(0.5, {a.head, a.bias});
  EXPECT_EQ(a.arena.generation(), generation);
  a.arena.SetRateFactor(1, {});
  EXPECT_GT(a.arena.generation(), generation);
  EXPECT_EQ(TrainedRanges(a.arena), (Ranges{{0, a.arena.size(), 1}}));
}

TEST(ParameterArenaTest, GrowthWithinCapacityKeepsAddresses) {
  Arena a;
  const uint64_t generation = a.arena.generation();
  const float* before = a.arena.flat().data_ptr<float>();
  a.arena.GrowRows({a.head, a.bias}, 4);
  EXPECT_EQ(a.arena.generation(), generation);
  EXPECT_EQ(a.arena.flat().data_ptr<float>(), before);
  EXPECT_EQ(a.arena.View(a.head).size(0), 4);
}

TEST(ParameterArenaTest, GrowthBeyondCapacityMovesParametersAndCompanionsTogether) {
  Arena a;
  const CompanionId moment = a.arena.AddCompanion("moment", ParameterArena::Persistence::kSaved);
  a.arena.View(a.body).copy_(at::arange(15, at::kFloat).view({3, 5}));
  a.arena.View(a.head).fill_(3);
  a.arena.View(a.arena.Companion(moment), a.head).fill_(7);
  a.arena.View(a.arena.Companion(moment), a.bias).fill_(9);
  const uint64_t generation = a.arena.generation();
  a.arena.GrowRows({a.head, a.bias}, 9);
  EXPECT_NE(a.arena.generation(), generation);
  EXPECT_TRUE(a.arena.View(a.body).equal(at::arange(15, at::kFloat).view({3, 5})));
  EXPECT_EQ(a.arena.View(a.head).narrow(0, 0, 2).sum().item<float>(), 18.0f);
  EXPECT_EQ(a.arena.View(a.head).narrow(0, 2, 7).abs().sum().item<float>(), 0.0f);
  const at::Tensor& moved = a.arena.Companion(moment);
  EXPECT_EQ(moved.numel(), a.arena.size());
  EXPECT_EQ(a.arena.View(moved, a.head).sum().item<float>(), 42.0f);
  EXPECT_EQ(a.arena.View(moved, a.bias).sum().item<float>(), 18.0f);
  EXPECT_EQ(a.arena.View(moved, a.body).abs().sum().item<float>(), 0.0f);
}

TEST(ParameterArenaTest, LayoutDependsOnTheRowCountAlone) {
  Arena stepwise, at_once;
  for (int64_t rows = 3; rows <= 40; ++rows) {
    stepwise.arena.GrowRows({stepwise.head, stepwise.bias}, rows);
  }
  at_once.arena.GrowRows({at_once.head, at_once.bias}, 40);
  EXPECT_EQ(stepwise.arena.size(), at_once.arena.size());
  EXPECT_EQ(stepwise.arena.slot(stepwise.bias).offset, at_once.arena.slot(at_once.bias).offset);
}

TEST(ParameterArenaTest, CapacityDoublesSoThatGrowthIsRare) {
  Arena a;
  const uint64_t before = a.arena.generation();
  for (int64_t rows = 3; rows <= 1000; ++rows) a.arena.GrowRows({a.head, a.bias}, rows);
  EXPECT_LE(a.arena.generation() - before, 8u);
}

TEST(ParameterArenaTest, CompanionsCountAgainstMemory) {
  Arena a;
  EXPECT_EQ(a.arena.companion_bytes(), 0);
  a.arena.AddCompanion("x", ParameterArena::Persistence::kDerived);
  EXPECT_EQ(a.arena.companion_bytes(), a.arena.size() * 4);
}

TEST(ParameterArenaTest, ParametersAddedLaterGetAPlaceBehindTheOthers) {
  ParameterArena arena;
  const ParameterId first = arena.Add("first", 2, 3, 2);
  arena.Allocate();
  const CompanionId companion = arena.AddCompanion("moment", ParameterArena::Persistence::kSaved);
  arena.View(first).fill_(1);
  arena.View(arena.Companion(companion), first).fill_(2);
  const uint64_t generation = arena.generation();
  const ParameterId second = arena.Add("second", 4, 5, 4);
  arena.Extend();
  EXPECT_NE(arena.generation(), generation);
  EXPECT_EQ(arena.parameter_count(), 2 * 3 + 4 * 5);
  EXPECT_TRUE(arena.View(first).eq(1).all().item<bool>());
  EXPECT_TRUE(arena.View(arena.Companion(companion), first).eq(2).all().item<bool>());
  EXPECT_TRUE(arena.View(second).eq(0).all().item<bool>());
  EXPECT_TRUE(arena.View(arena.Companion(companion), second).eq(0).all().item<bool>());
}

TEST(ParameterArenaDeathTest, ACompanionNameIsTakenOnce) {
  Arena a;
  a.arena.AddCompanion("x", ParameterArena::Persistence::kSaved);
  EXPECT_DEATH(a.arena.AddCompanion("x", ParameterArena::Persistence::kSaved), "check failed");
}

}  // namespace
}  // namespace engram::strategies
