// Records found by name and rewritten; a store of format 1 opened; files after a purge.

#include "absl/strings/str_cat.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr absl::string_view kCanary = "CANARY-7d1c9a0f5b3e4826a1d0c7f3";

NewRecord Named(std::string payload, std::string id, std::string subject) {
  return {1, std::move(payload), std::move(id), std::move(subject)};
}

// Files of the folder, at any depth, that hold these bytes.
std::vector<std::string> FilesWith(const std::string& folder, absl::string_view bytes) {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (!entry.is_regular_file()) continue;
    if (ReadWholeFile(entry.path().string()).find(std::string(bytes)) != std::string::npos) {
      found.push_back(entry.path().filename().string());
    }
  }
  return found;
}

class ErasureTest : public StoreTest {
 protected:
  std::vector<Sequence> Find(RecordName kind, absl::string_view name) {
    const auto found = log().FindNamed(kModel, kind, name);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() ? *found : std::vector<Sequence>();
  }
  void AppendNamed(std::vector<NewRecord> records) {
    Submission submission;
    submission.model = kModel;
    submission.records = std::move(records);
    submission.mark = ProducerMark{"sensor", 1, ++sent_, 5};
    ASSERT_TRUE(Append(log(), std::move(submission)).ok());
  }

  uint64_t sent_ = 0;
};

TEST_F(ErasureTest, RecordsSayWhoSentThemAndAreFoundByTheirNamesAlsoAfterReopen) {
  OpenWithModel();
  AppendNamed({Named("a", "id-1", "ann"), Named("b", "", "bob"), Named("c", "id-1", ""),
               Named("d", "", "")});
  AppendNamed({Named("e", "ann", "ann")});
  ASSERT_TRUE(Append(log(), Records(kModel, {"nobody's"})).ok());
  for (int round = 0; round < 2; ++round) {
    EXPECT_THAT(Find(RecordName::kId, "id-1"), ElementsAre(1, 3));
    EXPECT_THAT(Find(RecordName::kId, "ann"), ElementsAre(5));
    EXPECT_THAT(Find(RecordName::kSubject, "ann"), ElementsAre(1, 5));
    EXPECT_THAT(Find(RecordName::kSubject, "an"), IsEmpty());
    EXPECT_THAT(Find(RecordName::kSubject, ""), IsEmpty());
    EXPECT_EQ(log().UnnamedThrough(kModel).value(), 0u);
    const auto records = log().Read(kModel, 4, 10, 1000);
    ASSERT_TRUE(records.ok());
    EXPECT_EQ(records->at(1).producer, "sensor");
    EXPECT_EQ(records->at(2).producer, "");
    Reopen();
  }
}

TEST_F(ErasureTest, NamesOfTrimmedRecordsGoUnlessTheyAreKept) {
  OpenWithModel();
  for (int i = 1; i <= 6; ++i) AppendNamed({Named("x", absl::StrCat("id-", i), "ann")});
  ASSERT_TRUE(log().TrimNames(kModel, [] {
    ADD_FAILURE() << "nothing is trimmed yet";
    return std::vector<Sequence>();
  }).ok());
  ASSERT_TRUE(log().Trim(kModel, 4).ok());
  ASSERT_TRUE(log().TrimNames(kModel, [] { return std::vector<Sequence>{9, 2}; }).ok());
  EXPECT_THAT(Find(RecordName::kSubject, "ann"), ElementsAre(2, 5, 6));
  EXPECT_THAT(Find(RecordName::kId, "id-3"), IsEmpty());
  ASSERT_TRUE(log().RemoveNames(kModel, {2, 3, 6}).ok());
  EXPECT_THAT(Find(RecordName::kSubject, "ann"), ElementsAre(5));
  ASSERT_TRUE(log().Remove(kModel).ok());
  ASSERT_TRUE(log().Open(kModel).ok());
  EXPECT_THAT(Find(RecordName::kSubject, "ann"), IsEmpty());
}

