// /metrics: every family of the surface is there, well formed, and says what the report says.
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/integration/exposition.h"
#include "tests/integration/server_test.h"
#include "tests/testing/process/http_get.h"

namespace engram::integration {
namespace {

const std::vector<int64_t> kFirst = {0, 1};
const std::vector<int64_t> kSecond = {2, 3};

class MetricsTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    model_.UseStubs(stubs_.get());
  }

  // Every family has something to say after this, a restart with a replay included.
  void LiveALittle() {
    v1::ModelSpec spec = ToySpec();
    spec.add_strategies()->mutable_experience_replay()->set_memory_size(60);
    spec.add_strategies()->mutable_ewc()->set_lambda(1);
    model_.Create(spec);
    model_.HoldOut(kFirst, 40, "task-1");
    model_.HoldOut(kSecond, 40, "b");
    model_.Learn(kFirst, 300);
    model_.Boundary("b");
    model_.Learn(kSecond, 300);
    model_.Boundary("c");
    model_.WaitApplied(/*evaluated=*/true);
    model_.Checkpoint("kept");
    model_.Learn(kFirst, 50);
    model_.WaitApplied();
    model_.Rollback("kept");
    model_.Learn(kSecond, 45);
    model_.WaitApplied();
    Restart(/*kill=*/true, &model_);
    model_.Learn(kSecond, 25);
    SendRepeatAndReject();
    model_.WaitApplied(/*evaluated=*/true);
    model_.Predict({0, 1, 2});
  }

  void SendRepeatAndReject() {
    v1::LearnBatchRequest repeat;
    repeat.set_model("toy");
    repeat.set_producer("twice");
    repeat.set_producer_sequence(1);
    *repeat.add_examples() = testing::ToyExample({}, 0, 4242);
    for (int i = 0; i < 2; ++i) {
      testing::Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, repeat);
    }
    v1::LearnBatchRequest bad;
    bad.add_examples();
    EXPECT_FALSE(model_.Send(bad).ok());
  }

  Exposition Scrape() {
    const auto reply = testing::HttpGet(server_->http_address(), "/metrics");
    EXPECT_TRUE(reply.ok()) << reply.status();
    EXPECT_EQ(reply->code, 200);
    EXPECT_NE(reply->headers.find("text/plain"), std::string::npos) << reply->headers;
    auto parsed = ParseExposition(reply->body);
    EXPECT_TRUE(parsed.ok()) << parsed.status();
    return parsed.ok() ? *std::move(parsed) : Exposition();
  }

  double Value(const Exposition& page, const std::string& name, LabelSet more = {}) {
    more.emplace("model", "toy");
    const auto value = page.Find(name, more);
    EXPECT_TRUE(value.has_value()) << name;
    return value.value_or(-1);
  }

  ToyModel model_{nullptr, "toy"};
};

TEST_F(MetricsTest, EveryFamilyOfTheSurfaceIsThere) {
  LiveALittle();
  const Exposition page = Scrape();
  for (const char* name : {"build_info",
                           "rpc_server_duration_seconds",
                           "ingest_examples_total",
                           "ingest_append_seconds",
                           "durable_sequence",
                           "applied_sequence",
                           "applied_lag_examples",
                           "train_examples_total",
                           "train_steps_total",
                           "train_skipped_batches_total",
                           "train_step_seconds",
                           "train_loss",
                           "prequential_accuracy_ratio",
                           "task_accuracy_ratio",
                           "task_best_accuracy_ratio",
                           "forgetting_ratio",
                           "average_accuracy_ratio",
                           "average_forgetting_ratio",
                           "backward_transfer_ratio",
                           "forward_transfer_ratio",
                           "tasks",
                           "boundaries_total",
                           "episodic_examples",
                           "episodic_bytes",
                           "importance_snapshots",
                           "model_version",
                           "model_published_timestamp_seconds",
                           "predict_seconds",
                           "predict_batch_size",
                           "checkpoint_seconds",
                           "checkpoint_bytes",
                           "checkpoints",
                           "rollbacks_total",
                           "recovery_seconds",
                           "recovery_replayed_examples"}) {
    EXPECT_TRUE(page.Has(absl::StrCat("engram_", name))) << name;
  }
}

TEST_F(MetricsTest, EveryFamilyButTheServersOwnNamesItsModel) {
  const std::set<std::string> of_the_server = {
      "engram_audit_lost_total", "engram_build_info",
      "engram_connections",      "engram_in_flight_bytes",
      "engram_limit_met_total",  "engram_rpc_server_duration_seconds",
      "engram_self_probes_total"};
  LiveALittle();
  for (const auto& [name, family] : Scrape().families) {
    if (of_the_server.count(name) > 0 || absl::StartsWith(name, "engram_storage_") ||
        absl::StartsWith(name, "process_")) {
      continue;
    }
    for (const Sample& sample : family.samples) {
      EXPECT_EQ(sample.labels.count("model"), 1u) << sample.name;
    }
  }
}

