// Ten producers teach digits, one with wrong labels: who it was, and the model without it.
#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "tests/integration/digits.h"
#include "tests/integration/server_test.h"

namespace engram::integration {
namespace {

constexpr int kProducers = 10;
constexpr int kLiar = 3;
constexpr int kRounds = 6;
constexpr int kPerMessage = 100;  // four batches: a message shares none with another
constexpr int kBatch = 25;

v1::ModelSpec BatchSpec() {
  v1::ModelSpec spec = DigitSpec();
  spec.set_batch_size(kBatch);
  spec.set_max_batch_wait_ms(0);
  spec.set_held_out_max_per_task(kTestDigits);
  spec.set_checkpoint_every_examples(2000);
  return spec;
}

std::string ProducerName(int producer) { return absl::StrCat("producer-", producer); }

class BlameTest : public ServerTest {
 protected:
  // Everybody's messages in turn; without the liar's where it is absent. Held-out rows first.
  void Teach(const std::string& name, bool liar_is_there) {
    ToyModel keeper(stubs_.get(), name, "keeper");
    keeper.Create(BatchSpec());
    for (int64_t i = 0; i < kTestDigits; i += kPerMessage) {
      const auto rows = DigitRows(Digits().test, i, kPerMessage, /*lie=*/false, v1::HELD_OUT);
      ASSERT_TRUE(keeper.Send(rows).ok());
    }
    std::vector<ToyModel> producers;
    for (int i = 0; i < kProducers; ++i) {
      producers.emplace_back(stubs_.get(), name, ProducerName(i));
    }
    int64_t next = 0;
    for (int round = 0; round < kRounds; ++round) {
      for (int i = 0; i < kProducers; ++i, next += kPerMessage) {
        if (i == kLiar && !liar_is_there) continue;
        const auto sent = producers[static_cast<size_t>(i)].Send(
            DigitRows(Digits().train, next, kPerMessage, /*lie=*/i == kLiar));
        ASSERT_TRUE(sent.ok()) << sent.status.error_message();
      }
    }
    keeper.WaitApplied();
  }

  v1::BlameResponse Blame(const std::string& name) {
    v1::BlameRequest request;
    request.set_model(name);
    const auto blame = testing::Call(*stubs_->admin, &v1::Admin::Stub::Blame, request);
    EXPECT_TRUE(blame.ok()) << blame.status.error_message();
    return blame.reply;
  }
};

TEST_F(BlameTest, TheLiarComesFirstAndTheModelWithoutItIsTheOneThatNeverHadIt) {
  Teach("lied-to", /*liar_is_there=*/true);
  Teach("honest", /*liar_is_there=*/false);
  const v1::BlameResponse blame = Blame("lied-to");
  ASSERT_EQ(blame.producers_size(), kProducers) << "the keeper taught nothing";
  const auto& liar = blame.producers(0);
  const auto& next = blame.producers(1);
  std::cout << liar.name() << ": accuracy " << liar.accuracy() << ", mean score "
            << liar.mean_label_score() << "; the next, " << next.name() << ": " << next.accuracy()
            << ", " << next.mean_label_score() << std::endl;
  EXPECT_EQ(liar.name(), ProducerName(kLiar));
  EXPECT_LT(liar.accuracy(), next.accuracy() / 2);
  EXPECT_LT(liar.mean_label_score(), next.mean_label_score() / 2);
  for (const auto& each : blame.producers()) {
    EXPECT_EQ(each.examples(), kRounds * kPerMessage) << each.name();
    EXPECT_EQ(each.judged(), 200) << each.name();
    EXPECT_DOUBLE_EQ(each.share(), 0.1) << each.name();
  }

  const double with = DigitAccuracy(*stubs_, "lied-to");
  v1::EraseRequest request;
  request.set_model("lied-to");
  request.set_producer(liar.name());
  const auto receipt = testing::Call(*stubs_->learning, &v1::Learning::Stub::Erase, request);
  ASSERT_TRUE(receipt.ok()) << receipt.status.error_message();
  EXPECT_EQ(receipt->weights(), v1::EraseResponse::WEIGHTS_REBUILT);
  EXPECT_EQ(receipt->erased_examples(), kRounds * kPerMessage);
  // Its messages were whole batches, so its tombstones leave the batches of all others as they
  // would have been without it.
  const double without = DigitAccuracy(*stubs_, "lied-to");
  std::cout << "held-out accuracy " << with << " with the lies, " << without << " without"
            << std::endl;
  EXPECT_GT(without, 0.8);
  EXPECT_EQ(without, DigitAccuracy(*stubs_, "honest"));
  EXPECT_EQ(DigitScores(*stubs_, "lied-to"), DigitScores(*stubs_, "honest")) << "bit by bit";
  const v1::BlameResponse after = Blame("lied-to");
  EXPECT_EQ(after.producers_size(), kProducers - 1);
  for (const auto& each : after.producers()) EXPECT_NE(each.name(), ProducerName(kLiar));
}

}  // namespace
}  // namespace engram::integration
