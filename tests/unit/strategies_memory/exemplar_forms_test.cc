// A memory's rings, packed features, side values, budget of bytes and distinct examples.
#include <algorithm>
#include <array>
#include <memory>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/memory/exemplar_memory.h"

namespace engram::strategies {
namespace {

ExemplarMemoryOptions Options(AdmissionPolicy policy, int64_t capacity) {
  ExemplarMemoryOptions options;
  options.capacity = capacity;
  options.feature_count = 2;
  options.policy = policy;
  options.seed = 7;
  return options;
}

std::unique_ptr<ExemplarMemory> Make(const ExemplarMemoryOptions& options) {
  auto memory = ExemplarMemory::Create(options);
  EXPECT_TRUE(memory.ok()) << memory.status();
  return std::move(memory).value();
}

std::unique_ptr<ExemplarMemory> MakeRing(AdmissionPolicy policy, int64_t capacity, int64_t ring) {
  ExemplarMemoryOptions options = Options(policy, capacity);
  options.ring_size = ring;
  return Make(options);
}

void Offer(ExemplarMemory* memory, uint64_t sequence, int32_t cls, int32_t task,
           absl::Span<const float> side = {}) {
  const std::array<float, 2> features = {0.5f, static_cast<float>(cls) / 255.0f};
  memory->Offer({features, cls, task, sequence, side});
}

std::set<uint64_t> Kept(const ExemplarMemory& memory) {
  std::set<uint64_t> sequences;
  for (const MemberKey& member : memory.Members()) sequences.insert(member.sequence);
  return sequences;
}

std::vector<MemberPayload> Payloads(const ExemplarMemory& memory) {
  std::vector<MemberPayload> payloads;
  for (const MemberKey& member : memory.Members()) {
    payloads.push_back({member, memory.Payload(static_cast<int64_t>(payloads.size()))});
  }
  return payloads;
}

TEST(RingTest, TheOldestOfItsOwnClassGoesFirst) {
  auto memory = MakeRing(AdmissionPolicy::kClassRing, 100, 3);
  for (uint64_t sequence = 1; sequence <= 10; ++sequence) {
    Offer(memory.get(), sequence, static_cast<int32_t>(sequence % 2), 0);
  }
  EXPECT_EQ(Kept(*memory), (std::set<uint64_t>{5, 6, 7, 8, 9, 10}));
  Offer(memory.get(), 11, 0, 0);
  EXPECT_EQ(Kept(*memory), (std::set<uint64_t>{5, 7, 8, 9, 10, 11}));
}

TEST(RingTest, ATaskThatReturnsReplacesItsOwn) {
  auto memory = MakeRing(AdmissionPolicy::kTaskRing, 100, 2);
  for (uint64_t sequence = 1; sequence <= 4; ++sequence) Offer(memory.get(), sequence, 0, 0);
  for (uint64_t sequence = 5; sequence <= 8; ++sequence) Offer(memory.get(), sequence, 1, 1);
  Offer(memory.get(), 9, 5, 0);
  EXPECT_EQ(Kept(*memory), (std::set<uint64_t>{4, 7, 8, 9}));
  EXPECT_EQ(memory->class_order(), (std::vector<int32_t>{0, 1}));
}

TEST(RingTest, AFullMemoryIsSharedByTheRings) {
  auto memory = MakeRing(AdmissionPolicy::kTaskRing, 6, 4);
  for (int32_t task = 0; task < 3; ++task) {
    for (uint64_t i = 1; i <= 5; ++i) {
      Offer(memory.get(), static_cast<uint64_t>(task) * 10 + i, 0, task);
    }
  }
  EXPECT_EQ(Kept(*memory), (std::set<uint64_t>{4, 5, 14, 15, 24, 25}));
}

TEST(RingTest, ARestoredRingContinuesAsTheOriginalWould) {
  auto original = MakeRing(AdmissionPolicy::kClassRing, 7, 3);
  auto restored = MakeRing(AdmissionPolicy::kClassRing, 7, 3);
  for (uint64_t sequence = 1; sequence <= 20; ++sequence) {
    Offer(original.get(), sequence, static_cast<int32_t>(sequence % 3), 0);
  }
  ASSERT_TRUE(restored->Restore(Payloads(*original), original->class_order()).ok());
  for (uint64_t sequence = 21; sequence <= 40; ++sequence) {
    for (ExemplarMemory* memory : {original.get(), restored.get()}) {
      Offer(memory, sequence, static_cast<int32_t>(sequence % 4), 0);
    }
  }
  EXPECT_EQ(original->Members(), restored->Members());
}

TEST(PackedMemoryTest, GivesFeaturesBackAndRefusesWhatDoesNotFit) {
  ExemplarMemoryOptions options = Options(AdmissionPolicy::kReservoir, 10);
  options.storage = FeatureStorage::kUint8;
  auto memory = Make(options);
  Offer(memory.get(), 1, 51, 0);
  const std::array<float, 2> outside = {0.5f, 1.5f};
  memory->Offer({outside, 0, 0, 2});
  ASSERT_EQ(memory->size(), 1);
  EXPECT_EQ(memory->At(0).features[1], 51.0f / 255.0f);
  EXPECT_EQ(memory->Bytes(), 2 + kExemplarOverheadBytes);
}

TEST(PackedMemoryTest, ARestoredMemoryHoldsTheSameBytesAndAnotherFormIsRefused) {
  ExemplarMemoryOptions options = Options(AdmissionPolicy::kReservoir, 10);
  for (const FeatureStorage storage : {FeatureStorage::kFloat16, FeatureStorage::kUint8}) {
    options.storage = storage;
    auto original = Make(options);
    for (uint64_t sequence = 1; sequence <= 30; ++sequence) {
      Offer(original.get(), sequence, static_cast<int32_t>(sequence), 0);
    }
    auto restored = Make(options);
    const std::vector<MemberPayload> payloads = Payloads(*original);
    ASSERT_TRUE(restored->Restore(payloads, {}).ok());
    for (int64_t slot = 0; slot < 10; ++slot) {
      EXPECT_EQ(restored->Payload(slot), payloads[static_cast<size_t>(slot)].bytes);
    }
    auto plain = Make(Options(AdmissionPolicy::kReservoir, 10));
    EXPECT_EQ(plain->Restore(payloads, {}).code(), absl::StatusCode::kDataLoss);
  }
}

TEST(SideValuesTest, FollowTheirExemplarAlsoWhenLaterOnesAreLonger) {
  ExemplarMemoryOptions options = Options(AdmissionPolicy::kReservoir, 12);
  options.side_values_max = 5;
  auto memory = Make(options);
  for (uint64_t sequence = 1; sequence <= 60; ++sequence) {
    const std::vector<float> side(sequence / 10, static_cast<float>(sequence));
    Offer(memory.get(), sequence, 0, 0, side);
  }
  int64_t values = 0;
  for (int64_t slot = 0; slot < memory->size(); ++slot) {
    const ExemplarView exemplar = memory->At(slot);
    const size_t kept = std::min<size_t>(exemplar.sequence / 10, 5);
    EXPECT_EQ(std::vector<float>(exemplar.side.begin(), exemplar.side.end()),
              std::vector<float>(kept, static_cast<float>(exemplar.sequence)));
    values += static_cast<int64_t>(kept);
  }
  EXPECT_EQ(memory->Bytes(), 12 * (8 + kExemplarOverheadBytes + 4) + 4 * values);
  EXPECT_LE(memory->Bytes(), memory->BytesMax());

  auto restored = Make(options);
  ASSERT_TRUE(restored->Restore(Payloads(*memory), {}).ok());
  for (int64_t slot = 0; slot < memory->size(); ++slot) {
    EXPECT_EQ(restored->Payload(slot), memory->Payload(slot));
  }
  auto plain = Make(Options(AdmissionPolicy::kReservoir, 12));
  EXPECT_EQ(plain->Restore(Payloads(*memory), {}).code(), absl::StatusCode::kDataLoss);
}

ExemplarMemoryOptions Distinct(int64_t capacity) {
  ExemplarMemoryOptions options = Options(AdmissionPolicy::kReservoir, capacity);
  options.distinct = true;
  return options;
}

// What is kept, by class: Offer gives equal features to equal classes.
std::set<int32_t> KeptClasses(const ExemplarMemory& memory) {
  std::set<int32_t> classes;
  for (int64_t slot = 0; slot < memory.size(); ++slot) {
    classes.insert(memory.At(slot).class_index);
  }
  return classes;
}

TEST(DistinctTest, OfEqualExamplesTheFirstIsKept) {
  auto memory = Make(Distinct(100));
  for (uint64_t sequence = 1; sequence <= 9; ++sequence) {
    Offer(memory.get(), sequence, static_cast<int32_t>(sequence % 3), 0);
  }
  EXPECT_EQ(Kept(*memory), (std::set<uint64_t>{1, 2, 3}));
  Offer(memory.get(), 10, 1, 1);  // of another task
  EXPECT_EQ(memory->size(), 4);
  EXPECT_EQ(memory->Bytes(), 4 * (8 + kExemplarOverheadBytes + kDistinctOverheadBytes));
}

TEST(DistinctTest, WhatIsEqualIsWhatIsStored) {
  ExemplarMemoryOptions options = Distinct(10);
  options.storage = FeatureStorage::kUint8;
  auto memory = Make(options);
  const std::vector<float> first = {0.5f, 0.2f}, near = {0.5001f, 0.2f}, other = {0.51f, 0.2f};
  memory->Offer({first, 0, 0, 1});
  memory->Offer({near, 0, 0, 2});
  memory->Offer({other, 0, 0, 3});
  EXPECT_EQ(Kept(*memory), (std::set<uint64_t>{1, 3}));
}

TEST(DistinctTest, WhatIsKeptDependsNeitherOnOrderNorOnHowOftenAnExampleComes) {
  auto once = Make(Distinct(12));
  auto often = Make(Distinct(12));
  for (int32_t cls = 0; cls < 100; ++cls) Offer(once.get(), static_cast<uint64_t>(cls), cls, 0);
  uint64_t sequence = 0;
  for (int pass = 0; pass < 3; ++pass) {
    for (int32_t cls = 99; cls >= 0; --cls) {
      for (int32_t copy = 0; copy <= cls % 4; ++copy) Offer(often.get(), ++sequence, cls, 0);
    }
  }
  EXPECT_EQ(once->size(), 12);
  EXPECT_EQ(often->size(), 12);
  EXPECT_EQ(KeptClasses(*once), KeptClasses(*often));
}

TEST(DistinctTest, EveryExampleIsKeptWithTheSameChance) {
  std::array<int, 10> deciles = {};
  for (uint64_t seed = 0; seed < 500; ++seed) {
    ExemplarMemoryOptions options = Distinct(10);
    options.seed = seed;
    auto memory = Make(options);
    for (uint64_t sequence = 0; sequence < 300; ++sequence) {  // each three times
      Offer(memory.get(), sequence, static_cast<int32_t>(sequence % 100), 0);
    }
    for (const int32_t cls : KeptClasses(*memory)) ++deciles[static_cast<size_t>(cls / 10)];
  }
  double chi_squared = 0;
  for (const int count : deciles) chi_squared += (count - 500.0) * (count - 500.0) / 500.0;
  EXPECT_LT(chi_squared, 27.9);  // 9 degrees of freedom, one in a thousand
}

TEST(DistinctTest, ARestoredMemoryKnowsWhatItHolds) {
  auto original = Make(Distinct(12));
  for (uint64_t sequence = 0; sequence < 60; ++sequence) {
    Offer(original.get(), sequence, static_cast<int32_t>(sequence % 20), 0);
  }
  auto restored = Make(Distinct(12));
  ASSERT_TRUE(restored->Restore(Payloads(*original), {}).ok());
  for (uint64_t sequence = 60; sequence < 200; ++sequence) {
    for (ExemplarMemory* memory : {original.get(), restored.get()}) {
      Offer(memory, sequence, static_cast<int32_t>(sequence % 40), 0);
    }
  }
  EXPECT_EQ(original->Members(), restored->Members());
  std::vector<MemberPayload> repeated = Payloads(*original);
  repeated[1].bytes = repeated[0].bytes;
  EXPECT_EQ(restored->Restore(repeated, {}).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace engram::strategies
