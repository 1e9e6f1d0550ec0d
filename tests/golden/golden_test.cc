// Folders that earlier formats wrote are opened, raised to today's, and go on.
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/golden/golden_stream.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"

namespace engram::golden {
namespace {

using testing::Call;
using testing::Stubs;

class GoldenTest : public ::testing::TestWithParam<int> {
 protected:
  GoldenTest() {
    options_.data_dir = scratch_.Subfolder("data");
    const std::string from = absl::StrCat(ENGRAM_GOLDEN_FOLDER, "/format_", GetParam());
    std::filesystem::copy(from, options_.data_dir, std::filesystem::copy_options::recursive);
  }

  void Start() {
    auto started = testing::ServerProcess::Start(options_);
    ASSERT_TRUE(started.ok()) << started.status();
    server_ = *std::move(started);
    stubs_ = std::make_unique<Stubs>(server_->NewChannel());
  }
  void Restart() {
    const auto code = server_->Drain();
    ASSERT_TRUE(code.ok() && *code == 0) << server_->Output();
    Start();
  }

  v1::Model Describe() {
    v1::GetModelRequest request;
    request.set_name(kModel);
    const auto model = Call(*stubs_->models, &v1::Models::Stub::GetModel, request);
    EXPECT_TRUE(model.ok()) << model.status.error_message();
    return model.reply;
  }
  std::string Format() {
    std::ifstream file(options_.data_dir + "/FORMAT");
    std::string line;
    std::getline(file, line);
    return line;
  }
  v1::EraseResponse Erase(const std::string& subject) {
    v1::EraseRequest request;
    request.set_model(kModel);
    request.set_subject_id(subject);
    const auto receipt = Call(*stubs_->learning, &v1::Learning::Stub::Erase, request);
    EXPECT_TRUE(receipt.ok()) << receipt.status.error_message();
    return receipt.reply;
  }

  const testing::ScratchFolder scratch_;
  testing::ServerOptions options_;
  std::unique_ptr<testing::ServerProcess> server_;
  std::unique_ptr<Stubs> stubs_;
};

TEST_P(GoldenTest, OpensIsRaisedAndGoesOn) {
  EXPECT_EQ(Format(), absl::StrCat("engram-store ", GetParam()));
  Start();
  EXPECT_EQ(Format(), "engram-store 2");
  const v1::Model model = Describe();
  EXPECT_EQ(model.state(), v1::Model::SERVING) << model.state_reason();
  EXPECT_EQ(model.durable_sequence(), kDurable);
  EXPECT_EQ(model.version(), kApplied);
  EXPECT_EQ(model.current_task(), "second");
  EXPECT_EQ(model.classes_size(), 3);

  // Its checkpoint, tensors and exemplars, verified as they are loaded.
  v1::GetCheckpointRequest get;
  get.set_model(kModel);
  get.set_id(kLabel);
  const auto checkpoint = Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::GetCheckpoint, get);
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status.error_message();
  EXPECT_EQ(checkpoint->exemplars(), 8);
  v1::RollbackRequest rollback;
  rollback.set_model(kModel);
  rollback.set_checkpoint(kLabel);
  const auto back = Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::Rollback, rollback);
  ASSERT_TRUE(back.ok()) << back.status.error_message();

  // The producer is known: what it sent before is a repeat, its next message is news.
  const auto repeat =
      Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, Message(kMessages));
  ASSERT_TRUE(repeat.ok()) << repeat.status.error_message();
  EXPECT_TRUE(repeat->duplicate());
  v1::LearnBatchRequest next = Message(kMessages);
  next.set_producer_sequence(kMessages + 1);
  for (v1::Example& example : *next.mutable_examples()) example.clear_subject_id();
  const auto stored = Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, next);
  ASSERT_TRUE(stored.ok()) << stored.status.error_message();
  EXPECT_EQ(stored->first_sequence(), kDurable + 2);

  // In a log of format 1 names are found by reading it.
  const v1::EraseResponse receipt = Erase("ann");
  EXPECT_EQ(receipt.data(), v1::EraseResponse::DATA_REMOVED);
  EXPECT_EQ(receipt.weights(), v1::EraseResponse::WEIGHTS_REBUILT);
  EXPECT_EQ(receipt.erased_examples(), kExamplesOfAnn);
  EXPECT_EQ(Erase("nobody").data(), v1::EraseResponse::NOTHING_FOUND);
  Restart();
  EXPECT_EQ(Describe().durable_sequence(), kDurable + 3);
  EXPECT_EQ(Describe().state(), v1::Model::SERVING);
  EXPECT_EQ(Erase("ann").SerializeAsString(), receipt.SerializeAsString());
}

INSTANTIATE_TEST_SUITE_P(Formats, GoldenTest, ::testing::Values(1, 2));

}  // namespace
}  // namespace engram::golden
