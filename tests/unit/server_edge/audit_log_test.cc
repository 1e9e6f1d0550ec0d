// What administrators did: every call once, after its end and before its answer, within bounds, and
// never pushed out by what strangers try.
#include "server/audit_log.h"

#include <dirent.h>
#include <sys/stat.h>

#include <fstream>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/subprocess.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::server {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class AuditLogTest : public ::testing::Test {
 protected:
  AuditLogTest() { Open(); }

  void Open() {
    log_.reset();
    v1::Audit options;
    options.set_file_bytes(4096);
    options.set_files(3);
    log_ = *AuditLog::Open(folder_.path(), options);
  }
  void Append(const std::string& model, bool refused = false) {
    v1::AuditEntry entry = MakeAuditEntry("engram.v1.Models/DeleteModel", nullptr, "ipv4:1.2.3.4:5",
                                          absl::OkStatus());
    entry.set_model(model);
    entry.set_refused(refused);
    absl::Notification written;
    log_->Append(std::move(entry), [&written] { written.Notify(); });
    written.WaitForNotification();
  }
  std::vector<std::string> Models(int limit = 1000, uint64_t before = 0) {
    std::vector<std::string> models;
    for (const v1::AuditEntry& entry : log_->List(limit, before)) models.push_back(entry.model());
    return models;
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    DIR* const directory = opendir((folder_.path() + "/audit").c_str());
    const absl::Cleanup closer = [directory] { closedir(directory); };
    while (const dirent* each = readdir(directory)) {
      if (each->d_name[0] != '.') names.push_back(each->d_name);
    }
    return names;
  }
  std::string File(const std::string& name) const { return folder_.path() + "/audit/" + name; }

  const testing::ScratchFolder folder_;
  std::unique_ptr<AuditLog> log_;
};

TEST_F(AuditLogTest, EntriesAreLinesOfJsonTheNewestListedFirst) {
  Append("a");
  Append("b", /*refused=*/true);
  Append("c");
  EXPECT_THAT(Models(), ElementsAre("c", "b", "a"));
  EXPECT_THAT(Models(1), ElementsAre("c"));
  EXPECT_THAT(Models(10, 3), ElementsAre("b", "a"));
  const std::string line = testing::ReadWholeFile(File("actions.jsonl"));
  EXPECT_THAT(line, AllOf(HasSubstr("\"number\":\"1\""), HasSubstr("\"model\":\"a\""),
                          HasSubstr("\"outcome\":\"OK\""), Not(HasSubstr("\"b\""))));
  EXPECT_THAT(testing::ReadWholeFile(File("refusals.jsonl")), HasSubstr("\"refused\":true"));
  struct stat facts = {};
  ASSERT_EQ(stat(File("actions.jsonl").c_str(), &facts), 0);
  EXPECT_EQ(facts.st_mode & 0777, 0600u);
}

TEST_F(AuditLogTest, NumbersGoOnAfterARestartAndATornLineHurtsNobody) {
  Append("a");
  log_.reset();
  std::ofstream(File("actions.jsonl"), std::ios::app) << "{\"number\":\"2\",\"mo";
  Open();
  EXPECT_THAT(Models(), ElementsAre("a"));
  Append("b");
  const auto entries = log_->List(10, 0);
  ASSERT_THAT(entries, SizeIs(2));
  EXPECT_EQ(entries[0].model(), "b");
  EXPECT_EQ(entries[0].number(), 2u);
}

TEST_F(AuditLogTest, FilesAreBoundedAndRefusalsPushNoActionOut) {
  Append("kept");
  for (int i = 0; i < 300; ++i) Append("refused", /*refused=*/true);
  EXPECT_THAT(Files(), ::testing::UnorderedElementsAre("actions.jsonl", "refusals.jsonl",
                                                       "refusals.1.jsonl", "refusals.2.jsonl"));
  for (const std::string& name : Files()) {
    EXPECT_LT(testing::ReadWholeFile(File(name)).size(), 4096u + 1024u) << name;
  }
  const auto models = Models();
  EXPECT_EQ(models.back(), "kept");
  EXPECT_GT(models.size(), 20u);
  EXPECT_LT(models.size(), 100u);
}

