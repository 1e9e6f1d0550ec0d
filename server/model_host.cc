#include "server/model_host.h"

#include <algorithm>
#include <map>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "server/background.h"
#include "server/errors.h"
#include "server/live_model.h"
#include "server/logging.h"
#include "server/names.h"
#include "server/spec_options.h"
#include "server/strands.h"
#include "storage/base/status_macros.h"
#include "storage/base/thread_priority.h"

namespace engram::server {
namespace {

constexpr std::chrono::milliseconds kRetryElsewhere{1000};
constexpr std::chrono::milliseconds kDrainPoll{2};
constexpr absl::Duration kFinalCheckpointPatience = absl::Seconds(60);
constexpr std::chrono::milliseconds kTimerIdle{1000};

absl::Status Draining() { return NotYet("shutting down, retry elsewhere", kRetryElsewhere); }

// Of a learner that refuses weights, without the field.
absl::string_view Reason(const absl::Status& status) {
  return absl::StripPrefix(status.message(), "weights: ");
}

void RemoveStored(storage::Store* store, storage::ModelUid uid) {
  absl::Status status = store->log().Remove(uid);
  status.Update(store->checkpoints().RemoveAll(uid));
  status.Update(store->episodic().RemoveAll(uid));
  status.Update(store->importance().RemoveAll(uid));
  status.Update(store->held_out().RemoveAll(uid));
  status.Update(store->catalog().RemoveReportRows(uid));
  status.Update(store->catalog().RemoveErasures(uid));
  if (status.ok()) status = store->catalog().ForgetOrphan(uid);
  if (status.ok()) return;
  Log(LogLevel::kWarning, "model_leftovers", {{"uid", uid}, {"status", status}});
}

// Runs due deadlines of waiting calls.
class Timer {
 public:
  void Nudge() {
    base::MutexLock lock(&mutex_);
    nudged_ = true;
    wake_.NotifyOne();
  }
  void Stop() {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.NotifyOne();
  }
  // `expire` answers what is due and returns when the next deadline is.
  void Run(const Clock& clock, const std::function<absl::Duration(absl::Duration)>& expire) {
    while (true) {
      const absl::Duration until = expire(clock.Monotonic()) - clock.Monotonic();
      const auto wait =
          until > absl::FromChrono(kTimerIdle)
              ? kTimerIdle
              : absl::ToChronoMilliseconds(absl::Ceil(until, absl::Milliseconds(1)));
      base::MutexLock lock(&mutex_);
      if (stopping_) return;
      if (!nudged_ && wait.count() > 0) wake_.WaitFor(&mutex_, wait);
      nudged_ = false;
      if (stopping_) return;
    }
  }

 private:
  base::Mutex mutex_;
  base::CondVar wake_;
  bool nudged_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
};

class Host : public ModelHost {
 public:
  Host(ModelHostOptions options, storage::Store* store)
      : options_(std::move(options)),
        store_(store),
        clock_(SystemClock()),
        limits_(options_.config.limits()),
        retention_(options_.config.retention()),
        live_evaluation_share_(options_.config.live_evaluation_share()),
        strands_(std::make_shared<Strands>(clock_)),
        timer_(std::make_shared<Timer>()) {}
  ~Host() override { Drain(absl::ZeroDuration()); }

  absl::StatusOr<v1::Model> Create(const v1::CreateModelRequest& request) override;
  absl::StatusOr<std::shared_ptr<ModelRuntime>> Find(absl::string_view name) const override;
  std::vector<std::shared_ptr<ModelRuntime>> List() const override;
  void Update(const v1::UpdateModelRequest& request,
              std::function<void(absl::StatusOr<v1::UpdateModelResponse>)> done) override;
  absl::Status Delete(absl::string_view name) override;
  absl::StatusOr<v1::Model> SetPaused(absl::string_view name, bool paused) override;
  absl::Status Start() override;
  void Drain(absl::Duration patience) override;
  void Apply(const v1::ServerConfig& config) override;
  std::string ReadOnlyReason() const override;
  const storage::Store& store() const override { return *store_; }

 private:
  using Models = std::map<std::string, std::shared_ptr<LiveModel>, std::less<>>;

  std::shared_ptr<LiveModel> MakeModel(const storage::ModelRow& row, const v1::ModelSpec& spec);
  absl::StatusOr<std::shared_ptr<LiveModel>> FindLive(absl::string_view name) const;
  std::vector<std::shared_ptr<LiveModel>> AllLive() const;
  absl::Status OpenStored();
  absl::Status CheckRoom(const std::string& name) const;
  absl::Status CheckWeights(const std::string& bytes, const v1::ModelSpec& spec) const;
  absl::Status TryWeights(const std::string& bytes, const v1::ModelSpec& spec) const;
  void Register(const std::shared_ptr<LiveModel>& model);
  void StartThreads();
  void StopThreads();
  void AwaitDrained(absl::Duration patience);
  void TakeFinalCheckpoints();

