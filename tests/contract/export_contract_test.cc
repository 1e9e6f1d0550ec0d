// Every strategy of the registry, under every kind of head that it takes: what is exported answers
// as what is served does, or is refused.
#include <ATen/ATen.h>
#include <torch/csrc/jit/serialization/import.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "strategies/api/compute.h"
#include "strategies/api/learner.h"
#include "strategies/core/registry.h"
#include "strategies/core/state_archive.h"
#include "tests/contract/tiny_stream.h"

namespace engram::strategies {
namespace {

constexpr int64_t kProbeRows = 64;  // of Probe()

const char* HeadText(HeadKind kind) {
  return kind == HeadKind::kGrowing ? "growing" : kind == HeadKind::kFixed ? "fixed" : "per_task";
}

using Case = std::tuple<std::string, HeadKind>;

std::vector<Case> Cases() {
  std::vector<Case> cases;
  for (const StrategyEntry& entry : StrategyTable()) {
    for (const HeadKind head : {HeadKind::kGrowing, HeadKind::kFixed, HeadKind::kPerTask}) {
      if (head == HeadKind::kPerTask || !entry.per_task_heads) {
        cases.emplace_back(entry.help.name, head);
      }
    }
  }
  return cases;
}

class ExportContractTest : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    SetComputeThreads(1);
    EnterComputeThread();
    ModelOptions options;
    options.feature_count = kTinyFeatures;
    options.hidden = {16, 8};
    options.head.kind = std::get<1>(GetParam());
    if (options.head.kind == HeadKind::kFixed) options.head.head_classes = kTinyClasses;
    options.head.max_classes = 2 * kTinyClasses;
    options.optimizer.learning_rate = 0.1;
    if (entry().make_network == nullptr) options.ema_decay = 0.5;
    options.strategies.push_back({entry().help.name, entry().test_parameters});
    options.batch_size = 8;
    learner_ = *MakeLearner(options);
    TinyStream stream(1);
    // Backwards, so that classes and outputs come in different orders.
    for (int32_t task = kTinyTasks - 1; task > 0; --task) {
      ASSERT_TRUE(LearnTask(learner_.get(), &stream, task, 10).ok());
    }
    ASSERT_TRUE(learner_->Train(stream.Next(1, 8).View()).ok());
    snapshot_ = *learner_->TakeSnapshot(1);
  }

  const StrategyEntry& entry() const { return **FindStrategy(std::get<0>(GetParam())); }
  bool per_task() const { return std::get<1>(GetParam()) == HeadKind::kPerTask; }

  absl::StatusOr<std::string> Export(ExportFormat format) const {
    ExportOptions options;
    options.format = format;
    for (int32_t task = 0; task < kTinyTasks; ++task) {
      options.tasks.push_back(absl::StrCat("the \"", task, "\"\n"));
    }
    options.metadata = {{"note", "é"}};
    return snapshot_->Export(options);
  }

  // [rows, classes] of Probe(), in the order of Outputs(), as logarithms.
  at::Tensor Served(int32_t task) const {
    const std::vector<float> scores = Probe(*snapshot_, task);
    const at::Tensor all =
        at::tensor(scores).view({kProbeRows, snapshot_->class_count()}).to(at::kDouble);
    std::vector<int64_t> columns;
    for (const int32_t cls : snapshot_->Outputs().classes) columns.push_back(cls);
    return all.index_select(1, at::tensor(columns, at::kLong)).log();
  }

  at::Tensor ProbeRows(int32_t task) const {
    TinyStream stream(99);
    return at::tensor(stream.Next(task, kProbeRows).features).view({kProbeRows, kTinyFeatures});
  }

  // Scores far below the others are rounded to 0 where they are served.
  static void ExpectSame(const at::Tensor& logits, const at::Tensor& served) {
    ASSERT_EQ(logits.sizes(), served.sizes());
    const at::Tensor answered = logits.to(at::kDouble).log_softmax(1);
    const at::Tensor seen = served > std::log(1e-30);
    ASSERT_TRUE(seen.any(1).all().item<bool>());
    const at::Tensor allowed = 1e-5 * logits.abs().clamp_min(1);
    const at::Tensor wrong = ((answered - served).abs() > allowed).logical_and(seen);
    EXPECT_FALSE(wrong.any().item<bool>()) << answered << served;
    EXPECT_TRUE(answered.masked_select(seen.logical_not()).le(std::log(1e-29)).all().item<bool>());
  }

