#include "server/exporter.h"

#include <sstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"
#include "tests/testing/server_edge/edge_rig.h"
#include "tests/testing/server_edge/exposition.h"

namespace engram::testing {
namespace {

// By type. The names are a contract with dashboards and rules.
std::map<std::string, std::vector<const char*>> FamiliesOfTheSurface() {
  return {
      {"counter",
       {"engram_ingest_examples_total", "engram_train_examples_total", "engram_train_steps_total",
        "engram_train_skipped_batches_total", "engram_boundaries_total", "engram_rollbacks_total",
        "engram_tune_train_seconds_total", "engram_erasures_total", "engram_canary_drops_total",
        "engram_erased_examples_total", "engram_quarantined_examples_total",
        "engram_storage_scrubbed_bytes_total",
        "engram_storage_damaged_files_total", "engram_limit_met_total",
        "process_cpu_seconds_total"}},
      {"histogram",
       {"engram_rpc_server_duration_seconds", "engram_ingest_append_seconds",
        "engram_train_step_seconds", "engram_predict_seconds", "engram_predict_batch_size",
        "engram_checkpoint_seconds"}},
      {"gauge",
       {"engram_build_info",
        "engram_storage_read_only",
        "engram_storage_free_bytes",
        "engram_storage_size_bytes",
        "engram_storage_reserve_bytes",
        "process_start_time_seconds",
        "process_resident_memory_bytes",
        "process_threads",
        "process_open_fds",
        "process_max_fds",
        "engram_connections",
        "engram_in_flight_bytes",
        "engram_ingest_locked",
        "engram_durable_sequence",
        "engram_applied_sequence",
        "engram_applied_lag_examples",
        "engram_train_loss",
        "engram_prequential_accuracy_ratio",
        "engram_task_accuracy_ratio",
        "engram_task_best_accuracy_ratio",
        "engram_forgetting_ratio",
        "engram_average_accuracy_ratio",
        "engram_average_forgetting_ratio",
        "engram_backward_transfer_ratio",
        "engram_forward_transfer_ratio",
        "engram_tasks",
        "engram_episodic_examples",
        "engram_episodic_bytes",
        "engram_importance_snapshots",
        "engram_strategy_gauge",
        "engram_tune_accuracy_ratio",
        "engram_tune_winner",
        "engram_tune_running",
        "engram_tune_candidates",
        "engram_train_batch_wait_seconds",
        "engram_model_failed",
        "engram_model_paused",
        "engram_model_version",
        "engram_model_published_timestamp_seconds",
        "engram_checkpoint_bytes",
        "engram_checkpoints",
        "engram_checkpoint_newest_sequence",
        "engram_checkpoint_newest_timestamp_seconds",
        "engram_checkpoint_every_examples",
        "engram_canary_drop",
        "engram_quarantined_examples",
        "engram_recovery_seconds",
        "engram_recovery_replayed_examples"}}};
}

class ExporterTest : public ::testing::Test {
 protected:
  ExporterTest() : model_(rig_.AddDigits()) {}

  Exposition Scrape() {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, server::Exporter(rig_.edge()).Collect());
    const auto page = ParseExposition(text.str());
    EXPECT_TRUE(page.ok()) << page.status();
    return page.ok() ? *page : Exposition();
  }

