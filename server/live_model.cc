#include "server/live_model.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/blame.h"
#include "server/errors.h"
#include "server/message_check.h"
#include "server/model_file.h"
#include "server/names.h"
#include "server/spec_options.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr std::chrono::milliseconds kRetryRecovering{200};
constexpr uint64_t kReach = 1'000'000'000;
constexpr size_t kVersionsCached = 4;
constexpr int kEvaluateMax = 1024;
constexpr size_t kVersionsNamed = 8;

AdmissionOptions MakeAdmissionOptions(const ModelContext& context,
                                      std::shared_ptr<LossLock> losses,
                                      std::shared_ptr<RejectedMessages> rejected) {
  AdmissionOptions options;
  options.model = context.name;
  options.uid = context.uid;
  options.limits = context.limits;
  options.losses = std::move(losses);
  options.rejected = std::move(rejected);
  options.clock = context.clock;
  options.statistics = context.statistics;
  options.on_durable = context.wake;
  return options;
}

HeldOutSets::Options MakeHeldOutOptions(const ModelContext& context, const v1::ModelSpec& spec) {
  HeldOutSets::Options options;
  options.model = context.uid;
  options.feature_count = spec.feature_count();
  options.max_per_task = spec.held_out_max_per_task();
  options.seed = spec.seed();
  return options;
}

}  // namespace

LiveModel::LiveModel(ModelContext context, const v1::ModelSpec& spec, const storage::ModelRow& row)
    : context_(std::move(context)),
      created_spec_(spec),
      create_time_ms_(row.create_time_ms),
      report_(context_.name),
      held_out_(MakeHeldOutOptions(context_, spec), &context_.store->held_out()),
      checkpoints_(&context_),
      losses_(std::make_shared<LossLock>(context_.uid, context_.name, context_.losses,
                                         context_.background)),
      admission_(std::make_shared<Admission>(MakeAdmissionOptions(context_, losses_, rejected_),
                                             &context_.store->log())),
      quarantine_(&context_, admission_.get(), &slot_),
      trainer_({&context_, admission_.get(), &slot_, &held_out_, &report_, &waiters_, &checkpoints_,
                [this] { ForgetVersions(); }, &quarantine_},
               spec, row) {}

absl::Status LiveModel::CheckServing() const {
  {
    base::MutexLock lock(&retired_mutex_);
    if (!retired_.ok()) return retired_;
  }
  const Trainer::Progress progress = trainer_.progress();
  if (progress.phase == Trainer::Phase::kServing || slot_.Get().snapshot != nullptr) {
    return absl::OkStatus();
  }
  if (progress.phase == Trainer::Phase::kFailed) return progress.failure;
  // Before the trainer knows how much it is, all of the log is a bound.
  const uint64_t to_recover =
      progress.to_recover > 0 ? progress.to_recover : DurableSequence();
  return NotYet(absl::StrCat("recovering: ", progress.recovered, "/", to_recover, " records"),
                kRetryRecovering);
}

absl::Status LiveModel::Ready() const { return CheckServing(); }

void LiveModel::Close(const absl::Status& why) { admission_->Close(why); }

void LiveModel::Retire(const absl::Status& why) {
  {
    base::MutexLock lock(&retired_mutex_);
    retired_ = why;
  }
  admission_->Close(why);
  trainer_.Abandon(why);
  waiters_.Fail(why);
}

bool LiveModel::Drained() const {
  const storage::SampleLog& log = context_.store->log();
  if (!log.Health().ok()) return true;
  const storage::Sequence durable = log.DurableSequence(context_.uid);
  const Trainer::Progress progress = trainer_.progress();
  // The trainer may not have looked since the last record became durable.
  const bool looked = progress.read_to >= durable || trainer_.paused() ||
                      progress.phase == Trainer::Phase::kFailed;
  return log.AssignedSequence(context_.uid) == durable && progress.drained && looked;
}

void LiveModel::TakeFinalCheckpoint(std::function<void()> done) {
  if (trainer_.progress().phase != Trainer::Phase::kServing) return done();
  trainer_.RequestCheckpoint("", true,
                             [done = std::move(done)](const absl::StatusOr<v1::Checkpoint>&) {
                               done();
                             });
}

