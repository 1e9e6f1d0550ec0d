// A producer that holds acks beyond what is stored locks its model's learning, until an
// administrator has acknowledged the loss.
#include "server/loss_lock.h"

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/subprocess.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using testing::MakeExample;
using testing::MakeMessage;
using testing::ModelBench;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

absl::StatusOr<v1::LearnWelcome> Hello(ModelBench* bench, const std::string& producer,
                                       uint64_t last_acked) {
  absl::optional<absl::StatusOr<v1::LearnWelcome>> answer;
  v1::LearnHello hello;
  hello.set_producer(producer);
  hello.set_last_acked_sequence(last_acked);
  bench->model().Hello(hello, [&answer](absl::StatusOr<v1::LearnWelcome> welcome) {
    answer = std::move(welcome);
  });
  bench->Settle();
  return *answer;
}

absl::Status SendAs(ModelBench* bench, const std::string& producer, uint64_t sequence) {
  absl::optional<absl::Status> answer;
  bench->model().Learn(producer, 0, MakeMessage(sequence, {MakeExample(1)}),
                       [&answer](const absl::StatusOr<Accepted>& accepted) {
                         answer = accepted.ok() ? accepted->rejection : accepted.status();
                       });
  bench->Settle();
  return *answer;
}

TEST(LossLockTest, ALossLocksTheModelForEverybodyAndOnlyForLearning) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  bench.Settle();
  EXPECT_TRUE(absl::IsDataLoss(Hello(&bench, "p", 5).status()));
  const absl::Status same = SendAs(&bench, "p", 2);
  EXPECT_TRUE(absl::IsFailedPrecondition(same)) << same;
  EXPECT_THAT(std::string(same.message()),
              HasSubstr("producer \"p\" holds ack 5, server has 1; an admin must acknowledge"));
  EXPECT_TRUE(absl::IsFailedPrecondition(SendAs(&bench, "other", 1)));
  EXPECT_TRUE(absl::IsFailedPrecondition(Hello(&bench, "other", 0).status()));
  EXPECT_TRUE(absl::IsDataLoss(Hello(&bench, "p", 5).status())) << "its own loss, again";
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::LOCKED);
  EXPECT_THAT(bench.model().Losses(), SizeIs(1));
  EXPECT_TRUE(bench.model().Ready().ok()) << "predictions go on";
  bench.CheckpointNow();  // and so does what administrators do
}

TEST(LossLockTest, AnAcknowledgedProducerGoesOnAfterTheAcksItHolds) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  (void)Hello(&bench, "p", 5);
  const auto acknowledged = *bench.model().AcknowledgeLoss("");
  ASSERT_THAT(acknowledged, SizeIs(1));
  EXPECT_EQ(acknowledged[0].producer(), "p");
  EXPECT_EQ(acknowledged[0].client_sequence(), 5u);
  EXPECT_EQ(acknowledged[0].server_sequence(), 1u);
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::SERVING);
  EXPECT_TRUE(absl::IsDataLoss(Hello(&bench, "p", 6).status())) << "6 is another loss";
  ASSERT_TRUE(bench.model().AcknowledgeLoss("p").ok());

  const auto welcome = Hello(&bench, "p", 5);
  ASSERT_TRUE(welcome.ok()) << welcome.status();
  EXPECT_EQ(welcome->last_producer_sequence(), 5u);
  EXPECT_TRUE(SendAs(&bench, "p", 6).ok());
  bench.Restart();
  EXPECT_EQ(Hello(&bench, "p", 6)->last_producer_sequence(), 6u) << "the step over is durable";
  EXPECT_TRUE(absl::IsDataLoss(Hello(&bench, "p", 7).status())) << "and was good once";
}

