#include "tests/crash/scripted_session.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/crash/final_state.h"
#include "tests/crash/stored_models.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/safetensors_file.h"
#include "tests/testing/process/toy_examples.h"

namespace engram::crash {
namespace {

using testing::Call;
using testing::ServerProcess;

constexpr int kMessages = 6;
constexpr int64_t kHidden = 4;
constexpr int64_t kClasses = 2;
constexpr int64_t kWideFeatures = 4096;
const absl::Duration kCallPatience = absl::Seconds(10);
const absl::Duration kStartPatience = absl::Seconds(30);
const absl::Duration kDrainPatience = absl::Seconds(30);
const absl::Duration kEndPatience = absl::Seconds(2);
// A second, after which a log of a megabyte is old enough to be trimmed.
const absl::Duration kTrimAge = absl::Milliseconds(1300);
constexpr char kModel[] = "replay-ewc";
constexpr char kSpare[] = "spare";
constexpr char kWide[] = "wide";
constexpr char kConfig[] = "retention { log_seconds: 1 log_bytes: 1048576 }";

std::string Weights() {
  testing::SafetensorsFile file;
  const auto add = [&file](const std::string& layer, int64_t rows, int64_t columns) {
    file.AddFloats(layer + ".weight", {rows, columns},
                   std::vector<float>(static_cast<size_t>(rows * columns), 0.25F));
    file.AddFloats(layer + ".bias", {rows}, std::vector<float>(static_cast<size_t>(rows), 0.5F));
  };
  add("hidden0", kHidden, kFeatureCount);
  add("head", kClasses, kHidden);
  return file.Bytes();
}

v1::ModelSpec SpecOf(const std::string& model) {
  if (model == kModel) return CrashModels().at(kModel);
  v1::ModelSpec spec;
  spec.set_feature_count(model == kWide ? kWideFeatures : kFeatureCount);
  spec.mutable_mlp()->add_hidden(kHidden);
  spec.set_held_out_fraction(0);
  for (int64_t label = 0; label < kClasses; ++label) spec.add_labels()->set_number(label);
  return spec;
}

testing::ServerOptions Server(const SessionOptions& options) {
  testing::ServerOptions server;
  server.data_dir = options.folder;
  server.binary = options.binary;
  server.environment = options.environment;
  server.ready_within = kStartPatience;
  if (options.with_trim) server.config = kConfig;
  return server;
}

v1::PredictRequest OneRow(const MessagePlan& plan) {
  v1::PredictRequest request;
  request.set_model(kModel);
  *request.mutable_features() = plan.Message(1).examples(0).features();
  return request;
}

}  // namespace

ScriptedSession::ScriptedSession(SessionOptions options) : options_(std::move(options)) {
  plan_.producer = absl::StrCat(kModel, "-0");
}

void ScriptedSession::Break(const std::string& what) {
  if (outcome_.broken.empty()) outcome_.broken = what;
}

bool ScriptedSession::Note(const grpc::Status& status) {
  outcome_.refused += status.ok() ? 0 : 1;
  if (!status.ok() && outcome_.refusal.empty()) outcome_.refusal = status.error_message();
  const bool silent = !status.ok() && status.error_message().empty();
  if (silent) Break(absl::StrCat("an error without words: ", status.error_code()));
  return status.ok();
}

void ScriptedSession::Create(const std::string& model, const std::string& weights) {
  v1::CreateModelRequest request;
  request.set_name(model);
  *request.mutable_spec() = SpecOf(model);
  if (!weights.empty()) request.mutable_weights()->set_safetensors(weights);
  const auto made =
      Call(*stubs_->models, &v1::Models::Stub::CreateModel, request, kCallPatience);
  if (Note(made.status)) created_.insert(model);
}

void ScriptedSession::Learn(int messages) {
  for (int i = 0; i < messages; ++i) {
    const v1::LearnMessage message = plan_.Message(acked_ + 1);
    v1::LearnBatchRequest request;
    request.set_model(kModel);
    request.set_producer(plan_.producer);
    request.set_producer_sequence(acked_ + 1);
    *request.mutable_examples() = message.examples();
    sent_ = std::max(sent_, acked_ + 1);
    const auto answer =
        Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, request, kCallPatience);
    if (!Note(answer.status)) return;
    ++acked_;
  }
  v1::WaitAppliedRequest wait;
  wait.set_model(kModel);
  const auto waited =
      Call(*stubs_->learning, &v1::Learning::Stub::WaitApplied, wait, absl::Seconds(2));
  learned_ = Note(waited.status) || learned_;
}