v1::Model LiveModel::Describe() const {
  v1::Model model;
  const auto spec = admission_->spec();
  model.set_name(context_.name);
  *model.mutable_spec() = spec == nullptr ? created_spec_ : *spec;
  model.set_durable_sequence(DurableSequence());
  model.set_paused(trainer_.paused());
  model.set_current_task(admission_->current_task());
  model.set_parameters(trainer_.gauges().parameters);
  model.set_create_time_ms(create_time_ms_);
  const v1::TuneReport tune = report_.Tune();
  if (tune.state() != v1::TuneReport::STATE_UNSPECIFIED) *model.mutable_tune() = tune;
  const Served served = slot_.Get();
  if (served.snapshot != nullptr) {
    model.set_version(served.version());
    for (const v1::Label& label : served.view->labels) *model.add_classes() = label;
    for (const std::string& task : served.view->tasks) model.add_tasks(task);
  }
  const Trainer::Progress progress = trainer_.progress();
  const absl::Status health = context_.store->log().Health();
  if (progress.phase == Trainer::Phase::kFailed) {
    model.set_state(v1::Model::FAILED);
    model.set_state_reason(std::string(progress.failure.message()));
  } else if (progress.phase == Trainer::Phase::kRecovering) {
    model.set_state(v1::Model::RECOVERING);
  } else if (!health.ok()) {
    model.set_state(v1::Model::READ_ONLY);
    model.set_state_reason(std::string(health.message()));
  } else if (const absl::Status open = losses_->CheckOpen(); !open.ok()) {
    model.set_state(v1::Model::LOCKED);
    model.set_state_reason(std::string(open.message()));
  } else {
    model.set_state(v1::Model::SERVING);
    model.set_state_reason(trainer_.pause_reason());
  }
  return model;
}

std::shared_ptr<const v1::ModelSpec> LiveModel::spec() const {
  auto spec = admission_->spec();
  return spec != nullptr ? spec : std::make_shared<const v1::ModelSpec>(created_spec_);
}

void LiveModel::Update(v1::ModelSpec spec,
                       std::function<void(absl::StatusOr<v1::UpdateModelResponse>)> done) {
  const absl::Status serving = CheckServing();
  if (!serving.ok()) return done(serving);
  if (spec.has_tune() && spec.tune().id() == 0) {
    spec.mutable_tune()->set_id(admission_->next_tune());
  }
  auto answer = std::make_shared<decltype(done)>(std::move(done));
  auto response = std::make_shared<v1::UpdateModelResponse>();
  *response->mutable_model() = Describe();
  *response->mutable_model()->mutable_spec() = spec;
  auto submitted = admission_->SubmitConfiguration(
      std::move(spec),
      [response, answer, wake = context_.wake](uint64_t sequence, const absl::Status& status) {
        if (!status.ok()) return (*answer)(status);
        wake();
        response->set_sequence(sequence);
        (*answer)(*response);
      });
  if (!submitted.ok()) (*answer)(submitted);
}

void LiveModel::Promote(std::function<void(absl::StatusOr<v1::UpdateModelResponse>)> done) {
  const absl::Status serving = CheckServing();
  if (!serving.ok()) return done(serving);
  trainer_.RequestPromotion(
      [model = Describe(), done = std::move(done)](absl::StatusOr<v1::UpdateModelResponse> answer) {
        if (!answer.ok()) return done(answer.status());
        v1::ModelSpec spec = std::move(*answer->mutable_model()->mutable_spec());
        *answer->mutable_model() = model;
        *answer->mutable_model()->mutable_spec() = std::move(spec);
        done(std::move(answer));
      });
}

void LiveModel::Hello(const v1::LearnHello& hello,
                      std::function<void(absl::StatusOr<v1::LearnWelcome>)> done) {
  const absl::Status serving = CheckServing();
  if (!serving.ok()) return done(serving);
  const uint64_t applied = AppliedSequence();
  admission_->Hello(hello, [applied, done = std::move(done)](
                               absl::StatusOr<v1::LearnWelcome> welcome) {
    if (welcome.ok()) welcome->set_applied_sequence(applied);
    done(std::move(welcome));
  });
}