  const ModelHostOptions options_;
  storage::Store* const store_;
  const Clock* const clock_;
  LiveValue<v1::Limits> limits_;
  LiveValue<v1::Retention> retention_;
  LiveValue<double> live_evaluation_share_;
  Background background_;
  const std::shared_ptr<Strands> strands_;  // shared with the models' wake-ups
  const std::shared_ptr<Timer> timer_;
  std::vector<std::thread> threads_;
  std::thread background_thread_;

  base::Mutex catalog_mutex_;  // one change of the set of models, or of a pause, at a time
  mutable base::Mutex mutex_;
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
  Models models_ ABSL_GUARDED_BY(mutex_);
};

std::shared_ptr<LiveModel> Host::MakeModel(const storage::ModelRow& row,
                                           const v1::ModelSpec& spec) {
  ModelContext context;
  context.name = row.name;
  context.uid = row.uid;
  context.store = store_;
  context.clock = clock_;
  context.background = &background_;
  context.make_learner = options_.make_learner;
  context.enter_compute_thread =
      options_.enter_compute_thread ? options_.enter_compute_thread : [] {};
  context.compute_fingerprint = options_.compute_fingerprint;
  context.limits = limits_;
  context.retention = retention_;
  context.live_evaluation_share = live_evaluation_share_;
  context.losses = options_.losses;
  context.statistics = std::make_shared<ModelStatistics>();
  context.wake = [strands = std::weak_ptr<Strands>(strands_), uid = row.uid] {
    if (auto alive = strands.lock()) alive->Wake(uid);
  };
  context.deadline_set = [timer = timer_] { timer->Nudge(); };
  context.on_guard = options_.on_guard;
  if (options_.on_serving) {
    context.on_serving = [notify = options_.on_serving, name = row.name](bool serving) {
      notify(name, serving);
    };
  }
  return std::make_shared<LiveModel>(std::move(context), spec, row);
}

void Host::Register(const std::shared_ptr<LiveModel>& model) {
  {
    base::MutexLock lock(&mutex_);
    models_[model->name()] = model;
  }
  strands_->Add(model->uid(), [live = model.get()] { return live->RunOnce(); });
}

absl::Status Host::CheckRoom(const std::string& name) const {
  base::MutexLock lock(&mutex_);
  if (draining_) return Draining();
  if (models_.count(name) > 0) return AlreadyExists("model", name);
  if (static_cast<int64_t>(models_.size()) < limits_->models()) {
    return absl::OkStatus();
  }
  return OverLimit("models",
                   absl::StrCat("model limit ", limits_->models(),
                                ": delete one, or raise limits.models"),
                   std::chrono::milliseconds(0));
}

// On learners that are thrown away: nothing hostile gets near the store. The candidates of a tune
// begin with the weights as the model does.
absl::Status Host::CheckWeights(const std::string& bytes, const v1::ModelSpec& spec) const {
  const auto size = static_cast<int64_t>(bytes.size());
  if (size > limits_->weights_bytes()) {
    return OverLimit("weights_bytes",
                     absl::StrCat("weights: ", size, " bytes exceed the limit of ",
                                  limits_->weights_bytes()),
                     std::chrono::milliseconds(0));
  }
  if (options_.enter_compute_thread) options_.enter_compute_thread();
  const absl::Status own = TryWeights(bytes, spec);
  if (!own.ok()) return absl::IsInvalidArgument(own) ? BadField("weights", Reason(own)) : own;
  for (int i = 0; i < spec.tune().candidates_size(); ++i) {
    const v1::Tune::Candidate& candidate = spec.tune().candidates(i);
    // What may change live makes no difference to weights.
    if (CheckLiveChange(spec, candidate.spec()).ok()) continue;
    const absl::Status tried = TryWeights(bytes, candidate.spec());
    if (tried.ok()) continue;
    if (!absl::IsInvalidArgument(tried)) return tried;
    return BadField(absl::StrCat("spec.tune.candidates[", i, "]"),
                    absl::StrCat("\"", candidate.name(),
                                 "\" begins with the model's weights, which do not fit it: ",
                                 Reason(tried),
                                 "; or let the candidate keep the model's layers and strategies"));
  }
  return absl::OkStatus();
}

absl::Status Host::TryWeights(const std::string& bytes, const v1::ModelSpec& spec) const {
  ENGRAM_ASSIGN_OR_RETURN(const auto learner, options_.make_learner(ToModelOptions(spec)));
  return learner->StartFrom(ToPretrainedWeights(spec, bytes));
}

absl::StatusOr<v1::Model> Host::Create(const v1::CreateModelRequest& request) {
  if (!IsName(request.name())) {
    return BadField("name", NotAName(request.name()));
  }
  ENGRAM_ASSIGN_OR_RETURN(v1::ModelSpec spec, CompleteSpec(request.spec()));
  if (spec.has_weights()) {
    return BadField("spec.weights", "is filled in by the server; send the file as `weights`");
  }
  if (spec.feature_count() > options_.config.limits().features()) {
    return BadField("spec.feature_count",
                    absl::StrCat("limits.features is ", options_.config.limits().features(),
                                 ", got ", spec.feature_count()));
  }
  const std::string& weights = request.weights().safetensors();
  if (request.has_weights()) {
    ENGRAM_RETURN_IF_ERROR(CheckRoom(request.name()));
    SetWeightsOrigin(request.weights(), &spec);
    ENGRAM_RETURN_IF_ERROR(CheckWeights(weights, spec));
  }
  if (spec.has_tune()) spec.mutable_tune()->set_id(1);
  base::MutexLock lock(&catalog_mutex_);
  ENGRAM_RETURN_IF_ERROR(CheckRoom(request.name()));
  ENGRAM_ASSIGN_OR_RETURN(
      const storage::ModelRow row,
      store_->catalog().Create(request.name(), spec.SerializeAsString(),
                               {weights, spec.weights().sha256()}));
  const std::shared_ptr<LiveModel> model = MakeModel(row, spec);
  // Its log is empty, so it serves after one turn; no strand knows it yet.
  if (options_.enter_compute_thread) options_.enter_compute_thread();
  model->RunOnce();
  const absl::Status ready = model->Ready();
  if (!ready.ok()) {
    const absl::Status removed = store_->catalog().Remove(row.uid);
    if (removed.ok()) RemoveStored(store_, row.uid);
    return ready;
  }
  Register(model);
  Log(LogLevel::kInfo, "model_created", {{"model", row.name}, {"uid", row.uid}});
  return model->Describe();
}

absl::StatusOr<std::shared_ptr<LiveModel>> Host::FindLive(absl::string_view name) const {
  if (name.empty()) return BadField("name", "required");
  base::MutexLock lock(&mutex_);
  auto it = models_.find(name);
  if (it != models_.end()) return it->second;
  std::vector<std::string> known;
  for (const auto& entry : models_) {
    if (known.size() < 8) known.push_back(entry.first);
  }
  return NotFound("model", name, absl::StrJoin(known, ", "));
}

absl::StatusOr<std::shared_ptr<ModelRuntime>> Host::Find(absl::string_view name) const {
  ENGRAM_ASSIGN_OR_RETURN(auto model, FindLive(name));
  return std::shared_ptr<ModelRuntime>(std::move(model));
}

std::vector<std::shared_ptr<LiveModel>> Host::AllLive() const {
  base::MutexLock lock(&mutex_);
  std::vector<std::shared_ptr<LiveModel>> models;
  for (const auto& entry : models_) models.push_back(entry.second);
  return models;
}

std::vector<std::shared_ptr<ModelRuntime>> Host::List() const {
  const auto models = AllLive();
  return {models.begin(), models.end()};
}

void Host::Update(const v1::UpdateModelRequest& request,
                  std::function<void(absl::StatusOr<v1::UpdateModelResponse>)> done) {
  auto model = FindLive(request.name());
  if (!model.ok()) return done(model.status());
  if (request.promote()) {
    if (request.has_spec()) return done(BadField("spec", "promote comes in place of a spec"));
    return (*model)->Promote(std::move(done));
  }
  auto spec = CompleteSpec(request.spec());
  if (!spec.ok()) return done(spec.status());
  (*model)->Update(*std::move(spec), std::move(done));
}

absl::Status Host::Delete(absl::string_view name) {
  base::MutexLock lock(&catalog_mutex_);
  ENGRAM_ASSIGN_OR_RETURN(auto model, FindLive(name));
  ENGRAM_RETURN_IF_ERROR(store_->catalog().Remove(model->uid()));
  {
    base::MutexLock models_lock(&mutex_);
    models_.erase(model->name());
  }
  model->Retire(NotFound("model", model->name(), ""));
  if (options_.losses != nullptr) {
    const absl::Status forgotten = options_.losses->Put(model->uid(), {});
    if (!forgotten.ok()) Log(LogLevel::kWarning, "losses_not_written", {{"reason", forgotten}});
  }
  strands_->Remove(model->uid());
  if (options_.on_serving) options_.on_serving(model->name(), false);
  Log(LogLevel::kInfo, "model_deleted", {{"model", model->name()}, {"uid", model->uid()}});
  // Behind the model's own jobs, which refer to it.
  background_.Push([store = store_, model] { RemoveStored(store, model->uid()); });
  return absl::OkStatus();
}

absl::StatusOr<v1::Model> Host::SetPaused(absl::string_view name, bool paused) {
  base::MutexLock lock(&catalog_mutex_);
  ENGRAM_ASSIGN_OR_RETURN(auto model, FindLive(name));
  ENGRAM_RETURN_IF_ERROR(store_->catalog().SetPaused(model->uid(), paused));
  model->SetPaused(paused);
  return model->Describe();
}

absl::Status Host::OpenStored() {
  ENGRAM_ASSIGN_OR_RETURN(const auto orphans, store_->catalog().Orphans());
  for (storage::ModelUid uid : orphans) RemoveStored(store_, uid);
  ENGRAM_ASSIGN_OR_RETURN(const auto rows, store_->catalog().List());
  for (const storage::ModelRow& row : rows) {
    v1::ModelSpec spec;
    if (!spec.ParseFromString(row.spec)) {
      return absl::DataLossError(absl::StrCat("the spec of model \"", row.name,
                                              "\" does not parse"));
    }
    Register(MakeModel(row, spec));
  }
  return absl::OkStatus();
}

absl::Status Host::Start() {
  ENGRAM_RETURN_IF_ERROR(OpenStored());
  StartThreads();
  return absl::OkStatus();
}

void Host::StartThreads() {
  const int strands = std::max(1, options_.config.trainer_threads());
  auto enter = [this] {
    if (!base::LowerThreadPriority(base::ThreadPriority::kTrain)) {
      Log(LogLevel::kWarning, "priority_not_lowered", {{"thread", "training"}});
    }
    if (options_.enter_compute_thread) options_.enter_compute_thread();
  };
  for (int i = 0; i < strands; ++i) {
    threads_.emplace_back([this, enter] {
      enter();
      strands_->RunLoop();
    });
  }
  threads_.emplace_back([this] {
    timer_->Run(*clock_, [this](absl::Duration now) {
      absl::Duration next = absl::InfiniteDuration();
      for (const auto& model : AllLive()) {
        model->ExpireWaits(now);
        next = std::min(next, model->NextDeadline());
      }
      return next;
    });
  });
  background_thread_ = std::thread([this, enter] {
    enter();
    background_.Run();
  });
}

void Host::StopThreads() {
  strands_->Stop();
  timer_->Stop();
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
  background_.Stop();
  if (background_thread_.joinable()) background_thread_.join();
}

void Host::AwaitDrained(absl::Duration patience) {
  const absl::Duration end = clock_->Monotonic() + patience;
  const auto models = AllLive();
  base::Mutex mutex;
  base::CondVar never;
  base::MutexLock lock(&mutex);
  while (clock_->Monotonic() < end &&
         !std::all_of(models.begin(), models.end(),
                      [](const auto& model) { return model->Drained(); })) {
    never.WaitFor(&mutex, kDrainPoll);
  }
}

void Host::TakeFinalCheckpoints() {
  struct Count {
    base::Mutex mutex;
    base::CondVar wake;
    size_t left = 0;
  };
  auto count = std::make_shared<Count>();
  const auto models = AllLive();
  count->left = models.size();
  for (const auto& model : models) {
    model->TakeFinalCheckpoint([count] {
      base::MutexLock lock(&count->mutex);
      --count->left;
      count->wake.NotifyAll();
    });
  }
  const absl::Duration end = clock_->Monotonic() + kFinalCheckpointPatience;
  base::MutexLock lock(&count->mutex);
  while (count->left > 0 && clock_->Monotonic() < end) {
    count->wake.WaitFor(&count->mutex, kDrainPoll);
  }
}

void Host::Apply(const v1::ServerConfig& config) {
  limits_.Set(config.limits());
  retention_.Set(config.retention());
  live_evaluation_share_.Set(config.live_evaluation_share());
}

void Host::Drain(absl::Duration patience) {
  {
    base::MutexLock lock(&mutex_);
    if (std::exchange(draining_, true)) return;
  }
  for (const auto& model : AllLive()) model->Close(Draining());
  if (!threads_.empty() && patience > absl::ZeroDuration()) {
    AwaitDrained(patience);
    TakeFinalCheckpoints();
  }
  for (const auto& model : AllLive()) model->Retire(Draining());
  StopThreads();
}

std::string Host::ReadOnlyReason() const {
  const absl::Status health = store_->log().Health();
  return health.ok() ? std::string() : std::string(health.message());
}

}  // namespace

std::unique_ptr<ModelHost> MakeModelHost(ModelHostOptions options, storage::Store* store) {
  return std::make_unique<Host>(std::move(options), store);
}

}  // namespace engram::server
