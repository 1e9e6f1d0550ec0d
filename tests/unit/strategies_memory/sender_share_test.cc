// What one sender may have of a memory, whatever it sends.
#include "strategies/memory/sender_share.h"

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/memory/exemplar_memory.h"
#include "strategies/memory/exemplar_payload.h"
#include "strategies/memory/herded_memory.h"
#include "strategies/memory/herding.h"
#include "strategies/memory/priority_key.h"
#include "strategies/memory/task_memory.h"

namespace engram::strategies {
namespace {

constexpr uint64_t kFlooder = 99;
constexpr uint64_t kSeed = 7;

struct Sent {
  uint64_t sequence = 0;
  uint64_t sender = 0;
  int32_t cls = 0;
};

template <typename Memory>
void OfferSent(const Sent& sent, Memory* memory) {
  const std::vector<float> features = {static_cast<float>(sent.sequence),
                                       static_cast<float>(sent.cls)};
  ExemplarView view;
  view.features = features;
  view.class_index = sent.cls;
  view.sequence = sent.sequence;
  view.sender = sent.sender;
  memory->Offer(view);
}

ExemplarMemoryOptions CappedOptions(int64_t capacity, double share,
                                    AdmissionPolicy policy = AdmissionPolicy::kReservoir) {
  ExemplarMemoryOptions options;
  options.capacity = capacity;
  options.feature_count = 2;
  options.policy = policy;
  options.seed = kSeed;
  options.ring_size = 12;
  options.max_sender_share = share;
  return options;
}

std::unique_ptr<ExemplarMemory> MakeCapped(const ExemplarMemoryOptions& options) {
  auto memory = ExemplarMemory::Create(options);
  EXPECT_TRUE(memory.ok()) << memory.status();
  return std::move(memory).value();
}

// Ten honest senders, each a hundredth of the flooder's rate, in random order.
std::vector<Sent> Flood(int rounds, uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::vector<Sent> stream;
  for (int round = 0; round < rounds; ++round) {
    std::vector<uint64_t> senders(100, kFlooder);
    for (uint64_t honest = 0; honest < 10; ++honest) senders.push_back(honest);
    std::shuffle(senders.begin(), senders.end(), random);
    for (const uint64_t sender : senders) {
      stream.push_back({stream.size() + 1, sender, static_cast<int32_t>(random() % 5)});
    }
  }
  return stream;
}

std::map<uint64_t, std::set<uint64_t>> KeptBySender(const ExemplarMemory& memory) {
  std::map<uint64_t, std::set<uint64_t>> kept;
  for (int64_t slot = 0; slot < memory.size(); ++slot) {
    const ExemplarView exemplar = memory.At(slot);
    EXPECT_EQ(exemplar.features[0], static_cast<float>(exemplar.sequence));
    kept[exemplar.sender].insert(exemplar.sequence);
  }
  return kept;
}

std::vector<MemberPayload> AllPayloads(const ExemplarMemory& memory) {
  std::vector<MemberPayload> payloads;
  for (const MemberKey& member : memory.Members()) {
    payloads.push_back({member, memory.Payload(static_cast<int64_t>(payloads.size()))});
  }
  return payloads;
}

// The law in words: of each sender the `cap` highest, and of those the `capacity` highest.
std::map<uint64_t, std::set<uint64_t>> ByTheLaw(std::vector<Sent> stream, size_t cap,
                                                size_t capacity) {
  std::sort(stream.begin(), stream.end(), [](const Sent& a, const Sent& b) {
    return PriorityKey(kSeed, 0, a.sequence) > PriorityKey(kSeed, 0, b.sequence);
  });
  std::map<uint64_t, std::set<uint64_t>> kept;
  size_t count = 0;
  for (const Sent& sent : stream) {
    if (count == capacity || kept[sent.sender].size() == cap) continue;
    kept[sent.sender].insert(sent.sequence);
    ++count;
  }
  return kept;
}

TEST(SenderShareTest, TheCapIsTheShareRoundedDownAndAtLeastOne) {
  EXPECT_EQ(SenderCap(0.2, 1000), 200);
  EXPECT_EQ(SenderCap(0.29, 100), 29);
  EXPECT_EQ(SenderCap(0.5, 7), 3);
  EXPECT_EQ(SenderCap(0.001, 100), 1);
  EXPECT_EQ(SenderCap(1, 100), 100);
  EXPECT_FALSE(CapsSenders(1));
}

TEST(SenderShareTest, OneWhoFloodsHasItsShareAndNoMore) {
  const auto memory = MakeCapped(CappedOptions(100, 0.2));
  int64_t most = 0;
  for (const Sent& sent : Flood(40)) {
    OfferSent(sent, memory.get());
    const auto kept = KeptBySender(*memory);
    const auto flooder = kept.find(kFlooder);
    if (flooder != kept.end()) {
      most = std::max(most, static_cast<int64_t>(flooder->second.size()));
    }
  }
  EXPECT_EQ(most, 20);
  EXPECT_EQ(memory->size(), 100);
  // The same without a cap: it owns nine in ten.
  const auto open = MakeCapped(CappedOptions(100, 1));
  for (const Sent& sent : Flood(40)) OfferSent(sent, open.get());
  std::set<uint64_t> of_flooder;
  for (const Sent& sent : Flood(40)) {
    if (sent.sender == kFlooder) of_flooder.insert(sent.sequence);
  }
  int64_t flooded = 0;
  for (const MemberKey& member : open->Members()) flooded += of_flooder.count(member.sequence);
  EXPECT_GT(flooded, 80);
}

TEST(SenderShareTest, AReservoirKeepsTheHighestOfEachInWhateverOrderTheyCome) {
  std::vector<Sent> stream = Flood(60);
  const auto expected = ByTheLaw(stream, 30, 150);
  std::mt19937_64 random(3);
  for (int order = 0; order < 5; ++order) {
    const auto memory = MakeCapped(CappedOptions(150, 0.2));
    for (const Sent& sent : stream) OfferSent(sent, memory.get());
    EXPECT_EQ(KeptBySender(*memory), expected);
    std::shuffle(stream.begin(), stream.end(), random);
  }
}

TEST(SenderShareTest, WhatIsKeptOfTheHonestIsAUniformSampleOfTheirs) {
  // Thirds of each honest sender's stream, over many seeds.
  std::vector<int64_t> thirds(3);
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    ExemplarMemoryOptions options = CappedOptions(100, 0.2);
    options.seed = seed;
    const auto memory = MakeCapped(options);
    const std::vector<Sent> stream = Flood(30, seed);
    for (const Sent& sent : stream) OfferSent(sent, memory.get());
    for (const auto& [sender, sequences] : KeptBySender(*memory)) {
      if (sender == kFlooder) continue;
      for (const uint64_t sequence : sequences) ++thirds[(sequence - 1) * 3 / stream.size()];
    }
  }
  const int64_t all = std::accumulate(thirds.begin(), thirds.end(), int64_t{0});
  EXPECT_EQ(all, 60 * 80);
  for (const int64_t third : thirds) {
    // Of 4 800 that are kept out of 18 000, a third has 1 600 with a deviation of 28.
    EXPECT_NEAR(static_cast<double>(third), 1600, 4 * 28);
  }
}

TEST(SenderShareTest, TheCapCountsAgainstTheCapacityBeforeTheMemoryIsFull) {
  const auto memory = MakeCapped(CappedOptions(100, 0.1));
  for (uint64_t sequence = 1; sequence <= 500; ++sequence) {
    OfferSent({sequence, 1, 0}, memory.get());
    EXPECT_EQ(memory->size(), std::min<int64_t>(10, static_cast<int64_t>(sequence)));
  }
  OfferSent({501, 2, 0}, memory.get());
  EXPECT_EQ(memory->size(), 11);
}

TEST(SenderShareTest, WithoutACapSendersChangeNothing) {
  for (const AdmissionPolicy policy :
       {AdmissionPolicy::kReservoir, AdmissionPolicy::kClassBalanced, AdmissionPolicy::kClassRing,
        AdmissionPolicy::kTaskRing}) {
    const auto named = MakeCapped(CappedOptions(50, 1, policy));
    const auto nameless = MakeCapped(CappedOptions(50, 1, policy));
    for (Sent sent : Flood(10)) {
      OfferSent(sent, named.get());
      sent.sender = 0;
      OfferSent(sent, nameless.get());
    }
    EXPECT_EQ(named->Members(), nameless->Members());
    EXPECT_EQ(named->Bytes(), nameless->Bytes());
    for (int64_t slot = 0; slot < named->size(); ++slot) {
      EXPECT_EQ(named->Payload(slot), nameless->Payload(slot));
      EXPECT_EQ(named->Payload(slot).substr(0, 4), "EXM1");
    }
  }
}

// Every policy, senders of very different rates, saved and restored on the way.
TEST(SenderShareTest, EveryPolicyKeepsTheCapAndContinuesAfterARestore) {
  for (const AdmissionPolicy policy :
       {AdmissionPolicy::kReservoir, AdmissionPolicy::kClassBalanced, AdmissionPolicy::kClassRing,
        AdmissionPolicy::kTaskRing}) {
    for (const double share : {0.02, 0.1, 0.34, 0.8}) {
      const ExemplarMemoryOptions options = CappedOptions(40, share, policy);
      const auto memory = MakeCapped(options);
      const auto restored = MakeCapped(options);
      const std::vector<Sent> stream = Flood(12);
      for (size_t i = 0; i < stream.size(); ++i) {
        OfferSent(stream[i], memory.get());
        if (i == stream.size() / 2) {
          const auto status = restored->Restore(AllPayloads(*memory), memory->class_order());
          ASSERT_TRUE(status.ok()) << status;
        } else if (i > stream.size() / 2) {
          OfferSent(stream[i], restored.get());
        }
        for (const auto& [sender, sequences] : KeptBySender(*memory)) {
          ASSERT_LE(static_cast<int64_t>(sequences.size()), SenderCap(share, 40)) << sender;
        }
        ASSERT_LE(memory->size(), 40);
        ASSERT_LE(memory->Bytes(), memory->BytesMax());
      }
      EXPECT_EQ(memory->Members(), restored->Members());
      EXPECT_EQ(KeptBySender(*memory), KeptBySender(*restored));
    }
  }
}

TEST(SenderShareTest, AClassThatASenderComesToLateHasAPlaceAmongItsOwn) {
  for (const AdmissionPolicy policy :
       {AdmissionPolicy::kClassBalanced, AdmissionPolicy::kClassRing}) {
    const auto memory = MakeCapped(CappedOptions(40, 0.5, policy));
    uint64_t sequence = 0;
    for (int32_t cls = 0; cls < 4; ++cls) {
      for (int i = 0; i < 100; ++i) OfferSent({++sequence, 1, cls}, memory.get());
    }
    std::map<int32_t, int64_t> counts;
    for (int64_t slot = 0; slot < memory->size(); ++slot) ++counts[memory->At(slot).class_index];
    EXPECT_EQ(memory->size(), 20);
    for (int32_t cls = 0; cls < 4; ++cls) EXPECT_NEAR(counts[cls], 5, 1) << cls;
  }
}

TEST(SenderShareTest, ARingKeepsTheNewestOfASenderAtItsCap) {
  const auto memory = MakeCapped(CappedOptions(10, 0.3, AdmissionPolicy::kClassRing));
  for (uint64_t sequence = 1; sequence <= 50; ++sequence) {
    OfferSent({sequence, kFlooder, 0}, memory.get());
  }
  OfferSent({51, 1, 0}, memory.get());
  EXPECT_EQ(KeptBySender(*memory),
            (std::map<uint64_t, std::set<uint64_t>>{{1, {51}}, {kFlooder, {48, 49, 50}}}));
}

TEST(SenderShareTest, ADistinctMemoryCountsAnExampleToWhoSentItFirst) {
  ExemplarMemoryOptions options = CappedOptions(10, 0.2);
  options.distinct = true;
  const auto memory = MakeCapped(options);
  const std::vector<float> same = {1, 2};
  for (uint64_t sequence = 1; sequence <= 20; ++sequence) {
    ExemplarView view;
    view.features = same;
    view.sequence = sequence;
    view.sender = sequence == 1 ? kFlooder : sequence;
    memory->Offer(view);
  }
  ASSERT_EQ(memory->size(), 1);
  EXPECT_EQ(memory->At(0).sender, kFlooder);
  for (const Sent& sent : Flood(5)) OfferSent({sent.sequence + 20, sent.sender}, memory.get());
  EXPECT_LE(KeptBySender(*memory)[kFlooder].size(), 2u);
  EXPECT_EQ(memory->size(), 10);
}

TEST(SenderShareTest, WhatIsForgottenMakesRoomForItsSender) {
  const auto memory = MakeCapped(CappedOptions(100, 0.2));
  for (const Sent& sent : Flood(40)) OfferSent(sent, memory.get());
  std::vector<MemberPayload> payloads = AllPayloads(*memory);
  for (int64_t slot = 0; slot < memory->size(); ++slot) {
    if (memory->At(slot).sender == kFlooder) payloads[static_cast<size_t>(slot)].bytes.clear();
  }
  ASSERT_TRUE(memory->Restore(payloads, {}).ok());
  EXPECT_EQ(memory->size(), 80);
  EXPECT_EQ(KeptBySender(*memory).count(kFlooder), 0u);
  for (const Sent& sent : Flood(40)) OfferSent({sent.sequence + 10000, sent.sender}, memory.get());
  EXPECT_EQ(memory->size(), 100);
  EXPECT_EQ(KeptBySender(*memory)[kFlooder].size(), 20u);
}

TEST(SenderShareTest, SavedMembersThatBreakTheCapAreRefused) {
  const auto open = MakeCapped(CappedOptions(10, 1));
  const auto wide = MakeCapped(CappedOptions(10, 0.8));
  const auto narrow = MakeCapped(CappedOptions(10, 0.2));
  for (uint64_t sequence = 1; sequence <= 8; ++sequence) {
    OfferSent({sequence, 1, 0}, open.get());
    OfferSent({sequence, 1, 0}, wide.get());
    OfferSent({sequence, 1, 0}, narrow.get());
  }
  const auto before = narrow->Members();
  const absl::Status too_many = narrow->Restore(AllPayloads(*wide), {});
  EXPECT_EQ(too_many.code(), absl::StatusCode::kDataLoss);
  EXPECT_NE(too_many.message().find("share of 2"), absl::string_view::npos) << too_many;
  EXPECT_EQ(narrow->Restore(AllPayloads(*open), {}).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(open->Restore(AllPayloads(*narrow), {}).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(narrow->Members(), before);
}

TEST(SenderShareTest, APayloadCarriesItsSender) {
  const std::vector<float> features = {0, 1}, side = {-3};
  for (const auto storage : {FeatureStorage::kFloat32, FeatureStorage::kUint8}) {
    const ExemplarView view{features, 4, 2, 0, side, 0x0123456789abcdefu};
    const std::string bytes = EncodeExemplar(view, storage, /*with_sender=*/true);
    const auto exemplar = DecodeExemplar(bytes, 2);
    ASSERT_TRUE(exemplar.ok()) << exemplar.status();
    EXPECT_EQ(exemplar->sender, view.sender);
    EXPECT_EQ(exemplar->features, features);
    EXPECT_EQ(exemplar->side, side);
    for (size_t length = 0; length < bytes.size(); ++length) {
      EXPECT_FALSE(DecodeExemplar(bytes.substr(0, length), 2).ok()) << length;
    }
    EXPECT_FALSE(DecodeExemplar(EncodeExemplar(view, storage), 2)->sender.has_value());
  }
}

TEST(SenderShareTest, TasksThatShareAPlaceKeepTheCapTogether) {
  TaskMemoryOptions options;
  options.capacity = 50;
  options.places = 3;
  options.feature_count = 2;
  options.seed = kSeed;
  options.max_sender_share = 0.2;
  const auto memory = *TaskMemory::Create(options);
  const std::vector<Sent> stream = Flood(40);
  for (size_t i = 0; i < stream.size(); ++i) {
    OfferSent(stream[i], memory.get());
    if ((i + 1) % (stream.size() / 8) == 0) memory->CloseTask();
  }
  ASSERT_EQ(memory->past_count(), 2);
  // The first place holds tasks 1 to 7: as if they had been one.
  std::vector<Sent> shared = stream;
  shared.resize(stream.size() / 8 * 7);
  EXPECT_EQ(KeptBySender(memory->past(0)), ByTheLaw(shared, 10, 50));
  EXPECT_EQ(KeptBySender(memory->past(1))[kFlooder].size(), 10u);
}

TEST(SpreadSendersTest, NoPrefixHasMoreOfOneSenderThanItsShare) {
  std::vector<uint64_t> senders;
  std::mt19937_64 random(2);
  for (int i = 0; i < 40; ++i) senders.push_back(kFlooder);  // the best are all its own
  for (int i = 0; i < 200; ++i) senders.push_back(random() % 10);
  const std::vector<int64_t> order = SpreadSenders(senders, 0.2);
  std::map<uint64_t, int64_t> counts;
  std::set<int64_t> seen;
  for (size_t i = 0; i < order.size(); ++i) {
    ASSERT_TRUE(seen.insert(order[i]).second);
    const uint64_t sender = senders[static_cast<size_t>(order[i])];
    ASSERT_LE(++counts[sender], SenderCap(0.2, static_cast<int64_t>(i) + 1)) << i;
  }
  EXPECT_EQ(seen.size(), senders.size());
  // The flooder's rows are the best, so it has its share of every prefix until it has no more.
  EXPECT_EQ(order[0], 0);
  EXPECT_EQ(std::count_if(order.begin(), order.begin() + 100,
                          [](int64_t row) { return row < 40; }),
            20);
}

TEST(SpreadSendersTest, WhereNobodyElseIsLeftTheRestFollows) {
  EXPECT_EQ(SpreadSenders({1, 1, 1, 1}, 0.2), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(SpreadSenders({1, 1, 2, 1}, 0.5), (std::vector<int64_t>{0, 2, 1, 3}));
  EXPECT_TRUE(SpreadSenders({}, 0.5).empty());
}

TEST(OwnerLimitsTest, HerdingPassesOverOwnersThatHaveTheirs) {
  const std::vector<float> rows = {1.0f, 1.0f, 1.1f, 0.9f, 5.0f, 6.0f};
  EXPECT_EQ(Herd(rows, 1, 6, {{0, 0, 0, 0, 1, 1}, {2, 1}}).size(), 3u);
  const std::vector<int64_t> chosen = Herd(rows, 1, 4, {{0, 0, 0, 0, 1, 1}, {2, 6}});
  EXPECT_EQ(std::count_if(chosen.begin(), chosen.end(), [](int64_t row) { return row < 4; }), 2);
  EXPECT_EQ(Herd(rows, 1, 4, {{0, 0, 0, 0, 1, 1}, {4, 4}}), Herd(rows, 1, 4));
}

class CappedHerdTest : public ::testing::Test {
 protected:
  CappedHerdTest() {
    options_.capacity = 60;
    options_.feature_count = 2;
    options_.seed = kSeed;
    options_.max_sender_share = 0.2;
    memory_ = *HerdedMemory::Create(options_);
  }
  std::map<uint64_t, int64_t> Counts() const {
    std::map<uint64_t, int64_t> counts;
    for (const HerdedMemory::Group& group : memory_->groups()) {
      for (const HerdedExemplar& exemplar : group.exemplars) ++counts[exemplar.sender];
    }
    return counts;
  }
  std::vector<MemberPayload> HerdPayloads() const {
    std::vector<MemberPayload> payloads;
    for (const MemberKey& member : memory_->Members()) {
      payloads.push_back({member, memory_->Payload(static_cast<int64_t>(payloads.size()))});
    }
    return payloads;
  }

  HerdedMemoryOptions options_;
  std::unique_ptr<HerdedMemory> memory_;
};

TEST_F(CappedHerdTest, BeforeHerdingAFlooderHasAnEqualPartOfItsShareInEveryClass) {
  for (const Sent& sent : Flood(60)) {
    OfferSent(sent, memory_.get());
    for (const auto& [sender, count] : Counts()) ASSERT_LE(count, 12) << sender;
  }
  EXPECT_EQ(Counts()[kFlooder], 12);
  EXPECT_EQ(memory_->size(), 60);
  for (const HerdedMemory::Group& group : memory_->groups()) {
    const int64_t part = std::count_if(group.exemplars.begin(), group.exemplars.end(),
                                       [](const auto& e) { return e.sender == kFlooder; });
    EXPECT_GE(part, 2);
    EXPECT_LE(part, 3);
  }
}

TEST_F(CappedHerdTest, ARankingKeepsTheCapAndMakesASendersOtherPartsSmaller) {
  for (uint64_t sequence = 1; sequence <= 40; ++sequence) {
    OfferSent({sequence, kFlooder, 0}, memory_.get());
  }
  EXPECT_EQ(memory_->size(), 12);
  OfferSent({50, 1, 1}, memory_.get());
  std::vector<HerdedExemplar> ranked;
  for (uint64_t sequence = 100; sequence < 140; ++sequence) {
    const std::vector<float> features(2);
    ranked.push_back(memory_->Copy({features, 1, 0, sequence, {}, kFlooder}));
  }
  ranked.push_back(memory_->groups()[1].exemplars[0]);
  memory_->Replace(1, ranked);
  EXPECT_EQ(Counts(), (std::map<uint64_t, int64_t>{{1, 1}, {kFlooder, 12}}));
  EXPECT_EQ(memory_->groups()[0].exemplars.size(), 6u);
  EXPECT_EQ(memory_->groups()[1].exemplars.size(), 7u);
  EXPECT_EQ(memory_->groups()[1].exemplars[0].sequence, 100u);
}

TEST_F(CappedHerdTest, ARestoredOneContinuesAlikeAndForgets) {
  const std::vector<Sent> stream = Flood(40);
  const size_t middle = stream.size() / 2;
  for (size_t i = 0; i < middle; ++i) OfferSent(stream[i], memory_.get());
  const auto restored = *HerdedMemory::Create(options_);
  std::vector<MemberPayload> payloads = HerdPayloads();
  ASSERT_TRUE(restored->Restore(payloads, memory_->GroupState()).ok());
  for (size_t i = middle; i < stream.size(); ++i) {
    OfferSent(stream[i], memory_.get());
    OfferSent(stream[i], restored.get());
  }
  EXPECT_EQ(memory_->Members(), restored->Members());
  payloads = HerdPayloads();
  payloads[0].bytes.clear();
  ASSERT_TRUE(restored->Restore(payloads, memory_->GroupState()).ok());
  EXPECT_EQ(restored->size(), memory_->size() - 1);
  HerdedMemoryOptions narrow = options_;
  narrow.max_sender_share = 0.01;
  EXPECT_EQ((*HerdedMemory::Create(narrow))->Restore(payloads, memory_->GroupState()).code(),
            absl::StatusCode::kDataLoss);
  narrow.max_sender_share = 1;
  EXPECT_EQ((*HerdedMemory::Create(narrow))->Restore(payloads, memory_->GroupState()).code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(CappedHerdTest, MoreClassesThanItsShareHasExemplarsLeaveSomeWithoutTheSender) {
  for (int32_t cls = 0; cls < 30; ++cls) {
    for (uint64_t i = 0; i < 20; ++i) {
      OfferSent({static_cast<uint64_t>(cls) * 100 + i + 1, kFlooder, cls}, memory_.get());
      ASSERT_LE(memory_->size(), 12);
    }
  }
  EXPECT_EQ(memory_->size(), 12);
}

}  // namespace
}  // namespace engram::strategies
