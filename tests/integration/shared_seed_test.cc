// A seed through the server and the same seed in process are one learner: equal R to the last bit,
// equal weights. So tables may take most of their seeds without a server.
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/clients.h"
#include "client/connection.h"
#include "client/datasets/digit_generator.h"
#include "client/flags.h"
#include "client/scenario/run_plan.h"
#include "client/scenario/scenario_runner.h"
#include "storage/sha256.h"
#include "tests/integration/server_test.h"
#include "tests/testing/in_process/in_process_run.h"

namespace engram::integration {
namespace {

class SharedSeedTest : public ServerTest {
 protected:
  scenario::RunOptions Options(const std::vector<std::string>& args) {
    scenario::RunFlags run;
    client::FlagSet flags("", "");
    scenario::AddRunFlags(&run, &flags);
    EXPECT_TRUE(flags.Parse(args).ok());
    return scenario::MakeRunPlan(args, run).value().strategies.front().front();
  }

  // The state at the end is compared by the checksum of what a checkpoint holds: weights,
  // optimizer, generator, strategy.
  void ExpectEqualRuns(std::vector<std::string> args, const datasets::RowSplit& source) {
    args.insert(args.end(), {"--checkpoints", "--keep_model", "--model=shared"});
    const scenario::RunOptions options = Options(args);
    client::ConnectionOptions server;
    server.target = server_->grpc_address();
    const auto connection = client::Connection::Open(server).value();
    const auto served = scenario::RunScenario(connection, options, source, {});
    ASSERT_TRUE(served.ok()) << served.status();
    std::string saved;
    const auto direct = testing::RunInProcess(options, source, {}, &saved);
    ASSERT_TRUE(direct.ok()) << direct.status();
    EXPECT_EQ(served->r, direct->r);
    EXPECT_EQ(served->trained_examples, direct->trained_examples);
    EXPECT_EQ(served->prequential_accuracy, direct->prequential_accuracy);
    EXPECT_EQ(served->summary.SerializeAsString(), direct->summary.SerializeAsString());
    EXPECT_EQ(served->task_summary.SerializeAsString(), direct->task_summary.SerializeAsString());
    const auto checkpoint = client::CheckpointsClient(connection)
                                .Get("shared", absl::StrCat("after-", served->tasks.back()));
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status();
    EXPECT_EQ(checkpoint->sha256(), storage::Sha256Hex(saved));
  }

  const datasets::RowSplit digits_ = datasets::GenerateDigits({1, 120, 40}).value();
};

TEST_F(SharedSeedTest, ReplayOnlineClassIncremental) {
  ExpectEqualRuns({"split-mnist", "--strategy=experience_replay:memory_size=100", "--seed=3"},
                  digits_);
}

TEST_F(SharedSeedTest, EwcTaskIncrementalWithAnEpochCutShort) {
  ExpectEqualRuns({"split-mnist", "--protocol=vdv", "--scenario=task", "--strategy=ewc",
                   "--hidden=32", "--batch_size=32", "--iterations=40"},
                  digits_);
}

TEST_F(SharedSeedTest, RotationsWithAFixedHead) {
  ExpectEqualRuns({"rotated-mnist", "--protocol=mammoth", "--tasks=3", "--examples_per_task=300",
                   "--strategy=experience_replay:memory_size=50+online_ewc"},
                  digits_);
}

TEST_F(SharedSeedTest, StreamScoredBeforeEachStep) {
  datasets::RowSplit stream;
  stream.train.rows = 400;
  stream.train.columns = 2;
  for (int row = 0; row < 400; ++row) {
    stream.train.labels.push_back(row / 7 % 2);
    stream.train.values.push_back(static_cast<float>(row / 7 % 2) + 0.001f * (row % 300));
    stream.train.values.push_back(static_cast<float>(row % 5));
  }
  ExpectEqualRuns({"electricity", "--hidden=8"}, stream);
}

}  // namespace
}  // namespace engram::integration
