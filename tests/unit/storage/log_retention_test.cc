#include <thread>

#include "absl/strings/str_cat.h"
#include "storage/codec.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LogRetentionTest : public StoreTest {
 protected:
  // Records of `bytes` bytes each, one commit each, a second apart.
  void AppendSized(int count, size_t bytes) {
    for (int i = 0; i < count; ++i) {
      now_ms_ += 1000;
      ASSERT_TRUE(Append(log(), Records(kModel, {std::string(bytes, 'x')})).ok());
    }
  }
  Sequence Candidate(Sequence limit, int64_t keep_seconds, int64_t keep_bytes) {
    return log().TrimCandidate(kModel, limit, keep_seconds, keep_bytes, now_ms_);
  }
};

TEST_F(LogRetentionTest, ReadsBelowTheTrimMarkAreOutOfRangeAlsoAfterReopen) {
  OpenWithModel();
  AppendSized(10, 10);
  ASSERT_TRUE(log().Trim(kModel, 4).ok());
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(log().TrimMark(kModel), 4u);
    EXPECT_EQ(log().DurableSequence(kModel), 10u);
    const auto below = log().Read(kModel, 4, 10, 1000);
    EXPECT_EQ(below.status().code(), absl::StatusCode::kOutOfRange);
    EXPECT_THAT(std::string(below.status().message()), HasSubstr("begins at 5"));
    EXPECT_EQ(Payloads(5).size(), 6u);
    Reopen();
  }
}

TEST_F(LogRetentionTest, AWhollyTrimmedLogGoesOnWithTheNextSequence) {
  OpenWithModel();
  AppendSized(10, 10);
  ASSERT_TRUE(log().Trim(kModel, 10).ok());
  Reopen();
  EXPECT_EQ(log().DurableSequence(kModel), 10u);
  EXPECT_THAT(Payloads(11), IsEmpty());
  AppendSized(1, 10);
  EXPECT_EQ(log().DurableSequence(kModel), 11u);
}

TEST_F(LogRetentionTest, TrimNeverGoesBackOrBeyondWhatIsDurable) {
  OpenWithModel();
  AppendSized(10, 10);
  ASSERT_TRUE(log().Trim(kModel, 6).ok());
  ASSERT_TRUE(log().Trim(kModel, 3).ok());
  EXPECT_EQ(log().TrimMark(kModel), 6u);
  EXPECT_EQ(log().Trim(kModel, 11).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(log().Trim(99, 1).code(), absl::StatusCode::kNotFound);
}

TEST_F(LogRetentionTest, CandidateKeepsBytesAndTime) {
  OpenWithModel();
  AppendSized(100, 100);
  EXPECT_EQ(Candidate(100, 0, 0), 100u);
  EXPECT_EQ(Candidate(40, 0, 0), 40u) << "never beyond the limit";
  EXPECT_EQ(Candidate(1000, 0, 0), 100u) << "never beyond what is durable";
  EXPECT_EQ(Candidate(100, 0, 1000), 90u);
  EXPECT_EQ(Candidate(100, 0, 1001), 89u);
  EXPECT_EQ(Candidate(100, 0, 1 << 20), 0u);
  EXPECT_EQ(Candidate(100, 30, 0), 70u) << "the last 30 seconds are younger";
  EXPECT_EQ(Candidate(100, 30, 5000), 50u) << "whichever keeps more";
  ASSERT_TRUE(log().Trim(kModel, 60).ok());
  EXPECT_EQ(Candidate(100, 30, 5000), 60u) << "at least the mark";
  EXPECT_EQ(Candidate(100, 0, 1000), 90u);
}

TEST_F(LogRetentionTest, CandidateIsTheSameAfterReopenAndTrim) {
  OpenWithModel();
  AppendSized(40, 100000);  // several rows of the index
  const Sequence by_bytes = Candidate(40, 0, 1500000);
  const Sequence by_time = Candidate(40, 7, 0);
  EXPECT_EQ(by_bytes, 25u);
  EXPECT_EQ(by_time, 33u);
  Reopen();
  EXPECT_EQ(Candidate(40, 0, 1500000), by_bytes);
  EXPECT_EQ(Candidate(40, 7, 0), by_time);
  ASSERT_TRUE(log().Trim(kModel, 17).ok());
  EXPECT_EQ(Candidate(40, 0, 1500000), by_bytes);
  Reopen();
  EXPECT_EQ(Candidate(40, 0, 1500000), by_bytes);
  EXPECT_EQ(Payloads(18).size(), 23u);
}

TEST_F(LogRetentionTest, AClockThatGoesBackKeepsCandidatesOrdered) {
  OpenWithModel();
  AppendSized(5, 10);
  now_ms_ -= 3600 * 1000;
  AppendSized(5, 10);
  now_ms_ += 3600 * 1000;
  EXPECT_EQ(Candidate(10, 1, 0), 10u) << "records of the jump count as old as their forerunner";
}

TEST_F(LogRetentionTest, ReadersBesideATrimSeeRecordsOrOutOfRangeNeverDamage) {
  OpenWithModel();
  AppendSized(300, 50);
  std::atomic<bool> done{false};
  std::atomic<int> damaged{0};
  std::thread reader([&] {
    while (!done) {
      for (Sequence from = 1; from <= 300; from += 7) {
        const auto records = log().Read(kModel, from, 20, 1 << 20);
        if (!records.ok() && records.status().code() != absl::StatusCode::kOutOfRange) ++damaged;
      }
    }
  });
  for (Sequence up_to = 10; up_to <= 300; up_to += 10) EXPECT_TRUE(log().Trim(kModel, up_to).ok());
  done = true;
  reader.join();
  EXPECT_EQ(damaged, 0);
}

TEST_F(LogRetentionTest, ALogThatEndsBeforeItsIndexIsDataLoss) {
  OpenWithModel();
  AppendSized(12, 200000);  // index rows at 6 and 12
  store_.reset();
  {
    auto engine = RocksDbEngine::Open(options_.folder, options_, hooks_);
    ASSERT_TRUE(engine.ok());
    for (Sequence s = 9; s <= 12; ++s) {
      std::string key;
      AppendBig64(&key, kModel);
      AppendBig64(&key, s);
      ASSERT_TRUE(
          (*engine)->Delete(ColumnFamily::kLog, key, RocksDbEngine::Durability::kSynced).ok());
    }
  }
  Open();
  const absl::Status opened = log().Open(kModel);
  EXPECT_EQ(opened.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(opened.message()), HasSubstr("ends at record 8"));
}

TEST_F(LogRetentionTest, AGapIsDataLossAtOpen) {
  OpenWithModel();
  AppendSized(10, 10);
  store_.reset();
  {
    auto engine = RocksDbEngine::Open(options_.folder, options_, hooks_);
    ASSERT_TRUE(engine.ok());
    std::string key;
    AppendBig64(&key, kModel);
    AppendBig64(&key, 5);
    ASSERT_TRUE(
        (*engine)->Delete(ColumnFamily::kLog, key, RocksDbEngine::Durability::kSynced).ok());
  }
  Open();
  const absl::Status opened = log().Open(kModel);
  EXPECT_EQ(opened.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(opened.message()), HasSubstr("record 5 is missing"));
}

}  // namespace
}  // namespace engram::storage
