// One memory a task: who is kept, who shares a place, and what is drawn.
#include "strategies/memory/task_memory.h"

#include <algorithm>
#include <memory>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/core/generator.h"

namespace engram::strategies {
namespace {

TaskMemoryOptions Options(int64_t capacity, int64_t places) {
  TaskMemoryOptions options;
  options.capacity = capacity;
  options.places = places;
  options.feature_count = 1;
  options.seed = 5;
  return options;
}

std::unique_ptr<TaskMemory> Make(int64_t capacity, int64_t places) {
  return *TaskMemory::Create(Options(capacity, places));
}

// Examples [first, first + count), of the task.
void OfferTask(TaskMemory* memory, int32_t task, uint64_t first, uint64_t count) {
  for (uint64_t sequence = first; sequence < first + count; ++sequence) {
    const float feature = static_cast<float>(sequence);
    memory->Offer({absl::MakeConstSpan(&feature, 1), 0, task, sequence});
  }
}

std::set<uint64_t> Sequences(const ExemplarMemory& memory) {
  std::set<uint64_t> sequences;
  for (const MemberKey& member : memory.Members()) sequences.insert(member.sequence);
  return sequences;
}

TEST(TaskMemoryTest, KeepsEachTaskApartAndThePresentOneOutOfThePast) {
  const auto memory = Make(4, 5);
  OfferTask(memory.get(), 0, 1, 10);
  EXPECT_EQ(memory->past_count(), 0);
  memory->CloseTask();
  memory->CloseTask();  // a task without examples leaves no trace
  OfferTask(memory.get(), 1, 100, 3);
  EXPECT_EQ(memory->past_count(), 1);
  memory->CloseTask();
  OfferTask(memory.get(), 2, 200, 50);
  EXPECT_EQ(memory->past_count(), 2);
  EXPECT_EQ(memory->Sizes(), (std::vector<int64_t>{4, 3, 4}));
  EXPECT_EQ(memory->past(1).At(0).task, 1);
}

TEST(TaskMemoryTest, BeyondItsPlacesTheOldestTasksShareAUniformSample) {
  const auto memory = Make(8, 3);
  ExemplarMemoryOptions one;
  one.capacity = 8;
  one.feature_count = 1;
  one.seed = 5;
  const auto expected = *ExemplarMemory::Create(one);
  for (int32_t task = 0; task < 6; ++task) {
    OfferTask(memory.get(), task, 1000 * task, 100);
    memory->CloseTask();
    EXPECT_EQ(memory->past_count(), std::min(task + 1, 2));
    EXPECT_LE(memory->Members().size(), 24u);
  }
  for (uint64_t task = 0; task < 5; ++task) {
    for (uint64_t i = 0; i < 100; ++i) {
      const float feature = 0;
      expected->Offer({absl::MakeConstSpan(&feature, 1), 0, 0, 1000 * task + i});
    }
  }
  EXPECT_EQ(Sequences(memory->past(0)), Sequences(*expected));
  EXPECT_EQ(memory->past(1).At(0).task, 5);
}

TEST(TaskMemoryTest, DrawsDifferentExemplarsOfAllPastTasksAlike) {
  const auto memory = Make(10, 6);
  for (int32_t task = 0; task < 4; ++task) {
    OfferTask(memory.get(), task, 1000 * task, 10);
    if (task < 3) memory->CloseTask();
  }
  Generator generator(1);
  const auto below = [&generator](uint64_t limit) { return generator.Below(limit); };
  std::vector<ExemplarView> drawn;
  std::vector<int> counts(3000, 0);
  for (int round = 0; round < 6000; ++round) {
    memory->DrawPast(7, below, &drawn);
    std::set<uint64_t> sequences;
    for (const ExemplarView& exemplar : drawn) sequences.insert(exemplar.sequence);
    ASSERT_EQ(sequences.size(), 7u);
    for (const uint64_t sequence : sequences) ++counts[sequence];
  }
  for (uint64_t task = 0; task < 3; ++task) {
    // 6000 x 7 / 30 = 1400 expected, standard deviation 33.
    for (uint64_t i = 0; i < 10; ++i) EXPECT_NEAR(counts[1000 * task + i], 1400, 165);
  }
  memory->DrawPast(100, below, &drawn);
  EXPECT_EQ(drawn.size(), 30u);
  memory->DrawPast(0, below, &drawn);
  EXPECT_TRUE(drawn.empty());
}

TEST(TaskMemoryTest, IsRestoredTaskByTaskAndRefusesSizesThatDoNotFit) {
  const auto memory = Make(4, 3);
  for (int32_t task = 0; task < 3; ++task) {
    OfferTask(memory.get(), task, 100 * task, 20);
    if (task < 2) memory->CloseTask();
  }
  std::vector<MemberPayload> payloads;
  const std::vector<MemberKey> members = memory->Members();
  for (size_t i = 0; i < members.size(); ++i) {
    payloads.push_back({members[i], memory->Payload(static_cast<int64_t>(i))});
  }
  const auto restored = Make(4, 3);
  OfferTask(restored.get(), 7, 900, 9);
  ASSERT_TRUE(restored->Restore(payloads, memory->Sizes()).ok());
  EXPECT_EQ(restored->Members(), members);
  EXPECT_EQ(restored->past_count(), 2);
  EXPECT_EQ(Sequences(restored->past(0)), Sequences(memory->past(0)));
  for (const std::vector<int64_t>& sizes : std::vector<std::vector<int64_t>>{
           {}, {4, 4}, {4, 4, 5}, {4, 0, 4}, {-1, 4, 4}, {4, 4, 2, 2}, {12}}) {
    EXPECT_EQ(Make(4, 3)->Restore(payloads, sizes).code(), absl::StatusCode::kDataLoss);
  }
}

TEST(TaskMemoryTest, MoreThanTheLimitInAllIsRefused) {
  EXPECT_EQ(TaskMemory::Create(Options(100000000, 100)).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace engram::strategies
