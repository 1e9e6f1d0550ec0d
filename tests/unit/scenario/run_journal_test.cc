#include "client/scenario/run_journal.h"

#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/datasets/digit_generator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::scenario {
namespace {

using ::testing::HasSubstr;

class RunJournalTest : public ::testing::Test {
 protected:
  // Each test is a process of its own under ctest, beside others.
  RunJournalTest()
      : path_(absl::StrCat(::testing::TempDir(), "/run_journal_test.", getpid(), ".jsonl")) {
    std::remove(path_.c_str());
  }
  ~RunJournalTest() override { std::remove(path_.c_str()); }

  void Write(const std::string& text) { std::ofstream(path_, std::ios::binary) << text; }
  std::string Read() const {
    std::ostringstream text;
    text << std::ifstream(path_, std::ios::binary).rdbuf();
    return text.str();
  }

  const std::string path_;
};

TEST_F(RunJournalTest, ResultsAreFoundAgainByTheNextProcess) {
  {
    auto journal = RunJournal::Open(path_).value();
    EXPECT_EQ(journal->Find("a"), nullptr);
    ASSERT_TRUE(journal->Append("a", {{"acc", 0.5}}).ok());
    EXPECT_EQ((*journal->Find("a"))["acc"], 0.5);
  }
  auto journal = RunJournal::Open(path_).value();
  ASSERT_TRUE(journal->Append("b", {{"acc", 0.75}}).ok());
  EXPECT_EQ((*journal->Find("a"))["acc"], 0.5);
  EXPECT_EQ(Read(),
            "{\"run\":\"a\",\"result\":{\"acc\":0.5}}\n"
            "{\"run\":\"b\",\"result\":{\"acc\":0.75}}\n");
}

TEST_F(RunJournalTest, LineCutByACrashIsDroppedAndWrittenOver) {
  Write("{\"run\":\"a\",\"result\":{\"acc\":0.5}}\n{\"run\":\"b\",\"res");
  {
    auto journal = RunJournal::Open(path_).value();
    EXPECT_NE(journal->Find("a"), nullptr);
    EXPECT_EQ(journal->Find("b"), nullptr);
    ASSERT_TRUE(journal->Append("b", {{"acc", 1}}).ok());
  }
  EXPECT_NE(RunJournal::Open(path_).value()->Find("b"), nullptr);
}

TEST_F(RunJournalTest, WholeLineThatIsNoResultIsNamed) {
  for (const std::string line :
       {"{\"run\":\"a\"}", "nonsense", "[1]", "{\"run\":1,\"result\":{}}"}) {
    Write("{\"run\":\"a\",\"result\":{}}\n" + line + "\n");
    const auto journal = RunJournal::Open(path_);
    EXPECT_EQ(journal.status().code(), absl::StatusCode::kDataLoss) << line;
    EXPECT_THAT(journal.status().message(), HasSubstr(":2 is no result"));
  }
}

TEST_F(RunJournalTest, FolderThatIsNotThereIsRefused) {
  EXPECT_EQ(RunJournal::Open(path_ + "/absent/file").status().code(),
            absl::StatusCode::kPermissionDenied);
}

std::string Fingerprint(const std::function<void(RunOptions*)>& change, uint64_t digits_seed = 1) {
  const datasets::RowSplit digits = datasets::GenerateDigits({digits_seed, 6, 3}).value();
  RunOptions options;
  options.scenario.name = "permuted-mnist";
  options.scenario.tasks = 2;
  options.scenario.examples_per_task = 30;
  change(&options);
  const Scenario scenario = MakeRunScenario(options, digits).value();
  return RunFingerprint(options, scenario, RowsFingerprint(digits)).value();
}

TEST(RunFingerprintTest, EverythingThatDecidesAResultIsInIt) {
  const auto nothing = [](RunOptions*) {};
  const std::set<std::string> prints = {
      Fingerprint(nothing),
      Fingerprint(nothing, 2),
      Fingerprint([](RunOptions* options) { options->scenario.seed = 2; }),
      Fingerprint([](RunOptions* options) { options->scenario.tasks = 3; }),
      Fingerprint([](RunOptions* options) { options->scenario.side = 32; }),
      Fingerprint([](RunOptions* options) { options->scenario.held_out_per_task = 9; }),
      Fingerprint([](RunOptions* options) { options->scenario.incremental = Incremental::kTask; }),
      Fingerprint([](RunOptions* options) { options->strategy = "ewc"; }),
      Fingerprint([](RunOptions* options) { options->strategy = "ewc:lambda=2"; }),
      Fingerprint([](RunOptions* options) { options->learning_rate = 0.1; }),
      Fingerprint([](RunOptions* options) { options->augmentation = "noise=0.1"; }),
      Fingerprint([](RunOptions* options) { options->penalty_schedule = "tasks"; }),
      Fingerprint([](RunOptions* options) { options->hidden = {8}; }),
      Fingerprint([](RunOptions* options) { options->head = "fixed"; }),
      Fingerprint([](RunOptions* options) { options->schedule.epochs = 2; }),
      Fingerprint([](RunOptions* options) { options->schedule.iterations = 2; }),
      Fingerprint([](RunOptions* options) { options->schedule.drop_last = true; }),
      Fingerprint([](RunOptions* options) { options->schedule.batch_size = 9; }),
  };
  EXPECT_EQ(prints.size(), 18u);
}

TEST(RunFingerprintTest, HowAResultIsSentAndNamedIsNot) {
  const std::string same = Fingerprint([](RunOptions* options) {
    options->model = "other";
    options->message_examples = 3;
    options->keep_model = true;
  });
  EXPECT_EQ(same, Fingerprint([](RunOptions*) {}));
  EXPECT_EQ(same.size(), 16u);
}

}  // namespace
}  // namespace engram::scenario