void ScriptedSession::Checkpoint() {
  v1::CreateCheckpointRequest request;
  request.set_model(kModel);
  const auto made = Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint, request,
                         kCallPatience);
  if (Note(made.status)) checkpoint_ = made->id();
}

void ScriptedSession::DeleteCheckpoint() {
  if (checkpoint_.empty()) return;
  v1::DeleteCheckpointRequest request;
  request.set_model(kModel);
  request.set_id(std::exchange(checkpoint_, ""));
  Note(Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::DeleteCheckpoint, request,
            kCallPatience).status);
}

void ScriptedSession::RollBack() {
  if (checkpoint_.empty()) return;
  v1::RollbackRequest request;
  request.set_model(kModel);
  request.set_checkpoint(checkpoint_);
  const auto done =
      Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::Rollback, request, kCallPatience);
  if (!Note(done.status) || done->rollback_sequence() == 0) return;
  rollbacks_.push_back({done->rollback_sequence(), done->restored_sequence()});
}

void ScriptedSession::Delete(const std::string& model) {
  if (created_.count(model) == 0) return;
  v1::DeleteModelRequest request;
  request.set_name(model);
  deleting_.insert(model);
  const auto done = Call(*stubs_->models, &v1::Models::Stub::DeleteModel, request, kCallPatience);
  if (Note(done.status)) deleted_.insert(model);
}

void ScriptedSession::Trim() {
  Create(kWide, "");
  const testing::ToyShape shape{kWideFeatures, 7, 1.5F};
  for (uint64_t sequence = 1; sequence <= 2; ++sequence) {
    v1::LearnBatchRequest request;
    request.set_model(kWide);
    request.set_producer("wide-0");
    request.set_producer_sequence(sequence);
    for (uint64_t i = 0; i < 100; ++i) {
      *request.add_examples() =
          testing::ToyExample(shape, static_cast<int64_t>(i % kClasses), 100 * sequence + i);
    }
    Note(Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, request, kCallPatience).status);
  }
  absl::SleepFor(kTrimAge);
  v1::CreateCheckpointRequest request;
  request.set_model(kWide);
  Note(Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint, request,
            kCallPatience).status);
  absl::SleepFor(kTrimAge);
}

void ScriptedSession::MustPredict(ServerProcess* server) {
  if (!learned_) return;
  const auto row =
      Call(*stubs_->prediction, &v1::Prediction::Stub::Predict, OneRow(plan_), kCallPatience);
  // A connection is cut some moments before its process can be reaped.
  if (!row.ok() && !server->WaitEnded(kEndPatience).ok()) {
    Break(absl::StrCat("no prediction: ", row.status.error_message()));
  }
}

void ScriptedSession::Steps(ServerProcess* server) {
  const std::vector<std::function<void()>> steps = {
      [this] { Create(kModel, ""); },
      [this] { Learn(kMessages); },
      [this] { Create(kSpare, Weights()); },
      [this] { Checkpoint(); },
      [this] { Learn(kMessages); },
      [this] { RollBack(); },
      [this] { Delete(kSpare); },
      [this] { Learn(kMessages); },
      [this] { DeleteCheckpoint(); },
      [this] { Checkpoint(); },
      [this] {
        if (options_.with_trim) Trim();
      },
  };
  for (const auto& step : steps) {
    if (server->Poll().has_value()) return;
    step();
    MustPredict(server);
  }
  v1::GetServerInfoRequest ask;
  const auto said =
      Call(*stubs_->admin, &v1::Admin::Stub::GetServerInfo, ask, kCallPatience);
  outcome_.read_only = said.ok() && !said->read_only_reason().empty();
}

