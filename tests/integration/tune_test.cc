// A tune on a live server: rates that are wrong by thirty lose, the right one becomes the model,
// and none of it is lost to kill -9.
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/integration/exposition.h"
#include "tests/integration/server_test.h"
#include "tests/testing/process/http_get.h"

namespace engram::integration {
namespace {

// Plain SGD on the toy rows: a thirtieth is too slow to learn a task in 40 steps, thirty times as
// much blows up.
constexpr double kRightRate = 0.5;
const std::vector<std::vector<int64_t>> kTasks = {{0, 1, 2}, {3, 4, 5}};

// The model itself is thirty times too slow; the candidates are right, and thirty times too fast.
v1::ModelSpec TunedSpec(v1::Tune::Policy policy) {
  v1::ModelSpec spec = ToySpec();
  spec.add_strategies()->mutable_experience_replay()->set_memory_size(100);
  spec.mutable_optimizer()->set_learning_rate(kRightRate / 30);
  v1::Tune::Axis* axis = spec.mutable_tune()->add_grid();
  axis->set_parameter("learning_rate");
  axis->add_values(kRightRate);
  axis->add_values(kRightRate * 30);
  spec.mutable_tune()->set_tasks(static_cast<int64_t>(kTasks.size()));
  spec.mutable_tune()->set_policy(policy);
  return spec;
}

class TuneTest : public ServerTest {
 protected:
  void Create(const v1::ModelSpec& spec) {
    model_.UseStubs(stubs_.get());
    model_.Create(spec);
  }
  void LearnTask(size_t task) {
    model_.Learn(kTasks[task], 400);
    model_.Boundary();
    model_.WaitApplied(/*evaluated=*/true);
  }
  v1::TuneReport Tune() { return model_.Describe().tune(); }
  // A record that the trainer asks for by itself is applied soon after what led to it.
  void AwaitState(v1::TuneReport::State state) {
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (Tune().state() != state && absl::Now() < end) model_.WaitApplied();
    ASSERT_EQ(Tune().state(), state) << Tune().DebugString();
  }