TEST_F(AuditLogTest, AFloodOfRefusalsIsDroppedNotQueued) {
  for (int i = 0; i < 20000; ++i) {
    v1::AuditEntry entry;
    entry.set_refused(true);
    log_->Append(std::move(entry), nullptr);
  }
  Append("after");
  EXPECT_GT(log_->lost(), 0u);
  EXPECT_EQ(Models(1), std::vector<std::string>{"after"});
}

TEST_F(AuditLogTest, WhatCannotBeWrittenIsCountedAndTheCallAnsweredAllTheSame) {
  ASSERT_EQ(system(absl::StrCat("rm -r ", folder_.path(), "/audit").c_str()), 0);
  for (int i = 0; i < 40; ++i) Append(std::string(100, 'x'));  // until the file is to be put aside
  EXPECT_GT(log_->lost(), 0u);
}

TEST(AuditSubjectTest, NamesWhatARequestIsAboutAndNoExample) {
  v1::AuditEntry entry;
  v1::RollbackRequest rollback;
  rollback.set_model("digits");
  rollback.set_checkpoint("01H\n");
  rollback.set_dry_run(true);
  NameSubject(rollback, &entry);
  EXPECT_EQ(entry.model(), "digits");
  EXPECT_EQ(entry.subject(), "01H\\n");
  EXPECT_TRUE(entry.dry_run());
  v1::AuditEntry deleted;
  v1::DeleteCheckpointRequest request;
  request.set_id("01J");
  NameSubject(request, &deleted);
  EXPECT_EQ(deleted.subject(), "01J");
  v1::AuditEntry example;
  v1::Example personal;
  personal.set_id("alice");
  personal.set_subject_id("alice");
  NameSubject(personal, &example);
  EXPECT_EQ(example.DebugString().find("alice"), std::string::npos);
}

class RecordedCallsTest : public AuditLogTest {
 protected:
  RecordedCallsTest() { rig_.edge().audit = log_.get(); }
  ~RecordedCallsTest() override { rig_.server().Drain(absl::ZeroDuration()); }

  testing::EdgeRig rig_;
  testing::Stubs stubs_{rig_.channel()};
};

TEST_F(RecordedCallsTest, AnAdministratorsCallIsRecordedWithItsOutcomeBeforeItIsAnswered) {
  v1::CreateModelRequest create;
  create.set_name("digits");
  ASSERT_TRUE(testing::Call(*stubs_.models, &v1::Models::Stub::CreateModel, create).ok());
  ASSERT_THAT(log_->List(10, 0), SizeIs(1)) << "the answer is here, so must the entry be";
  EXPECT_FALSE(testing::Call(*stubs_.models, &v1::Models::Stub::CreateModel, create).ok());
  v1::RollbackRequest rollback;
  rollback.set_model("digits");
  rollback.set_checkpoint("nothing");
  (void)testing::Call(*stubs_.checkpoints, &v1::Checkpoints::Stub::Rollback, rollback);
  const auto entries = log_->List(10, 0);
  ASSERT_THAT(entries, SizeIs(3));
  EXPECT_EQ(entries[2].method(), "engram.v1.Models/CreateModel");
  EXPECT_EQ(entries[2].model(), "digits");
  EXPECT_EQ(entries[2].role(), "admin");
  EXPECT_EQ(entries[2].outcome(), "OK");
  EXPECT_THAT(entries[2].peer(), HasSubstr("127.0.0.1"));
  EXPECT_EQ(entries[1].outcome(), "ALREADY_EXISTS");
  EXPECT_EQ(entries[0].subject(), "nothing");
}

TEST_F(RecordedCallsTest, ReadingIsNotRecorded) {
  rig_.AddDigits();
  v1::GetModelRequest get;
  get.set_name("digits");
  ASSERT_TRUE(testing::Call(*stubs_.models, &v1::Models::Stub::GetModel, get).ok());
  const auto listed =
      testing::Call(*stubs_.admin, &v1::Admin::Stub::ListAudit, v1::ListAuditRequest());
  ASSERT_TRUE(listed.ok());
  EXPECT_THAT(listed->entries(), IsEmpty());
  v1::ListAuditRequest many;
  many.set_limit(1001);
  EXPECT_EQ(testing::Call(*stubs_.admin, &v1::Admin::Stub::ListAudit, many).status.error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace engram::server