  EdgeRig rig_;
  std::shared_ptr<FakeModel> model_;
};

TEST_F(ExporterTest, EveryFamilyOfTheSurfaceIsThere) {
  const Exposition page = Scrape();
  size_t count = 0;
  for (const auto& [type, names] : FamiliesOfTheSurface()) {
    for (const char* name : names) {
      ASSERT_TRUE(page.types.count(name)) << name;
      EXPECT_EQ(page.types.at(name), type) << name;
      ++count;
    }
  }
  EXPECT_EQ(page.types.size(), count);
}

TEST_F(ExporterTest, CountersCarryTheModelAndTheirOwnLabels) {
  model_->statistics().accepted_examples = 12;
  model_->statistics().rejected_examples = 3;
  model_->statistics().manual_rollbacks = 1;
  model_->statistics().client_boundaries = 4;
  model_->statistics().set_aside[v1::QuarantinedExample::OUTLIER] = 5;
  model_->Apply(20, 2);
  const Exposition page = Scrape();
  EXPECT_EQ(page.At("engram_ingest_examples_total{model=\"digits\",result=\"accepted\"}"), 12);
  EXPECT_EQ(page.At("engram_ingest_examples_total{model=\"digits\",result=\"rejected\"}"), 3);
  EXPECT_EQ(page.At("engram_ingest_examples_total{model=\"digits\",result=\"duplicate\"}"), 0);
  EXPECT_EQ(page.At("engram_rollbacks_total{model=\"digits\",trigger=\"manual\"}"), 1);
  EXPECT_EQ(page.At("engram_quarantined_examples_total{model=\"digits\",reason=\"outlier\"}"), 5);
  EXPECT_EQ(page.At("engram_boundaries_total{model=\"digits\",source=\"client\"}"), 4);
  EXPECT_EQ(page.At("engram_applied_sequence{model=\"digits\"}"), 20);
  EXPECT_EQ(page.At("engram_model_version{model=\"digits\"}"), 20);
}

TEST_F(ExporterTest, HistogramsAreCumulativeAndEndInInfinity) {
  server::LatencyHistogram& steps = model_->statistics().step_seconds;
  steps.Observe(0.00005);
  steps.Observe(0.003);
  steps.Observe(99);
  const Exposition page = Scrape();
  const std::string name = "engram_train_step_seconds_bucket{model=\"digits\",le=";
  EXPECT_EQ(page.At(absl::StrCat(name, "\"0.0001\"}")), 1);
  EXPECT_EQ(page.At(absl::StrCat(name, "\"0.005\"}")), 2);
  EXPECT_EQ(page.At(absl::StrCat(name, "\"10\"}")), 2);
  EXPECT_EQ(page.At(absl::StrCat(name, "\"+Inf\"}")), 3);
  EXPECT_EQ(page.At("engram_train_step_seconds_count{model=\"digits\"}"), 3);
  EXPECT_NEAR(page.At("engram_train_step_seconds_sum{model=\"digits\"}"), 99.00305, 1e-9);
}

TEST_F(ExporterTest, RowsOfPredictionsHaveTheirOwnBuckets) {
  model_->statistics().predict_batch_size[0] = 2;
  model_->statistics().predict_batch_size[10] = 1;
  model_->statistics().predict_rows = 1026;
  const Exposition page = Scrape();
  const std::string name = "engram_predict_batch_size_bucket{model=\"digits\",le=";
  EXPECT_EQ(page.At(absl::StrCat(name, "\"1\"}")), 2);
  EXPECT_EQ(page.At(absl::StrCat(name, "\"512\"}")), 2);
  EXPECT_EQ(page.At(absl::StrCat(name, "\"1024\"}")), 3);
  EXPECT_EQ(page.At("engram_predict_batch_size_sum{model=\"digits\"}"), 1026);
}

TEST_F(ExporterTest, ATuneShowsItsScoresAndItsWinner) {
  v1::Report report;
  v1::TuneReport* tune = report.mutable_tune();
  tune->set_state(v1::TuneReport::RUNNING);
  tune->mutable_own()->set_name("own");
  tune->mutable_own()->set_accuracy(0.5);
  for (const char* name : {"a", "b", "c"}) tune->add_candidates()->set_name(name);
  tune->mutable_candidates(0)->set_accuracy(0.75);
  tune->mutable_candidates(2)->set_dropped("diverged");
  model_->SetReport(report);
  Exposition page = Scrape();
  EXPECT_EQ(page.At("engram_tune_running{model=\"digits\"}"), 1);
  EXPECT_EQ(page.At("engram_tune_candidates{model=\"digits\"}"), 2);
  const std::string accuracy = "engram_tune_accuracy_ratio{model=\"digits\",candidate=";
  EXPECT_EQ(page.At(absl::StrCat(accuracy, "\"own\"}")), 0.5);
  EXPECT_EQ(page.At(absl::StrCat(accuracy, "\"a\"}")), 0.75);
  EXPECT_FALSE(page.Has(absl::StrCat(accuracy, "\"b\"}"))) << "no example yet";
  EXPECT_EQ(page.At("engram_tune_winner{model=\"digits\",candidate=\"own\"}"), 0);
  tune->set_state(v1::TuneReport::DECIDED);
  tune->set_winner(1);
  model_->SetReport(report);
  page = Scrape();
  EXPECT_EQ(page.At("engram_tune_running{model=\"digits\"}"), 0);
  EXPECT_EQ(page.At("engram_tune_candidates{model=\"digits\"}"), 1) << "it waits and learns";
  EXPECT_EQ(page.At("engram_tune_winner{model=\"digits\",candidate=\"a\"}"), 1);
}

TEST_F(ExporterTest, RatiosAppearOnceTheyAreDefined) {
  EXPECT_FALSE(Scrape().Has("engram_average_accuracy_ratio{model=\"digits\"}"));
  v1::Report report;
  report.mutable_summary()->set_acc(0.9);
  report.mutable_summary()->set_bwt(-0.2);
  report.set_prequential_accuracy(0.5);
  v1::TaskReport* task = report.add_tasks();
  task->set_task("task-1");
  task->set_accuracy(0.8);
  task->set_forgetting(0.1);
  model_->SetReport(report);
  const Exposition page = Scrape();
  EXPECT_EQ(page.At("engram_average_accuracy_ratio{model=\"digits\"}"), 0.9);
  EXPECT_EQ(page.At("engram_backward_transfer_ratio{model=\"digits\"}"), -0.2);
  EXPECT_FALSE(page.Has("engram_forward_transfer_ratio{model=\"digits\"}"));
  EXPECT_EQ(page.At("engram_prequential_accuracy_ratio{model=\"digits\"}"), 0.5);
  EXPECT_EQ(page.At("engram_task_accuracy_ratio{model=\"digits\",task=\"task-1\"}"), 0.8);
  EXPECT_EQ(page.At("engram_forgetting_ratio{model=\"digits\",task=\"task-1\"}"), 0.1);
  EXPECT_FALSE(page.Has("engram_task_best_accuracy_ratio{model=\"digits\",task=\"task-1\"}"));
}

TEST_F(ExporterTest, OnlyTheLastFiftyTasksAreShown) {
  v1::Report report;
  strategies::LearnerGauges gauges;
  for (int i = 0; i < 60; ++i) {
    v1::TaskReport* task = report.add_tasks();
    task->set_task(absl::StrCat("t", i));
    task->set_accuracy(i < 10 ? 0.25 : 1.0);
    gauges.episodic_by_task.push_back(i < 10 ? 4 : 8);
  }
  model_->SetReport(report);
  model_->SetGauges(gauges);
  const Exposition page = Scrape();
  EXPECT_FALSE(page.Has("engram_task_accuracy_ratio{model=\"digits\",task=\"t9\"}"));
  EXPECT_EQ(page.At("engram_task_accuracy_ratio{model=\"digits\",task=\"t10\"}"), 1.0);
  EXPECT_EQ(page.At("engram_task_accuracy_ratio{model=\"digits\",task=\"t59\"}"), 1.0);
  EXPECT_EQ(page.At("engram_task_accuracy_ratio{model=\"digits\",task=\"other\"}"), 0.25);
  EXPECT_EQ(page.At("engram_episodic_examples{model=\"digits\",task=\"other\"}"), 4);
  EXPECT_EQ(page.At("engram_tasks{model=\"digits\"}"), 60);
}

TEST_F(ExporterTest, StrategiesHaveGaugesOfTheirOwnByName) {
  strategies::LearnerGauges gauges;
  gauges.named["free_modules"] = 7;
  model_->SetGauges(gauges);
  EXPECT_EQ(Scrape().At("engram_strategy_gauge{model=\"digits\",gauge=\"free_modules\"}"), 7);
}

TEST_F(ExporterTest, TheNewestCheckpointShowsOnceThereIsOne) {
  Exposition page = Scrape();
  EXPECT_EQ(page.At("engram_checkpoints{model=\"digits\"}"), 0);
  EXPECT_FALSE(page.Has("engram_checkpoint_newest_sequence{model=\"digits\"}"));
  EXPECT_FALSE(page.Has("engram_checkpoint_newest_timestamp_seconds{model=\"digits\"}"));
  v1::Checkpoint checkpoint;
  checkpoint.set_applied_sequence(40);
  checkpoint.set_create_time_ms(1500);
  model_->AddCheckpoint(checkpoint);
  page = Scrape();
  EXPECT_EQ(page.At("engram_checkpoints{model=\"digits\"}"), 1);
  EXPECT_EQ(page.At("engram_checkpoint_newest_sequence{model=\"digits\"}"), 40);
  EXPECT_EQ(page.At("engram_checkpoint_newest_timestamp_seconds{model=\"digits\"}"), 1.5);
}

TEST_F(ExporterTest, TheReserveIsTheConfigsAndTheStartDoesNotMove) {
  rig_.edge().config.mutable_limits()->set_disk_reserve_bytes(12345);
  const server::Exporter exporter(rig_.edge());
  std::vector<double> starts;
  for (int i = 0; i < 2; ++i) {
    for (const auto& family : exporter.Collect()) {
      const double value = family.metric.empty() ? 0 : family.metric[0].gauge.value;
      if (family.name == "process_start_time_seconds") starts.push_back(value);
      if (family.name == "engram_storage_reserve_bytes") {
        EXPECT_EQ(value, 12345);
      }
    }
  }
  ASSERT_EQ(starts.size(), 2u);
  EXPECT_EQ(starts[0], starts[1]);
}

TEST_F(ExporterTest, CallsAreCountedByMethodAndCode) {
  rig_.edge().rpcs->Observe(server::Rpc::kRollback, absl::StatusCode::kNotFound, 0.002);
  const Exposition page = Scrape();
  const std::string labels = "{method=\"engram.v1.Checkpoints/Rollback\",code=\"NOT_FOUND\"}";
  EXPECT_EQ(page.At(absl::StrCat("engram_rpc_server_duration_seconds_count", labels)), 1);
  EXPECT_EQ(page.At(absl::StrCat("engram_rpc_server_duration_seconds_sum", labels)), 0.002);
}

}  // namespace
}  // namespace engram::testing
