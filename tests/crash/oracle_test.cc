// The oracle without a server: it must find what is wrong, and only that.
#include "tests/crash/oracle.h"

#include <fstream>

#include "engram/internal/records.pb.h"
#include "gtest/gtest.h"
#include "server/record_kind.h"
#include "tests/testing/process/scratch_folder.h"

namespace engram::crash {
namespace {

using server::RecordKind;
using storage::LogRecord;

uint8_t Kind(RecordKind kind) { return static_cast<uint8_t>(kind); }

void Append(std::vector<LogRecord>* records, RecordKind kind, std::string payload) {
  records->push_back({records->size() + 1, Kind(kind), std::move(payload)});
}

void AppendRollback(std::vector<LogRecord>* records, uint64_t restored) {
  internal::RollbackRecord rollback;
  rollback.set_restored_sequence(restored);
  Append(records, RecordKind::kRollback, rollback.SerializeAsString());
}

class OracleTest : public ::testing::Test {
 protected:
  OracleTest() : testimony_{{1, "p", false}, {}} {
    testimony_.entries.last_sent = 3;
    testimony_.entries.last_acked = 2;
    for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
      const v1::LearnMessage message = testimony_.plan.Message(sequence);
      for (const auto& example : message.examples()) {
        Append(&records_, RecordKind::kExample, example.SerializeAsString());
      }
    }
  }

  Verdict Judged() const { return Judge(records_, {testimony_}, {}); }
  size_t MessageSize(uint64_t sequence) const {
    return static_cast<size_t>(testimony_.plan.ExampleCount(sequence));
  }

  Testimony testimony_;
  std::vector<LogRecord> records_;
};

TEST_F(OracleTest, AcceptsALogThatHoldsWhatWasAckedAndOneUnackedMessage) {
  const Verdict verdict = Judged();
  EXPECT_TRUE(verdict.Clean());
  EXPECT_EQ(verdict.acked_examples, static_cast<int64_t>(MessageSize(1) + MessageSize(2)));
}

TEST_F(OracleTest, AnUnackedMessageMayBeAbsent) {
  records_.resize(MessageSize(1) + MessageSize(2));
  EXPECT_TRUE(Judged().Clean());
}

TEST_F(OracleTest, FindsALostExample) {
  records_.resize(MessageSize(1) + MessageSize(2) - 1);
  EXPECT_EQ(Judged().lost, 1);
}

TEST_F(OracleTest, FindsADoubledExample) {
  records_.push_back(records_.front());
  EXPECT_EQ(Judged().twice, 1);
}

TEST_F(OracleTest, FindsAnAlteredExample) {
  v1::Example example;
  ASSERT_TRUE(example.ParseFromString(records_[0].payload));
  (*example.mutable_features()->mutable_dense())[0] ^= 1;
  records_[0].payload = example.SerializeAsString();
  EXPECT_EQ(Judged().altered, 1);
}

TEST_F(OracleTest, FindsATornMessage) {
  testimony_.plan.producer = "q";
  records_.clear();
  uint64_t sequence = 1;
  while (testimony_.plan.ExampleCount(sequence) < 2) ++sequence;
  testimony_.entries = {sequence, sequence - 1, {}, {}};
  for (uint64_t i = 1; i <= sequence; ++i) {
    const v1::LearnMessage message = testimony_.plan.Message(i);
    for (const auto& example : message.examples()) {
      Append(&records_, RecordKind::kExample, example.SerializeAsString());
    }
  }
  records_.pop_back();
  EXPECT_EQ(Judged().torn, 1);
}

TEST_F(OracleTest, FindsWhatNobodySent) {
  v1::Example stranger;
  stranger.set_id("stranger");
  Append(&records_, RecordKind::kExample, stranger.SerializeAsString());
  EXPECT_EQ(Judged().unexpected, 1);
}

TEST_F(OracleTest, FindsARejectedMessageThatIsStored) {
  testimony_.entries.rejected.insert(1);
  EXPECT_EQ(Judged().unexpected, 1);
}

TEST_F(OracleTest, FindsAnAnsweredRollbackThatIsNotInTheLog) {
  EXPECT_EQ(Judge(records_, {testimony_}, {{1, 0}}).lost, 1);
  AppendRollback(&records_, 2);
  EXPECT_TRUE(Judge(records_, {testimony_}, {{records_.size(), 2}}).Clean());
}

TEST(StandingTest, ARollbackHidesWhatCameAfterItsCheckpoint) {
  std::vector<LogRecord> records;
  for (int i = 0; i < 5; ++i) Append(&records, RecordKind::kFlush, "");
  AppendRollback(&records, 2);
  Append(&records, RecordKind::kFlush, "");
  EXPECT_EQ(Standing(records), (std::vector<bool>{true, true, false, false, false, false, true}));
}

TEST(StandingTest, ACheckpointOfAnUndonePastBringsItBack) {
  std::vector<LogRecord> records;
  for (int i = 0; i < 4; ++i) Append(&records, RecordKind::kFlush, "");
  AppendRollback(&records, 1);  // sequence 5 hides 2..5
  Append(&records, RecordKind::kFlush, "");
  AppendRollback(&records, 3);  // sequence 7 brings back what stood at 3
  EXPECT_EQ(Standing(records), (std::vector<bool>{true, true, true, false, false, false, false}));
}

TEST(WithoutDroppedTest, KeepsEveryOtherSequence) {
  std::vector<LogRecord> records;
  Append(&records, RecordKind::kExample, "a");
  Append(&records, RecordKind::kExample, "b");
  AppendRollback(&records, 1);
  Append(&records, RecordKind::kExample, "c");
  const auto kept = WithoutDropped(records);
  ASSERT_EQ(kept.size(), 4u);
  EXPECT_EQ(kept[0].payload, "a");
  EXPECT_EQ(kept[1].kind, Kind(RecordKind::kFlush));
  EXPECT_EQ(kept[2].kind, Kind(RecordKind::kFlush));
  EXPECT_EQ(kept[3].payload, "c");
}

TEST(LedgerTest, ReadsBackWhatWasWritten) {
  testing::ScratchFolder scratch;
  const std::string file = scratch.path() + "/ledger";
  {
    Ledger ledger(file);
    for (const uint64_t sequence : {1, 2, 3, 2}) ledger.Sent(sequence);
    ledger.Acked(2);
    ledger.Rejected(1);
    EXPECT_EQ(ledger.last_acked(), 2u);
  }
  const LedgerEntries entries = Ledger::Read(file);
  EXPECT_EQ(entries.last_sent, 3u);
  EXPECT_EQ(entries.last_acked, 2u);
  EXPECT_EQ(entries.resent, std::set<uint64_t>{2});
  EXPECT_EQ(entries.rejected, std::set<uint64_t>{1});
}

TEST(MessagePlanTest, AMessageIsAFunctionOfItsNumber) {
  const MessagePlan plan{3, "p", true};
  bool boundary_seen = false;
  for (uint64_t sequence = 1; sequence <= 200; ++sequence) {
    EXPECT_EQ(plan.Message(sequence).SerializeAsString(),
              plan.Message(sequence).SerializeAsString());
    boundary_seen = boundary_seen || plan.IsBoundary(sequence);
  }
  EXPECT_TRUE(boundary_seen);
}

}  // namespace
}  // namespace engram::crash