void LiveModel::Learn(const std::string& producer, uint64_t epoch, v1::LearnMessage message,
                      std::function<void(absl::StatusOr<Accepted>)> done) {
  const absl::Status serving = CheckServing();
  if (!serving.ok()) return done(serving);
  admission_->Learn(producer, epoch, std::move(message), std::move(done));
}

uint64_t LiveModel::DurableSequence() const {
  return context_.store->log().DurableSequence(context_.uid);
}

uint64_t LiveModel::AppliedSequence() const {
  const Served served = slot_.Get();
  return served.snapshot == nullptr ? 0 : served.version();
}

absl::Status LiveModel::CheckReachable(uint64_t sequence) const {
  const uint64_t durable = DurableSequence();
  if (sequence <= durable + kReach) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("sequence ", sequence,
                                            " can never be: durable_through=", durable));
}

void LiveModel::WaitApplied(uint64_t sequence, bool evaluated, absl::Duration deadline,
                            std::function<void(absl::StatusOr<v1::WaitAppliedResponse>)> done) {
  absl::Status status = CheckServing();
  if (status.ok()) status = CheckReachable(sequence);
  if (!status.ok()) return done(status);
  if (sequence == 0) sequence = DurableSequence();
  waiters_.Wait(sequence, evaluated, deadline,
                [this, done = std::move(done)](const absl::Status& reached) {
                  if (!reached.ok()) return done(reached);
                  v1::WaitAppliedResponse response;
                  response.set_applied_sequence(AppliedSequence());
                  response.set_durable_sequence(DurableSequence());
                  done(response);
                });
  if (deadline < absl::InfiniteDuration()) context_.deadline_set();
}

void LiveModel::Erase(const v1::EraseRequest& request,
                      std::function<void(absl::StatusOr<v1::EraseResponse>)> done) {
  absl::Status status = CheckServing();
  if (status.ok()) status = CheckSelector(request);
  if (!status.ok()) return done(status);
  trainer_.RequestErasure(request, std::move(done));
}

absl::StatusOr<v1::ListQuarantinedResponse> LiveModel::ListQuarantined(
    const v1::ListQuarantinedRequest& request) const {
  ENGRAM_RETURN_IF_ERROR(CheckServing());
  return quarantine_.List(request);
}

void LiveModel::ReleaseQuarantined(
    const v1::ReleaseQuarantinedRequest& request,
    std::function<void(absl::StatusOr<v1::ReleaseQuarantinedResponse>)> done) {
  const absl::Status serving = CheckServing();
  if (!serving.ok()) return done(serving);
  quarantine_.Release(request, std::move(done));
}

void LiveModel::ForgetVersions() {
  base::MutexLock lock(&versions_mutex_);
  versions_.clear();
}

absl::StatusOr<Served> LiveModel::Version(uint64_t version) {
  ENGRAM_RETURN_IF_ERROR(CheckServing());
  if (version == 0) return Live();
  return ExactVersion(version);
}

absl::StatusOr<Served> LiveModel::ExactVersion(uint64_t version) {
  const Served live = Live();
  if (version == live.version()) return live;
  base::MutexLock lock(&versions_mutex_);
  for (auto it = versions_.begin(); it != versions_.end(); ++it) {
    if (it->first != version) continue;
    versions_.splice(versions_.begin(), versions_, it);
    return versions_.front().second;
  }
  ENGRAM_ASSIGN_OR_RETURN(Served served, LoadVersion(version));
  versions_.emplace_front(version, served);
  if (versions_.size() > kVersionsCached) versions_.pop_back();
  return served;
}

