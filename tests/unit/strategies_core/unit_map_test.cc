#include "strategies/core/unit_map.h"

#include <gmock/gmock.h>

namespace engram::strategies {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

HeadOptions Head(HeadKind kind) {
  HeadOptions head;
  head.kind = kind;
  head.head_classes = 4;
  head.max_classes = 5;
  return head;
}

TEST(UnitMapTest, AGrowingHeadNumbersUnitsInOrderOfTraining) {
  UnitMap map(Head(HeadKind::kGrowing));
  int64_t added = 0;
  ASSERT_TRUE(map.Admit({3, 1, 3}, {0, 0, 0}, &added).ok());
  EXPECT_EQ(added, 2);
  EXPECT_EQ(map.Find(0, 3), 0);
  EXPECT_EQ(map.Find(9, 1), 1);  // the task does not matter
  EXPECT_EQ(map.Find(0, 0), UnitMap::kNoUnit);
  EXPECT_EQ(map.class_count(), 4);
  ASSERT_TRUE(map.Admit({1}, {2}, &added).ok());
  EXPECT_EQ(added, 0);
}

TEST(UnitMapTest, AFixedHeadIsThereFromTheStartAndRefusesOthers) {
  UnitMap map(Head(HeadKind::kFixed));
  EXPECT_EQ(map.size(), 4);
  int64_t added = 0;
  ASSERT_TRUE(map.Admit({3}, {0}, &added).ok());
  const absl::Status refused = map.Admit({0, 4}, {0, 0}, &added);
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("class 4"));
}

TEST(UnitMapTest, PerTaskEachTaskHasItsOwnUnits) {
  UnitMap map(Head(HeadKind::kPerTask));
  int64_t added = 0;
  ASSERT_TRUE(map.Admit({0, 1}, {0, 0}, &added).ok());
  ASSERT_TRUE(map.Admit({1, 0}, {2, 0}, &added).ok());
  EXPECT_EQ(added, 1);
  EXPECT_EQ(map.Find(0, 1), 1);
  EXPECT_EQ(map.Find(2, 1), 2);
  EXPECT_THAT(map.UnitsOf(0), ElementsAre(0, 1));
  EXPECT_THAT(map.UnitsOf(1), IsEmpty());
  EXPECT_THAT(map.UnitsOf(2), ElementsAre(2));
  EXPECT_THAT(map.UnitsOf(-1), IsEmpty());
}

TEST(UnitMapTest, BeyondMaxClassesNothingIsAdded) {
  UnitMap map(Head(HeadKind::kGrowing));
  int64_t added = 0;
  ASSERT_TRUE(map.Admit({0, 1, 2, 3}, {0, 0, 0, 0}, &added).ok());
  EXPECT_EQ(map.Admit({4, 5}, {0, 0}, &added).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(added, 0);
  EXPECT_EQ(map.size(), 4);
  EXPECT_TRUE(map.Admit({4}, {0}, &added).ok());
}

TEST(UnitMapTest, PerTaskMaxClassesCountsClassesNotOutputs) {
  UnitMap map(Head(HeadKind::kPerTask));
  int64_t added = 0;
  for (int32_t task = 0; task < 50; ++task) {
    ASSERT_TRUE(map.Admit({0, 1, 2, 3, 4}, {task, task, task, task, task}, &added).ok());
  }
  EXPECT_EQ(map.size(), 250);
  EXPECT_EQ(map.Admit({5}, {0}, &added).code(), absl::StatusCode::kResourceExhausted);
}

TEST(UnitMapTest, OutputsOfAllHeadsAreBounded) {
  UnitMap map(Head(HeadKind::kPerTask));
  int64_t added = 0;
  const int32_t tasks = static_cast<int32_t>(UnitMap::kUnitsMax);
  for (int32_t task = 0; task < tasks; ++task) ASSERT_TRUE(map.Admit({0}, {task}, &added).ok());
  EXPECT_EQ(map.Admit({0}, {tasks}, &added).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(map.size(), UnitMap::kUnitsMax);
}

TEST(UnitMapTest, NegativeIndexesAreRefused) {
  UnitMap map(Head(HeadKind::kPerTask));
  int64_t added = 0;
  EXPECT_EQ(map.Admit({-100}, {0}, &added).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(map.Admit({0}, {-1}, &added).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(map.size(), 0);
}

TEST(UnitMapTest, LoadTakesOverOwnersAndRefusesContradictions) {
  UnitMap map(Head(HeadKind::kPerTask));
  ASSERT_TRUE(map.Load({{1, 7}, {0, 7}}).ok());
  EXPECT_EQ(map.Find(0, 7), 1);
  EXPECT_FALSE(map.Load({{1, 7}, {1, 7}}).ok());
  EXPECT_EQ(map.size(), 2);
  UnitMap fixed(Head(HeadKind::kFixed));
  EXPECT_FALSE(fixed.Load({{0, 0}}).ok());
}

}  // namespace
}  // namespace engram::strategies