TEST_F(ErasureTest, ARewrittenRecordKeepsItsPlaceAndTimeAndLosesItsSender) {
  OpenWithModel();
  AppendNamed({Named("first", "", ""), Named("second", "", ""), Named("third", "", "")});
  now_ms_ += 5000;
  ASSERT_TRUE(log().Rewrite(kModel, {{2, 6, "gone"}}).ok());
  for (int round = 0; round < 2; ++round) {
    EXPECT_THAT(Payloads(), ElementsAre("first", "gone", "third"));
    const auto records = log().Read(kModel, 2, 1, 1000);
    ASSERT_TRUE(records.ok());
    EXPECT_EQ(records->front().kind, 6);
    EXPECT_EQ(records->front().producer, "");
    // Its time is that of its commit: retention judges by it.
    EXPECT_EQ(log().TrimCandidate(kModel, 3, 4, 0, now_ms_), 3u);
    Reopen();
  }
  ASSERT_TRUE(log().Trim(kModel, 1).ok());
  EXPECT_EQ(log().Rewrite(kModel, {{2, 6, "x"}, {1, 6, "x"}}).code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ(log().Rewrite(kModel, {{4, 6, "x"}}).code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(Payloads(2), ElementsAre("gone", "third"));
}

TEST_F(ErasureTest, AfterAPurgeNoFileHoldsWhatWasRewrittenOrDeleted) {
  OpenWithModel();
  const std::string canary(kCanary);
  std::vector<NewRecord> records;
  for (int i = 0; i < 200; ++i) records.push_back(Named(std::string(500, 'x'), "", "somebody"));
  records[50] = Named(canary + "payload", canary, canary);
  AppendNamed(std::move(records));
  ASSERT_TRUE(store_->held_out().Put(kModel, {{{"task", 51, canary}}}).ok());
  ASSERT_TRUE(store_->episodic().Put(kModel, {{{{0, 51, 0}, canary}}}).ok());
  ASSERT_TRUE(store_->catalog().PutErasure(kModel, "x", canary).ok());
  Reopen();  // some of it is in tables then
  AppendNamed({Named("after", "", "")});
  ASSERT_THAT(FilesWith(options_.folder, kCanary), Not(IsEmpty()));

  ASSERT_TRUE(log().Rewrite(kModel, {{51, 6, ""}}).ok());
  ASSERT_TRUE(log().RemoveNames(kModel, {51}).ok());
  ASSERT_TRUE(store_->held_out().Delete(kModel, "task", 51).ok());
  ASSERT_TRUE(store_->episodic().Sweep(kModel, {}).ok());
  ASSERT_TRUE(store_->catalog().RemoveErasure(kModel, "x").ok());
  // Deleted is not gone: this is what Purge is for.
  EXPECT_THAT(FilesWith(options_.folder, kCanary), Not(IsEmpty()));
  const absl::Status purged = store_->Purge(kModel, {51});
  ASSERT_TRUE(purged.ok()) << purged;
  EXPECT_THAT(FilesWith(options_.folder, kCanary), IsEmpty());
  Reopen();
  EXPECT_THAT(FilesWith(options_.folder, kCanary), IsEmpty());
  EXPECT_EQ(Payloads().size(), 201u);
  EXPECT_EQ(Payloads(51).front(), "");
}

TEST_F(ErasureTest, RowsOfErasuresComeBackByName) {
  OpenWithModel();
  ModelCatalog& catalog = store_->catalog();
  EXPECT_FALSE(catalog.FindErasure(kModel, "").value().has_value());
  ASSERT_TRUE(catalog.PutErasure(kModel, "", "under way").ok());
  ASSERT_TRUE(catalog.PutErasure(kModel, "digest", "receipt").ok());
  Reopen();
  EXPECT_EQ(store_->catalog().FindErasure(kModel, "").value(), "under way");
  EXPECT_EQ(store_->catalog().FindErasure(kModel, "digest").value(), "receipt");
  ASSERT_TRUE(store_->catalog().RemoveErasure(kModel, "").ok());
  EXPECT_FALSE(store_->catalog().FindErasure(kModel, "").value().has_value());
  ASSERT_TRUE(store_->catalog().RemoveErasures(kModel).ok());
  EXPECT_FALSE(store_->catalog().FindErasure(kModel, "digest").value().has_value());
}

TEST_F(ErasureTest, AStoreOfFormat1IsRaisedAndSaysWhichRecordsItDidNotName) {
  OpenWithModel();
  ASSERT_TRUE(Append(log(), Records(kModel, {"a", "b", "c"})).ok());
  ASSERT_TRUE(log().Open(kModel + 1).ok());
  ASSERT_TRUE(Append(log(), Records(kModel + 1, {"a"})).ok());
  ASSERT_TRUE(log().Trim(kModel + 1, 1).ok());
  store_.reset();
  WriteWholeFile(options_.folder + "/FORMAT", "engram-store 1\n");
  for (int round = 0; round < 2; ++round) {
    OpenWithModel();
    EXPECT_EQ(ReadWholeFile(options_.folder + "/FORMAT"), "engram-store 2\n");
    EXPECT_EQ(log().UnnamedThrough(kModel).value(), 3u);
    EXPECT_EQ(log().UnnamedThrough(kModel + 1).value(), 1u);
    EXPECT_EQ(log().UnnamedThrough(kModel + 2).value(), 0u);
    AppendNamed({Named("d", "", "ann")});
    EXPECT_THAT(Find(RecordName::kSubject, "ann"), Contains(4));
    store_.reset();
  }
}

}  // namespace
}  // namespace engram::storage