absl::StatusOr<Served> LiveModel::LoadVersion(uint64_t version) {
  ENGRAM_ASSIGN_OR_RETURN(const auto rows, checkpoints_.List());
  std::vector<uint64_t> kept;
  for (const storage::CheckpointRow& row : rows) {
    if (kept.size() < kVersionsNamed) kept.push_back(row.applied);
    if (row.applied != version) continue;
    context_.enter_compute_thread();
    ENGRAM_ASSIGN_OR_RETURN(const StreamState state, StreamState::Parse(row.stream_state));
    ENGRAM_ASSIGN_OR_RETURN(const RestorableLearner stored, checkpoints_.Load(row));
    ENGRAM_ASSIGN_OR_RETURN(auto learner, context_.make_learner(ToModelOptions(state.spec())));
    ENGRAM_RETURN_IF_ERROR(learner->Restore(stored.saved, stored.payloads));
    Served served;
    ENGRAM_ASSIGN_OR_RETURN(served.snapshot, learner->TakeSnapshot(version));
    served.view = state.View();
    return served;
  }
  // A rollback's checkpoint and its target have one version.
  kept.erase(std::unique(kept.begin(), kept.end()), kept.end());
  return NotFound("version", absl::StrCat(version),
                  absl::StrCat(Live().version(), " (live)", kept.empty() ? "" : ", ",
                               absl::StrJoin(kept, ", ")));
}

v1::Report LiveModel::Report() const {
  return report_.Report(DurableSequence(), held_out_.Counts());
}

uint64_t LiveModel::Watch(std::function<void(const v1::ReportEvent&)> observer) {
  return report_.Watch(Report(), std::move(observer));
}

absl::StatusOr<v1::EvaluateResponse> LiveModel::Evaluate(const v1::EvaluateRequest& request) {
  v1::LearnMessage message;
  *message.mutable_examples() = request.examples();
  for (v1::Example& example : *message.mutable_examples()) example.clear_split();
  Canonicalise(&message);
  ENGRAM_RETURN_IF_ERROR(CheckMessage(message, *spec(), context_.name, kEvaluateMax));
  ENGRAM_ASSIGN_OR_RETURN(const Served served, Version(request.version()));
  std::vector<const v1::Example*> examples;
  for (const v1::Example& example : message.examples()) {
    if (!example.task().empty() && served.view->task_index.count(example.task()) == 0) {
      return NotFound("task", example.task(), "");
    }
    examples.push_back(&example);
  }
  v1::EvaluateResponse response;
  ENGRAM_ASSIGN_OR_RETURN(
      const double accuracy,
      EvaluateExamples(served, examples, created_spec_.feature_count()));
  response.set_accuracy(accuracy);
  response.set_examples(static_cast<int64_t>(examples.size()));
  response.set_model_version(served.version());
  return response;
}

// What is served is asked for first: the rollbacks are published with it or before it.
absl::StatusOr<v1::BlameResponse> LiveModel::Blame(const v1::BlameRequest& request,
                                                   const std::function<bool()>& left) {
  ENGRAM_RETURN_IF_ERROR(CheckServing());
  ENGRAM_RETURN_IF_ERROR(CheckBlame(request));
  ENGRAM_RETURN_IF_ERROR(CheckReachable(request.from_sequence()));
  BlameSubject subject;
  subject.context = &context_;
  subject.spec = &created_spec_;
  subject.served = Live();
  subject.rewinds = report_.CurrentRewinds();
  subject.quarantined = quarantine_.Sequences();
  return BlameProducers(subject, request, left);
}

void LiveModel::CreateCheckpoint(const v1::CreateCheckpointRequest& request,
                                 std::function<void(absl::StatusOr<v1::Checkpoint>)> done) {
  absl::Status status = CheckServing();
  if (status.ok() && !request.label().empty() && !IsName(request.label())) {
    status = BadField("label", NotAName(request.label()));
  }
  if (status.ok()) status = CheckReachable(request.min_applied_sequence());
  if (!status.ok()) return done(status);
  waiters_.Wait(request.min_applied_sequence(), false, absl::InfiniteDuration(),
                [this, label = request.label(), done = std::move(done)](const absl::Status& ready) {
                  if (!ready.ok()) return done(ready);
                  trainer_.RequestCheckpoint(label, false, done);
                });
}