TEST(LossLockTest, AProducerThatStillHasWhatWasLostSendsItAgain) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  (void)Hello(&bench, "p", 3);
  ASSERT_TRUE(bench.model().AcknowledgeLoss("p").ok());
  EXPECT_EQ(Hello(&bench, "p", 1)->last_producer_sequence(), 1u);
  EXPECT_TRUE(SendAs(&bench, "p", 2).ok());
  EXPECT_TRUE(SendAs(&bench, "p", 3).ok());
  EXPECT_EQ(bench.model().DurableSequence(), 3u);
}

TEST(LossLockTest, AcknowledgingOneProducerLeavesTheOthersLoss) {
  ModelBench bench;
  (void)Hello(&bench, "a", 3);
  (void)Hello(&bench, "b", 4);
  EXPECT_THAT(*bench.model().AcknowledgeLoss("nobody"), IsEmpty());
  EXPECT_THAT(*bench.model().AcknowledgeLoss("a"), SizeIs(1));
  EXPECT_TRUE(absl::IsFailedPrecondition(SendAs(&bench, "c", 1)));
  EXPECT_THAT(*bench.model().AcknowledgeLoss(""), SizeIs(1));
  EXPECT_TRUE(SendAs(&bench, "c", 1).ok());
}

v1::Loss MakeLoss(const std::string& producer, uint64_t client) {
  v1::Loss loss;
  loss.set_producer(producer);
  loss.set_client_sequence(client);
  return loss;
}

TEST(LossBookTest, LocksAndAcknowledgementsOutliveTheProcess) {
  const testing::ScratchFolder folder;
  Background background;
  bool told = false;
  {
    const auto book = *LossBook::Open(folder.path());
    const auto lock = std::make_shared<LossLock>(7, "digits", book.get(), &background);
    lock->Lock(MakeLoss("p", 5), [&told] { told = true; });
    EXPECT_FALSE(lock->CheckOpen().ok()) << "at once";
    EXPECT_FALSE(told) << "what is not durable is not told";
    while (background.RunOne()) {
    }
    EXPECT_TRUE(told);
  }
  {
    const auto book = *LossBook::Open(folder.path());
    const auto lock = std::make_shared<LossLock>(7, "digits", book.get(), &background);
    const auto another = std::make_shared<LossLock>(8, "letters", book.get(), &background);
    EXPECT_FALSE(lock->CheckOpen().ok());
    EXPECT_TRUE(another->CheckOpen().ok());
    ASSERT_TRUE(lock->Acknowledge("").ok());
  }
  {
    const auto book = *LossBook::Open(folder.path());
    const auto lock = std::make_shared<LossLock>(7, "digits", book.get(), &background);
    EXPECT_TRUE(lock->CheckOpen().ok());
    EXPECT_EQ(lock->Acknowledged("p"), 5u);
    EXPECT_EQ(lock->Acknowledged("q"), 0u);
    ASSERT_TRUE(book->Put(7, {}).ok());
  }
  EXPECT_THAT((*LossBook::Open(folder.path()))->Of(7), IsEmpty());
}

TEST(LossBookTest, ADamagedFileIsRefusedWithTheWayOut) {
  const testing::ScratchFolder folder;
  ASSERT_TRUE((*LossBook::Open(folder.path()))->Put(7, {internal::StoredLoss()}).ok());
  const std::string path = folder.path() + "/losses";
  const std::string whole = testing::ReadWholeFile(path);
  for (size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 4);
    std::ofstream(path, std::ios::trunc) << damaged;
    const absl::Status status = LossBook::Open(folder.path()).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << at << ": " << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("remove it"));
  }
}

TEST(LossLockTest, MoreLossesThanFitAreAllRefusedAllTheSame) {
  Background background;
  const auto lock = std::make_shared<LossLock>(7, "digits", nullptr, &background);
  for (int i = 0; i < 100; ++i) lock->Lock(MakeLoss(std::to_string(i), 5), [] {});
  EXPECT_THAT(lock->Open(), SizeIs(64));
  EXPECT_FALSE(lock->CheckOpen().ok());
}

}  // namespace
}  // namespace engram::server