absl::StatusOr<SessionOutcome> ScriptedSession::Run() {
  ENGRAM_ASSIGN_OR_RETURN(auto server, ServerProcess::Launch(Server(options_)));
  const absl::Status ready = server->WaitReady();
  if (ready.ok()) {
    stubs_ = std::make_unique<testing::Stubs>(server->NewChannel());
    Steps(server.get());
  } else if (!server->Poll().has_value()) {
    Break(absl::StrCat("neither ready nor gone: ", ready.message()));
  }
  outcome_.ended_by_itself = server->Poll().has_value();
  if (!outcome_.ended_by_itself) {
    const auto code = server->Drain(kDrainPatience);
    if (!code.ok()) Break("does not drain");
    outcome_.exit_code = code.ok() ? *code : 0;
    server->Kill();
    return outcome_;
  }
  outcome_.exit_code = server->Poll()->code;
  if (outcome_.exit_code == 0) Break("ended by itself with 0");
  const bool was_killed = outcome_.exit_code == kKilled;
  if (!was_killed && server->Output().empty()) Break("ended without a word");
  return outcome_;
}

std::string ScriptedSession::JudgeRecords(const std::vector<storage::LogRecord>& records) const {
  Testimony testimony{plan_, {}};
  testimony.entries.last_sent = sent_;
  testimony.entries.last_acked = acked_;
  const Verdict verdict = Judge(records, {testimony}, rollbacks_);
  return verdict.Clean() ? "" : verdict.first_findings.front();
}

std::string ScriptedSession::JudgeStored() const {
  std::map<std::string, std::string> wanted;
  if (!checkpoint_.empty()) wanted[kModel] = checkpoint_;
  const auto models = ReadModels(options_.folder, wanted);
  if (!models.ok()) return absl::StrCat("does not open: ", models.status().ToString());
  std::set<std::string> stored;
  for (const StoredModel& model : *models) {
    stored.insert(model.name);
    if (deleted_.count(model.name) > 0) return absl::StrCat(model.name, " was deleted");
    if (model.name != kModel) continue;
    const std::string finding = JudgeRecords(model.records);
    if (!finding.empty()) return finding;
  }
  for (const std::string& name : created_) {
    if (stored.count(name) == 0 && deleting_.count(name) == 0) return name + " was created";
  }
  const absl::Status whole = ScrubStored(options_.folder);
  return whole.ok() ? "" : whole.ToString();
}

bool ScriptedSession::JudgeNotices() const {
  const auto models = ReadModels(options_.folder, {});
  if (!models.ok()) return false;
  for (const StoredModel& model : *models) {
    if (model.name != kModel) continue;
    std::vector<storage::LogRecord> fewer = model.records;
    while (!fewer.empty() && fewer.back().kind != 1) fewer.pop_back();
    if (!fewer.empty()) fewer.pop_back();
    return !JudgeRecords(fewer).empty();
  }
  return false;
}

std::string ScriptedSession::JudgeReopened() const {
  if (created_.count(kModel) == 0) return "";
  SessionOptions plain;
  plain.folder = options_.folder;
  auto server = ServerProcess::Start(Server(plain));
  if (!server.ok()) return server.status().ToString();
  const absl::Status ready = (*server)->WaitReady(kModel);
  if (!ready.ok()) return ready.ToString();
  testing::LearnSession session((*server)->NewChannel());
  if (!session.Open(kModel, plan_.producer, acked_)) return session.Finish().error_message();
  session.Cancel();
  if (acked_ == 0) return "";
  const testing::Stubs stubs((*server)->NewChannel());
  const auto row = Call(*stubs.prediction, &v1::Prediction::Stub::Predict, OneRow(plan_));
  return row.ok() ? "" : row.status.error_message();
}

}  // namespace engram::crash