absl::StatusOr<std::vector<v1::Checkpoint>> LiveModel::ListCheckpoints() const {
  ENGRAM_ASSIGN_OR_RETURN(const auto rows, checkpoints_.List());
  std::vector<v1::Checkpoint> checkpoints;
  checkpoints.reserve(rows.size());
  for (const storage::CheckpointRow& row : rows) checkpoints.push_back(ToProto(row));
  return checkpoints;
}

absl::StatusOr<v1::Checkpoint> LiveModel::GetCheckpoint(absl::string_view id) const {
  ENGRAM_ASSIGN_OR_RETURN(const auto row, checkpoints_.Find(id));
  return ToProto(row);
}

absl::Status LiveModel::DeleteCheckpoint(absl::string_view id) {
  ENGRAM_RETURN_IF_ERROR(CheckServing());
  ENGRAM_RETURN_IF_ERROR(checkpoints_.Delete(id));
  context_.background->Push(
      [this, keep = created_spec_.keep_automatic_checkpoints()] {
        checkpoints_.Tend(keep, held_out_);
      });
  return absl::OkStatus();
}

void LiveModel::Rollback(const v1::RollbackRequest& request,
                         std::function<void(absl::StatusOr<v1::RollbackResponse>)> done) {
  absl::Status status = CheckServing();
  if (status.ok()) status = checkpoints_.Find(request.checkpoint()).status();
  if (!status.ok()) return done(status);
  if (request.dry_run()) return done(PlanRollback(request));
  trainer_.RequestRollback(request, std::move(done));
}

absl::StatusOr<storage::CheckpointRow> LiveModel::FindCheckpoint(absl::string_view id) const {
  if (!id.empty()) return checkpoints_.Find(id);
  ENGRAM_ASSIGN_OR_RETURN(const auto rows, checkpoints_.List());
  const auto newest = std::max_element(
      rows.begin(), rows.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
  if (newest != rows.end()) return *newest;
  return WrongState("MODEL", context_.name, "it has no checkpoint yet; create one first");
}

absl::StatusOr<ModelFile> LiveModel::Export(const v1::ExportRequest& request) {
  ENGRAM_RETURN_IF_ERROR(CheckServing());
  ENGRAM_ASSIGN_OR_RETURN(const auto row, FindCheckpoint(request.checkpoint()));
  ENGRAM_ASSIGN_OR_RETURN(const StreamState state, StreamState::Parse(row.stream_state));
  ENGRAM_ASSIGN_OR_RETURN(const Served served, ExactVersion(row.applied));
  context_.enter_compute_thread();
  ENGRAM_ASSIGN_OR_RETURN(
      ModelFile file, MakeModelFile(context_.name, state.spec(), served, request.format()));
  file.header.set_checkpoint(row.id);
  return file;
}

absl::StatusOr<v1::RollbackResponse> LiveModel::PlanRollback(const v1::RollbackRequest& request) {
  ENGRAM_RETURN_IF_ERROR(CheckVersion(request.expected_current_version(), AppliedSequence()));
  ENGRAM_ASSIGN_OR_RETURN(const auto row, checkpoints_.Find(request.checkpoint()));
  ENGRAM_ASSIGN_OR_RETURN(const StreamState state, StreamState::Parse(row.stream_state));
  ENGRAM_ASSIGN_OR_RETURN(const RollbackPlan plan,
                          admission_->Rollback(row.id, row.applied, state, nullptr));
  v1::RollbackResponse response;
  response.set_checkpoint(row.id);
  response.set_previous_version(AppliedSequence());
  response.set_restored_sequence(row.applied);
  response.set_dropped_examples(plan.dropped_examples);
  if (plan.record > row.applied + 1) {
    response.mutable_dropped()->set_first(row.applied + 1);
    response.mutable_dropped()->set_last(plan.record - 1);
  }
  for (const std::string& task : report_.UndoneWith(plan.after.proto().rewinds())) {
    response.add_undone_boundaries(task);
  }
  return response;
}

}  // namespace engram::server