  std::unique_ptr<Learner> learner_;
  std::shared_ptr<const Snapshot> snapshot_;
};

TEST_P(ExportContractTest, TorchScriptAnswersAsWhatIsServed) {
  const absl::StatusOr<std::string> file = Export(ExportFormat::kTorchScript);
  if (entry().help.name == "generative_classifier") {
    ASSERT_EQ(file.status().code(), absl::StatusCode::kFailedPrecondition);
    return;
  }
  ASSERT_TRUE(file.ok()) << file.status();
  std::istringstream stream(*file);
  torch::jit::ExtraFilesMap extra{{"note", ""}};
  torch::jit::Module module = torch::jit::load(stream, at::kCPU, extra);
  EXPECT_EQ(extra["note"], "é");
  for (int32_t task = 1; task < kTinyTasks; ++task) {
    std::vector<c10::IValue> inputs{ProbeRows(task)};
    if (per_task()) inputs.emplace_back(absl::StrCat("the \"", task, "\"\n"));
    SCOPED_TRACE(task);
    ExpectSame(module.forward(inputs).toTensor().detach(), Served(task));
  }
  if (!per_task()) return;
  EXPECT_THROW(module.forward({ProbeRows(1), "other"}), std::exception);
}

TEST_P(ExportContractTest, SafetensorsHoldsThePlainNetworkThatIsServed) {
  const absl::StatusOr<std::string> file = Export(ExportFormat::kSafetensors);
  if (!file.ok()) {
    ASSERT_EQ(file.status().code(), absl::StatusCode::kFailedPrecondition) << file.status();
    const std::string name = entry().help.name;
    EXPECT_TRUE(entry().make_network != nullptr || entry().own_update || name == "ncm" ||
                name == "icarl")
        << file.status();
    return;
  }
  const auto reader = StateReader::Open(*file);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_EQ(*reader->GetText("note"), "é");
  const NetworkOutputs outputs = snapshot_->Outputs();
  for (int32_t task = 1; task < kTinyTasks; ++task) {
    at::Tensor rows = ProbeRows(task);
    for (const char* layer : {"hidden0", "hidden1"}) {
      rows = at::linear(rows, *reader->GetTensor(absl::StrCat(layer, ".weight")),
                        *reader->GetTensor(absl::StrCat(layer, ".bias")))
                 .relu();
    }
    const std::string head =
        per_task() ? absl::StrCat("head.the \"", task, "\"\n") : std::string("head");
    const at::Tensor logits = at::linear(rows, *reader->GetTensor(head + ".weight"),
                                         *reader->GetTensor(head + ".bias"));
    at::Tensor served = Served(task);
    if (per_task()) {
      std::vector<int64_t> columns;
      for (const int32_t cls : outputs.heads[static_cast<size_t>(task) - 1].classes) {
        columns.push_back(std::find(outputs.classes.begin(), outputs.classes.end(), cls) -
                          outputs.classes.begin());
      }
      served = served.index_select(1, at::tensor(columns, at::kLong));
    }
    SCOPED_TRACE(task);
    ExpectSame(logits, served);
  }
}

TEST(ExportTest, AModelThatLearnedNothingIsRefused) {
  ModelOptions options;
  options.feature_count = kTinyFeatures;
  const auto learner = *MakeLearner(options);
  const auto file = (*learner->TakeSnapshot(0))->Export({});
  EXPECT_EQ(file.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(file.status().message(), "no class yet")) << file.status();
}

INSTANTIATE_TEST_SUITE_P(Registry, ExportContractTest, testing::ValuesIn(Cases()),
                         [](const auto& test) {
                           return absl::StrCat(std::get<0>(test.param), "_",
                                               HeadText(std::get<1>(test.param)));
                         });

}  // namespace
}  // namespace engram::strategies
