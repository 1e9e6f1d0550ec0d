// Backups as the server runs them: who is refused, what is kept, what the metrics say. What a
// backup holds is the business of the storage tests.
#include "server/backup_job.h"

#include <filesystem>
#include <fstream>
#include <future>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "engram/v1/admin.grpc.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"
#include "server/config.h"
#include "server/exporter.h"
#include "storage/base/status_macros.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/server_edge/edge_rig.h"
#include "tests/testing/server_edge/exposition.h"

namespace engram::testing {
namespace {

using server::BackupJob;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class BackupJobTest : public ::testing::Test {
 protected:
  BackupJobTest() {
    std::filesystem::create_directories(Source());
    std::ofstream(Source() + "/FORMAT") << "engram-store 1\n";
    store_.back_up = [this](const storage::BackupRequest& request) { return Write(request); };
    config_.mutable_backups()->set_folder(scratch_.path() + "/backups");
    config_.mutable_backups()->set_kept(2);
    Start();
  }
  ~BackupJobTest() override { rig_.edge().backups = nullptr; }

  std::string Source() const { return scratch_.path() + "/source"; }
  void Start() {
    job_.reset();
    auto job = BackupJob::Make(config_, scratch_.path() + "/data", &store_);
    ASSERT_TRUE(job.ok()) << job.status();
    job_ = *std::move(job);
    rig_.edge().backups = job_.get();
  }
  absl::StatusOr<storage::BackupManifest> Write(const storage::BackupRequest& request) {
    ENGRAM_RETURN_IF_ERROR(answer_);
    EXPECT_THAT(request.beside, ElementsAre("losses", "audit"));
    storage::BackupManifest manifest;
    manifest.name = request.name;
    manifest.create_time_ms = ++now_ms_;
    manifest.models.push_back({1, "digits", 41});
    manifest.pause_seconds = 0.25;
    return storage::WriteBackup(Source(), request.root, {}, manifest, request.cancelled);
  }
  grpc::Status Create(const std::string& name, v1::Backup* backup) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(20)));
    v1::CreateBackupRequest request;
    request.set_name(name);
    return v1::Admin::NewStub(rig_.channel())->CreateBackup(&context, request, backup);
  }
  Exposition Scrape() {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, server::Exporter(rig_.edge()).Collect());
    const auto page = ParseExposition(text.str());
    EXPECT_TRUE(page.ok()) << page.status();
    return page.value_or(Exposition());
  }

  ScratchFolder scratch_;
  FakeStore store_;
  absl::Status answer_;
  int64_t now_ms_ = 1000;
  v1::ServerConfig config_;
  EdgeRig rig_;
  std::unique_ptr<BackupJob> job_;
};

TEST_F(BackupJobTest, WithoutAFolderItIsRefusedAndSaysWhatToSet) {
  const auto none = BackupJob::Make({}, scratch_.path() + "/data", &store_);
  ASSERT_TRUE(none.ok());
  EXPECT_EQ(*none, nullptr);
  rig_.edge().backups = nullptr;
  v1::Backup backup;
  const grpc::Status refused = Create("a", &backup);
  EXPECT_EQ(refused.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("set backups.folder"));
}

TEST_F(BackupJobTest, AnswersWithWhatWasMade) {
  v1::Backup backup;
  ASSERT_TRUE(Create("a", &backup).ok());
  EXPECT_EQ(backup.name(), "a");
  EXPECT_EQ(backup.files(), 1);
  EXPECT_EQ(backup.bytes(), 15);
  ASSERT_EQ(backup.models_size(), 1);
  EXPECT_EQ(backup.models(0).durable_sequence(), 41u);
  EXPECT_THAT(backup.removed(), IsEmpty());
  ASSERT_TRUE(Create("", &backup).ok());
  EXPECT_EQ(backup.name().size(), 16u) << backup.name();
}

TEST_F(BackupJobTest, ANameIsAFolderOfItsOwnOrRefused) {
  v1::Backup backup;
  for (const char* name : {"../a", "/tmp/a", ".a", "a b"}) {
    const grpc::Status refused = Create(name, &backup);
    EXPECT_EQ(refused.error_code(), grpc::INVALID_ARGUMENT) << name;
    EXPECT_THAT(refused.error_message(), HasSubstr("name: must match")) << name;
  }
  ASSERT_TRUE(Create("a", &backup).ok());
  EXPECT_EQ(Create("a", &backup).error_code(), grpc::ALREADY_EXISTS);
}