TEST_F(MetricsTest, TheNumbersAreThoseOfTheReport) {
  LiveALittle();
  const v1::Report report = model_.Report();
  const Exposition page = Scrape();
  EXPECT_EQ(Value(page, "engram_durable_sequence"), report.durable_sequence());
  EXPECT_EQ(Value(page, "engram_applied_sequence"), report.model_version());
  EXPECT_EQ(Value(page, "engram_model_version"), report.model_version());
  EXPECT_EQ(Value(page, "engram_applied_lag_examples"), 0);
  EXPECT_DOUBLE_EQ(Value(page, "engram_prequential_accuracy_ratio"), report.prequential_accuracy());
  EXPECT_EQ(Value(page, "engram_tasks"), report.tasks_size());
  EXPECT_DOUBLE_EQ(Value(page, "engram_average_accuracy_ratio"), report.summary().acc());
  EXPECT_DOUBLE_EQ(Value(page, "engram_backward_transfer_ratio"), report.summary().bwt());
  EXPECT_DOUBLE_EQ(Value(page, "engram_forward_transfer_ratio"), report.summary().fwt());
  EXPECT_DOUBLE_EQ(Value(page, "engram_average_forgetting_ratio"), report.summary().forgetting());
  for (const v1::TaskReport& task : report.tasks()) {
    if (!task.has_accuracy()) continue;
    const LabelSet label = {{"task", task.task()}};
    EXPECT_DOUBLE_EQ(Value(page, "engram_task_accuracy_ratio", label), task.accuracy());
    EXPECT_DOUBLE_EQ(Value(page, "engram_task_best_accuracy_ratio", label), task.best_accuracy());
    if (!task.has_forgetting()) continue;
    EXPECT_DOUBLE_EQ(Value(page, "engram_forgetting_ratio", label), task.forgetting());
  }
  EXPECT_EQ(Value(page, "engram_checkpoints"), static_cast<double>(model_.Checkpoints().size()));
}

TEST_F(MetricsTest, CountersCountWhatHappenedSinceTheStart) {
  LiveALittle();
  const Exposition page = Scrape();
  EXPECT_EQ(Value(page, "engram_ingest_examples_total", {{"result", "accepted"}}), 26);
  EXPECT_EQ(Value(page, "engram_ingest_examples_total", {{"result", "duplicate"}}), 1);
  EXPECT_EQ(Value(page, "engram_ingest_examples_total", {{"result", "rejected"}}), 1);
  EXPECT_EQ(Value(page, "engram_train_skipped_batches_total"), 0);
  EXPECT_GE(Value(page, "engram_train_examples_total"), 26);
  EXPECT_GE(Value(page, "engram_predict_seconds_count"), 1);
  EXPECT_GE(Value(page, "engram_recovery_replayed_examples"), 0);
  EXPECT_GT(Value(page, "engram_recovery_seconds"), 0);
  EXPECT_LE(Value(page, "engram_importance_snapshots"), 2);
  EXPECT_GT(Value(page, "engram_episodic_bytes"), 0);
}

TEST_F(MetricsTest, AProducerThatFloodsHasItsShareOfTheMemory) {
  v1::ModelSpec spec = ToySpec();
  spec.add_strategies()->mutable_experience_replay()->set_memory_size(40);
  spec.set_max_sender_share(0.25);
  model_.Create(spec);
  ToyModel quiet(stubs_.get(), "toy", "quiet");
  quiet.Learn(kFirst, 2);
  model_.Learn(kFirst, 400);
  quiet.Learn(kFirst, 4);
  quiet.WaitApplied();
  const auto kept = [this] {
    return Value(Scrape(), "engram_episodic_examples", {{"task", "task-1"}});
  };
  EXPECT_EQ(kept(), 16);  // a quarter of 40, and what the other sent
  model_.Checkpoint();
  Restart(/*kill=*/true, &model_);
  EXPECT_EQ(kept(), 16);
  model_.Learn(kFirst, 200);
  model_.WaitApplied();
  EXPECT_EQ(kept(), 16);
}

TEST_F(MetricsTest, LatenciesUseTheBucketsOfTheSurface) {
  LiveALittle();
  const Exposition page = Scrape();
  for (const char* le : {"0.0001", "0.001", "0.01", "0.1", "1", "10", "+Inf"}) {
    EXPECT_TRUE(
        page.Find("engram_predict_seconds_bucket", {{"model", "toy"}, {"le", le}}).has_value())
        << le;
  }
}

TEST_F(MetricsTest, ADeletedModelLeavesThePage) {
  LiveALittle();
  v1::DeleteModelRequest request;
  request.set_name("toy");
  ASSERT_TRUE(testing::Call(*stubs_->models, &v1::Models::Stub::DeleteModel, request).ok());
  for (const auto& [name, family] : Scrape().families) {
    for (const Sample& sample : family.samples) {
      EXPECT_TRUE(sample.labels.count("model") == 0 || sample.labels.at("model") != "toy")
          << sample.name;
    }
  }
}

}  // namespace
}  // namespace engram::integration
