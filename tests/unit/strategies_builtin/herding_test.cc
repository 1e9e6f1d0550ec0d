// Herding against brute force, and the memory of ranked exemplars.
#include "strategies/memory/herding.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/memory/herded_memory.h"
#include "strategies/memory/priority_key.h"
#include "tests/unit/strategies_builtin/prototype_rig.h"

namespace engram::strategies {
namespace {

absl::Span<const float> Values(const at::Tensor& rows) {
  return absl::MakeConstSpan(rows.data_ptr<float>(), static_cast<size_t>(rows.numel()));
}

// The formula of algorithm 4, evaluated for every candidate at every step.
std::vector<int64_t> BruteForce(const at::Tensor& embeddings, int64_t count) {
  const at::Tensor phi = embeddings.to(at::kDouble);
  const at::Tensor mean = phi.mean(0);
  std::vector<int64_t> chosen;
  at::Tensor sum = torch::zeros_like(mean);
  for (int64_t k = 1; k <= count; ++k) {
    double smallest = std::numeric_limits<double>::infinity();
    int64_t best = -1;
    for (int64_t i = 0; i < phi.size(0); ++i) {
      if (std::count(chosen.begin(), chosen.end(), i) > 0) continue;
      const double distance = (mean - (phi[i] + sum) / k).norm().item<double>();
      if (distance < smallest) {
        smallest = distance;
        best = i;
      }
    }
    chosen.push_back(best);
    sum = sum + phi[best];
  }
  return chosen;
}

TEST(HerdingTest, EqualsBruteForce) {
  torch::manual_seed(1);
  for (int trial = 0; trial < 5; ++trial) {
    const at::Tensor embeddings = torch::nn::functional::normalize(torch::rand({40, 6}));
    EXPECT_EQ(Herd(Values(embeddings), 6, 12), BruteForce(embeddings, 12));
  }
}

TEST(HerdingTest, FewChosenComeNearerToTheMeanThanTheFirstFew) {
  torch::manual_seed(2);
  const at::Tensor embeddings = torch::randn({200, 8});
  const at::Tensor chosen = torch::tensor(Herd(Values(embeddings), 8, 10));
  const at::Tensor mean = embeddings.mean(0);
  const double herded = (embeddings.index({chosen}).mean(0) - mean).norm().item<double>();
  const double first = (embeddings.narrow(0, 0, 10).mean(0) - mean).norm().item<double>();
  EXPECT_LT(herded, 0.3 * first);
}

TEST(HerdingTest, GivesEveryRowOnceWhereMoreAreWanted) {
  const at::Tensor embeddings = torch::ones({5, 3});
  EXPECT_EQ(Herd(Values(embeddings), 3, 9), (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(Herd({}, 3, 9).empty());
}

class HerdedMemoryTest : public testing::Test {
 protected:
  HerdedMemoryTest() {
    options_.capacity = 12;
    options_.feature_count = 2;
    options_.seed = 3;
    memory_ = *HerdedMemory::Create(options_);
  }

  // Examples of one class whose features are their sequence.
  void Offer(int32_t cls, int count, int32_t task = 0) {
    for (int i = 0; i < count; ++i) {
      ++sequence_;
      const std::vector<float> features(2, static_cast<float>(sequence_));
      memory_->Offer({features, cls, task, sequence_});
    }
  }
  std::vector<uint64_t> Sequences(int64_t group) const {
    std::vector<uint64_t> sequences;
    for (const auto& exemplar : memory_->groups()[group].exemplars) {
      sequences.push_back(exemplar.sequence);
    }
    return sequences;
  }
  std::vector<MemberPayload> Payloads() const {
    std::vector<MemberPayload> payloads;
    const std::vector<MemberKey> members = memory_->Members();
    for (size_t i = 0; i < members.size(); ++i) {
      payloads.push_back({members[i], memory_->Payload(static_cast<int64_t>(i))});
    }
    return payloads;
  }

  HerdedMemoryOptions options_;
  std::unique_ptr<HerdedMemory> memory_;
  uint64_t sequence_ = 0;
};

TEST_F(HerdedMemoryTest, KeepsTheHighestPrioritiesUntilItIsHerded) {
  Offer(5, 100);
  std::vector<uint64_t> expected(100);
  for (size_t i = 0; i < expected.size(); ++i) expected[i] = i + 1;
  std::sort(expected.begin(), expected.end(), [](uint64_t a, uint64_t b) {
    return PriorityKey(3, 0, a) > PriorityKey(3, 0, b);
  });
  expected.resize(12);
  EXPECT_EQ(Sequences(0), expected);
}

TEST_F(HerdedMemoryTest, ANewClassTakesTheTailOfTheOthers) {
  Offer(0, 20);
  const std::vector<uint64_t> all = Sequences(0);
  Offer(1, 1);
  EXPECT_EQ(Sequences(0), std::vector<uint64_t>(all.begin(), all.begin() + 6));
  Offer(2, 20);
  Offer(3, 20);
  Offer(4, 20);
  EXPECT_EQ(memory_->Quota(0), 3);  // 12 / 5, the remainder to the first
  EXPECT_EQ(memory_->Quota(4), 2);
  EXPECT_LE(memory_->size(), 12);
}

TEST_F(HerdedMemoryTest, ARankingStaysAndLosesItsTail) {
  Offer(0, 20);
  std::vector<HerdedExemplar> ranked = memory_->groups()[0].exemplars;
  std::reverse(ranked.begin(), ranked.end());
  memory_->Replace(0, ranked);
  const std::vector<uint64_t> herded = Sequences(0);
  Offer(0, 200);
  EXPECT_EQ(Sequences(0), herded);
  Offer(1, 1);
  EXPECT_EQ(Sequences(0), std::vector<uint64_t>(herded.begin(), herded.begin() + 6));
}

TEST_F(HerdedMemoryTest, AFixedShareHoldsHoweverFewClassesThereAre) {
  options_.per_group = 4;
  memory_ = *HerdedMemory::Create(options_);
  Offer(0, 20);
  EXPECT_EQ(memory_->size(), 4);
}

TEST_F(HerdedMemoryTest, AClassOfAnotherTaskIsItsOwnGroupOnlyWhereOutputsArePerTask) {
  Offer(0, 3, 0);
  Offer(0, 3, 1);
  EXPECT_EQ(memory_->groups().size(), 1u);
  options_.by_task = true;
  memory_ = *HerdedMemory::Create(options_);
  Offer(0, 3, 0);
  Offer(0, 3, 1);
  EXPECT_EQ(memory_->groups().size(), 2u);
}

TEST_F(HerdedMemoryTest, RestoresToTheSameState) {
  Offer(0, 20);
  Offer(7, 20, 2);
  memory_->Replace(0, memory_->groups()[0].exemplars);
  auto restored = *HerdedMemory::Create(options_);
  ASSERT_TRUE(restored->Restore(Payloads(), memory_->GroupState()).ok());
  EXPECT_EQ(restored->Members(), memory_->Members());
  EXPECT_EQ(restored->GroupState(), memory_->GroupState());
  std::vector<int64_t> counts;
  restored->CountByTask(&counts);
  EXPECT_EQ(counts, (std::vector<int64_t>{6, 0, 6}));
  std::vector<int64_t> by_class;
  restored->CountByClass(&by_class);
  EXPECT_EQ(by_class, (std::vector<int64_t>{6, 0, 0, 0, 0, 0, 0, 6}));
}

TEST_F(HerdedMemoryTest, DamagedStateIsRefusedAndChangesNothing) {
  Offer(0, 5);
  Offer(1, 5);
  const std::vector<MemberPayload> payloads = Payloads();
  const std::vector<int64_t> groups = memory_->GroupState();
  const auto refused = [&](std::vector<MemberPayload> bad, std::vector<int64_t> state) {
    const absl::Status status = memory_->Restore(bad, state);
    return status.code() == absl::StatusCode::kDataLoss && memory_->GroupState() == groups;
  };
  std::vector<MemberPayload> repeated = payloads;
  repeated[1] = repeated[0];
  EXPECT_TRUE(refused(repeated, groups));
  std::vector<MemberPayload> swapped = payloads;
  std::swap(swapped.front(), swapped.back());  // into the group of the other class
  EXPECT_TRUE(refused(swapped, groups));
  EXPECT_TRUE(refused(payloads, {0, 0, 0, 10}));
  EXPECT_TRUE(refused(payloads, {0, 0, 0, 5, 0, 0, 0, 5}));
  EXPECT_TRUE(refused(payloads, {0, 0, 0, 5, 0, 1, 0, -5}));
  EXPECT_TRUE(refused(payloads, {0, 0, 0, 5}));
  EXPECT_TRUE(refused(payloads, {0, 0, 0}));
  options_.capacity = 4;
  memory_ = *HerdedMemory::Create(options_);
  EXPECT_EQ(memory_->Restore(payloads, groups).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace engram::strategies