TEST_F(BackupJobTest, TheOldestGoWhenANewOneIsWhole) {
  v1::Backup backup;
  ASSERT_TRUE(Create("c", &backup).ok());
  ASSERT_TRUE(Create("b", &backup).ok());
  EXPECT_THAT(backup.removed(), IsEmpty());
  ASSERT_TRUE(Create("a", &backup).ok());
  EXPECT_THAT(backup.removed(), ElementsAre("c"));
  // One that is not made costs none of those that are there.
  answer_ = absl::DataLossError("no backup of damaged state: db/000007.sst");
  const grpc::Status refused = Create("d", &backup);
  EXPECT_EQ(refused.error_code(), grpc::DATA_LOSS);
  EXPECT_EQ(Reason(refused), "CHECKSUM");
  EXPECT_EQ(job_->Counts().kept, 2);
}

TEST_F(BackupJobTest, OneAtATime) {
  std::promise<void> begun;
  std::promise<void> go_on;
  store_.back_up = [&](const storage::BackupRequest& request) {
    begun.set_value();
    go_on.get_future().wait();
    return Write(request);
  };
  v1::Backup first;
  std::future<grpc::Status> making =
      std::async(std::launch::async, [&] { return Create("a", &first); });
  begun.get_future().wait();
  v1::Backup second;
  const grpc::Status refused = Create("b", &second);
  EXPECT_EQ(refused.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("backup \"a\" is being made"));
  go_on.set_value();
  EXPECT_TRUE(making.get().ok());
  EXPECT_EQ(job_->Counts().failures, 0u);
}

TEST_F(BackupJobTest, StoppingEndsTheOneThatIsMadeAndBeginsNoOther) {
  std::promise<void> begun;
  store_.back_up = [&](const storage::BackupRequest& request) {
    begun.set_value();
    while (!request.cancelled()) std::this_thread::yield();
    return Write(request);
  };
  std::promise<absl::StatusOr<v1::Backup>> made;
  job_->Create("a", [&made](const absl::StatusOr<v1::Backup>& end) { made.set_value(end); });
  begun.get_future().wait();
  job_->Stop();
  EXPECT_EQ(made.get_future().get().status().code(), absl::StatusCode::kCancelled);
  v1::Backup backup;
  EXPECT_EQ(Create("b", &backup).error_code(), grpc::UNAVAILABLE);
  EXPECT_FALSE(std::filesystem::exists(scratch_.path() + "/backups/a"));
}

TEST_F(BackupJobTest, MetricsTellOfTheNewestAlsoAfterARestart) {
  EXPECT_EQ(Scrape().At("engram_backups"), 0);
  v1::Backup backup;
  ASSERT_TRUE(Create("a", &backup).ok());
  answer_ = absl::ResourceExhaustedError("the copy needs 9 MiB");
  const grpc::Status full = Create("b", &backup);
  EXPECT_EQ(full.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(FindDetail<google::rpc::QuotaFailure>(full).has_value());
  const Exposition page = Scrape();
  EXPECT_EQ(page.At("engram_backups"), 1);
  EXPECT_EQ(page.At("engram_backup_failures_total"), 1);
  EXPECT_EQ(page.At("engram_backup_newest_bytes"), 15);
  EXPECT_EQ(page.At("engram_backup_pause_seconds"), 0.25);
  Start();
  EXPECT_FALSE(Scrape().Has("engram_backup_pause_seconds"));
  EXPECT_DOUBLE_EQ(Scrape().At("engram_backup_newest_timestamp_seconds"), 1.001);
}

TEST_F(BackupJobTest, AFolderThatCannotBeUsedIsNamedByItsField) {
  const auto inside = scratch_.path() + "/data/backups";
  config_.mutable_backups()->set_folder(inside);
  const absl::Status refused =
      BackupJob::Make(config_, scratch_.path() + "/data", &store_).status();
  EXPECT_THAT(std::string(refused.message()), HasSubstr("backups.folder: must lie outside"));
}

TEST(BackupConfigTest, TheFolderIsRequiredAndKeptIsBounded) {
  const auto complete = [](const std::string& text) {
    return server::CompleteConfig(*server::ParseConfig(text));
  };
  EXPECT_EQ(complete("backups { folder: \"/b\" }")->backups().kept(), 7);
  for (const char* text : {"backups { }", "backups { folder: \"/b\" kept: 1001 }",
                           "backups { folder: \"/b\" kept: -1 }"}) {
    EXPECT_EQ(complete(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace engram::testing