  ToyModel model_{nullptr, "toy"};
};

TEST_F(TuneTest, RatesThatAreWrongByThirtyLose) {
  Create(TunedSpec(v1::Tune::PROMOTE));
  LearnTask(0);
  EXPECT_EQ(Tune().state(), v1::TuneReport::RUNNING);
  LearnTask(1);
  AwaitState(v1::TuneReport::PROMOTED);
  const v1::TuneReport report = Tune();
  EXPECT_EQ(report.winner_name(), absl::StrCat("learning_rate=", kRightRate));
  EXPECT_EQ(report.own().examples(), 800);
  EXPECT_GT(report.candidates(0).accuracy(), report.own().accuracy() + 0.05);
  EXPECT_GT(report.candidates(0).accuracy(), report.candidates(1).accuracy() + 0.05);
  const v1::Model model = model_.Describe();
  EXPECT_EQ(model.spec().optimizer().learning_rate(), kRightRate);
  EXPECT_FALSE(model.spec().has_tune());
  EXPECT_GE(model_.Accuracy(kTasks[1]), 0.9) << "what is served is the candidate";
}

TEST_F(TuneTest, KilledAtAnyMomentItEndsTheSame) {
  Create(TunedSpec(v1::Tune::PROMOTE));
  model_.Learn(kTasks[0], 250);
  model_.WaitApplied();
  model_.Checkpoint("middle");  // candidates are in it
  Restart(/*kill=*/true, &model_);
  EXPECT_EQ(Tune().own().examples(), 250);
  model_.Learn(kTasks[0], 150);
  model_.Boundary();
  Restart(/*kill=*/true, &model_);
  LearnTask(1);
  AwaitState(v1::TuneReport::PROMOTED);
  const v1::TuneReport report = Tune();
  const v1::PredictResponse before = model_.Predict({0, 1, 2, 3, 4, 5});
  const std::string sha256 = model_.Checkpoint().sha256();
  Restart(/*kill=*/true, &model_);
  EXPECT_EQ(Tune().SerializeAsString(), report.SerializeAsString());
  EXPECT_EQ(ScoreBits(model_.Predict({0, 1, 2, 3, 4, 5})), ScoreBits(before));
  EXPECT_EQ(model_.Checkpoint().sha256(), sha256);
  model_.Rollback("middle");
  EXPECT_EQ(Tune().state(), v1::TuneReport::RUNNING);
  EXPECT_EQ(Tune().own().examples(), 250);
}

TEST_F(TuneTest, AProposalWaitsForAClient) {
  Create(TunedSpec(v1::Tune::PROPOSE));
  LearnTask(0);
  LearnTask(1);
  AwaitState(v1::TuneReport::DECIDED);
  EXPECT_EQ(model_.Describe().spec().optimizer().learning_rate(), kRightRate / 30);
  v1::UpdateModelRequest request;
  request.set_name("toy");
  request.set_promote(true);
  *request.mutable_spec() = model_.Describe().spec();
  EXPECT_EQ(testing::Call(*stubs_->models, &v1::Models::Stub::UpdateModel, request)
                .status.error_code(),
            grpc::INVALID_ARGUMENT)
      << "promote or a spec";
  request.clear_spec();
  const auto promoted = testing::Call(*stubs_->models, &v1::Models::Stub::UpdateModel, request);
  ASSERT_TRUE(promoted.ok()) << promoted.status.error_message();
  EXPECT_EQ(promoted->model().spec().optimizer().learning_rate(), kRightRate);
  AwaitState(v1::TuneReport::PROMOTED);
  EXPECT_EQ(testing::Call(*stubs_->models, &v1::Models::Stub::UpdateModel, request)
                .status.error_code(),
            grpc::FAILED_PRECONDITION);
}

TEST_F(TuneTest, TheCommandStartsShowsAndStopsATune) {
  v1::ModelSpec spec = TunedSpec(v1::Tune::PROPOSE);
  spec.clear_tune();
  Create(spec);
  int runs = 0;
  const auto run = [&](const std::string& arguments) {
    const std::string output = absl::StrCat(scratch_.path(), "/tune.", ++runs);
    const auto finished =
        testing::RunToEnd({"/bin/sh", "-c",
                           absl::StrCat("exec ", testing::CommandBinary(), " --server ",
                                        server_->grpc_address(), " ", arguments)},
                          absl::Seconds(30), output);
    EXPECT_TRUE(finished.ok()) << finished.status();
    return finished.ok() ? *finished : testing::Finished{};
  };
  EXPECT_EQ(run("tune start toy --tasks 1 --candidate lr=-1").code, 1);
  EXPECT_EQ(run("tune start toy --tasks 1 --candidate lr=much").code, 2);
  EXPECT_EQ(run("tune start toy --tasks 1 --grid ewc.lambda").code, 2);
  ASSERT_EQ(run("model pause toy").code, 0);
  const auto started = run(absl::StrCat("tune start toy --tasks 1 --candidate 'lr=", kRightRate,
                                        " name=right' --grid learning_rate=15"));
  ASSERT_EQ(started.code, 0) << started.output;
  EXPECT_EQ(run("tune show toy").output, "tune 1 of toy: begins\n");
  ASSERT_EQ(run("model resume toy").code, 0);
  LearnTask(0);
  AwaitState(v1::TuneReport::DECIDED);
  const auto shown = run("tune show toy --watch --json");
  ASSERT_EQ(shown.code, 0) << shown.output;
  const auto json = nlohmann::json::parse(shown.output, nullptr, false);
  EXPECT_EQ(json["tune"]["winner_name"], "right") << shown.output;
  EXPECT_NE(run("tune show toy").output.find("proposed"), std::string::npos);
  const auto page = testing::HttpGet(server_->http_address(), "/metrics");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_NE(page->body.find("engram_tune_winner{model=\"toy\",candidate=\"right\"} 1"),
            std::string::npos);
  EXPECT_EQ(run("tune stop toy").code, 0);
  AwaitState(v1::TuneReport::STOPPED);
  EXPECT_EQ(run("tune promote toy").code, 1);
  EXPECT_EQ(run("tune stop toy").code, 1);
}

}  // namespace
}  // namespace engram::integration
