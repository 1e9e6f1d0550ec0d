#include "tests/testing/server_edge/fake_model.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "server/errors.h"

namespace engram::testing {

using server::Accepted;
using server::Served;

absl::Status FakeSnapshot::Predict(absl::Span<const float> features, int64_t rows,
                                   absl::Span<const int32_t> tasks,
                                   std::vector<float>* scores) const {
  if (per_task_ && tasks.empty()) return absl::InvalidArgumentError("task missing");
  scores->resize(rows * classes_);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < classes_; ++c) {
      (*scores)[row * classes_ + c] = features[row * feature_count_ + c];
    }
  }
  return absl::OkStatus();
}

absl::Status FakeSnapshot::InferTasks(absl::Span<const float> features, int64_t rows,
                                      std::vector<strategies::InferredTask>* inferred) const {
  inferred->clear();
  for (int64_t row = 0; row < rows; ++row) {
    const float last = features[(row + 1) * feature_count_ - 1];
    inferred->push_back({last < 0 ? 0 : 1, std::abs(last)});
  }
  return absl::OkStatus();
}

FakeModel::FakeModel(std::string name, v1::ModelSpec spec, Commits commits)
    : name_(std::move(name)),
      spec_(std::make_shared<const v1::ModelSpec>(std::move(spec))),
      commits_(commits) {
  live_ = Make(0, 0);
}

Served FakeModel::Make(uint64_t version, int64_t classes) const {
  auto view = std::make_shared<server::StreamView>();
  for (int64_t c = 0; c < classes; ++c) {
    view->labels.emplace_back();
    view->labels.back().set_number(100 + c);
  }
  view->tasks = {"task-1", "task-2"};
  view->task_index = {{"task-1", 0}, {"task-2", 1}};
  const bool per_task = spec_->head().kind() == v1::Head::PER_TASK;
  const bool infers_tasks = spec_->strategies_size() > 0 && spec_->strategies(0).has_progressive();
  return {std::make_shared<FakeSnapshot>(version, classes, spec_->feature_count(), per_task,
                                         infers_tasks),
          std::move(view)};
}

size_t FakeModel::Commit() {
  std::deque<Submitted> batch;
  {
    base::MutexLock lock(&mutex_);
    batch.swap(submitted_);
    durable_ = assigned_;
  }
  for (const Submitted& each : batch) each.done(each.accepted);
  return batch.size();
}

void FakeModel::RefuseNext(int count, absl::Status status) {
  base::MutexLock lock(&mutex_);
  refusals_ = count;
  refusal_ = std::move(status);
}

void FakeModel::AwaitMessages(int64_t count) {
  base::MutexLock lock(&mutex_);
  while (messages_ < count) changed_.Wait(&mutex_);
}

int64_t FakeModel::messages() const {
  base::MutexLock lock(&mutex_);
  return messages_;
}

void FakeModel::Apply(uint64_t version, int64_t classes) {
  std::vector<Waiter> ready;
  v1::WaitAppliedResponse response;
  {
    base::MutexLock lock(&mutex_);
    live_ = Make(version, classes);
    durable_ = std::max(durable_, version);
    assigned_ = std::max(assigned_, version);
    const auto middle = std::partition(waiters_.begin(), waiters_.end(),
                                       [version](const Waiter& w) { return w.sequence > version; });
    ready.assign(middle, waiters_.end());
    waiters_.erase(middle, waiters_.end());
    response.set_durable_sequence(durable_);
  }
  response.set_applied_sequence(version);
  for (const Waiter& waiter : ready) waiter.done(response);
}

void FakeModel::ExpireWaits() {
  std::vector<Waiter> late;
  {
    base::MutexLock lock(&mutex_);
    while (waiters_.empty()) changed_.Wait(&mutex_);
    late.swap(waiters_);
  }
  for (const Waiter& waiter : late) {
    waiter.done(absl::DeadlineExceededError(
        absl::StrCat("applied_sequence=", AppliedSequence(), " < ", waiter.sequence)));
  }
}

void FakeModel::Keep(uint64_t version, int64_t classes) {
  base::MutexLock lock(&mutex_);
  kept_[version] = Make(version, classes);
}

void FakeModel::SetReport(v1::Report report) {
  base::MutexLock lock(&mutex_);
  report_ = std::move(report);
}

void FakeModel::Emit(const v1::ReportEvent& event) {
  // Under the lock: Unwatch then waits for a running observer, as promised.
  base::MutexLock lock(&mutex_);
  for (const auto& [id, observer] : watches_) observer(event);
}

size_t FakeModel::watchers() const {
  base::MutexLock lock(&mutex_);
  return watches_.size();
}

void FakeModel::AddCheckpoint(v1::Checkpoint checkpoint) {
  base::MutexLock lock(&mutex_);
  checkpoints_.push_back(std::move(checkpoint));
}

void FakeModel::SetGauges(strategies::LearnerGauges gauges) {
  base::MutexLock lock(&mutex_);
  gauges_ = std::move(gauges);
}

v1::Model FakeModel::Describe() const {
  v1::Model model;
  model.set_name(name_);
  *model.mutable_spec() = *spec_;
  model.set_version(AppliedSequence());
  model.set_state(v1::Model::SERVING);
  return model;
}

void FakeModel::Hello(const v1::LearnHello& hello,
                      std::function<void(absl::StatusOr<v1::LearnWelcome>)> done) {
  v1::LearnWelcome welcome;
  {
    base::MutexLock lock(&mutex_);
    welcome.set_epoch(++epoch_);
    welcome.set_last_producer_sequence(producer_sequence_);
    welcome.set_durable_sequence(durable_);
  }
  if (hello.last_acked_sequence() > welcome.last_producer_sequence()) {
    return done(server::WithReason(absl::StatusCode::kDataLoss, "ACK_AHEAD", "acked beyond"));
  }
  done(welcome);
}

absl::StatusOr<Accepted> FakeModel::Take(const v1::LearnMessage& message) {
  Accepted accepted;
  if (message.producer_sequence() <= producer_sequence_) {
    accepted.duplicate = true;
    return accepted;
  }
  if (message.producer_sequence() != producer_sequence_ + 1) {
    return server::WithReason(absl::StatusCode::kAborted, "SEQUENCE_GAP",
                              absl::StrCat("expected sequence ", producer_sequence_ + 1, ", got ",
                                           message.producer_sequence()),
                              "expectedSequence", absl::StrCat(producer_sequence_ + 1));
  }
  ++producer_sequence_;
  if (!message.has_boundary() && message.examples().empty()) {
    accepted.rejection = server::BadField("examples", "batch is empty");
    return accepted;
  }
  accepted.count = message.has_boundary() ? 1 : message.examples_size();
  accepted.first_sequence = assigned_ + 1;
  assigned_ += accepted.count;
  if (message.has_boundary()) {
    accepted.ended_task = "task-1";
    accepted.next_task = message.boundary().next_task();
  }
  return accepted;
}

void FakeModel::Learn(const std::string& producer, uint64_t epoch, v1::LearnMessage message,
                      LearnDone done) {
  absl::StatusOr<Accepted> outcome = Accepted();
  {
    base::MutexLock lock(&mutex_);
    ++messages_;
    changed_.NotifyAll();
    if (refusals_ > 0) {
      --refusals_;
      outcome = refusal_;
    } else {
      outcome = Take(message);
      if (outcome.ok() && outcome->count > 0 && commits_ == Commits::kByHand) {
        submitted_.push_back({*outcome, std::move(done)});
        return;
      }
      if (outcome.ok() && submitted_.empty()) durable_ = assigned_;
    }
  }
  done(outcome);
}

uint64_t FakeModel::DurableSequence() const {
  base::MutexLock lock(&mutex_);
  return durable_;
}

uint64_t FakeModel::AppliedSequence() const {
  base::MutexLock lock(&mutex_);
  return live_.version();
}

void FakeModel::WaitApplied(uint64_t sequence, bool evaluated, absl::Duration deadline,
                            std::function<void(absl::StatusOr<v1::WaitAppliedResponse>)> done) {
  v1::WaitAppliedResponse response;
  {
    base::MutexLock lock(&mutex_);
    response.set_applied_sequence(live_.version());
    response.set_durable_sequence(durable_);
    if (sequence > live_.version()) {
      waiters_.push_back({sequence, std::move(done)});
      changed_.NotifyAll();
      return;
    }
  }
  done(response);
}

Served FakeModel::Live() const {
  base::MutexLock lock(&mutex_);
  return live_;
}

absl::StatusOr<Served> FakeModel::Version(uint64_t version) {
  base::MutexLock lock(&mutex_);
  const auto found = kept_.find(version);
  if (found != kept_.end()) return found->second;
  return server::NotFound("version", absl::StrCat(version), absl::StrCat(live_.version()));
}

v1::Report FakeModel::Report() const {
  base::MutexLock lock(&mutex_);
  return report_;
}

uint64_t FakeModel::Watch(std::function<void(const v1::ReportEvent&)> observer) {
  v1::ReportEvent first;
  *first.mutable_report() = Report();
  observer(first);
  base::MutexLock lock(&mutex_);
  watches_[next_watch_] = std::move(observer);
  return next_watch_++;
}

void FakeModel::Unwatch(uint64_t id) {
  base::MutexLock lock(&mutex_);
  watches_.erase(id);
}

absl::StatusOr<v1::EvaluateResponse> FakeModel::Evaluate(const v1::EvaluateRequest& request) {
  v1::EvaluateResponse response;
  response.set_examples(request.examples_size());
  response.set_model_version(AppliedSequence());
  return response;
}

void FakeModel::CreateCheckpoint(const v1::CreateCheckpointRequest& request,
                                 std::function<void(absl::StatusOr<v1::Checkpoint>)> done) {
  v1::Checkpoint checkpoint;
  checkpoint.set_id(absl::StrCat("C", AppliedSequence()));
  checkpoint.set_label(request.label());
  checkpoint.set_applied_sequence(AppliedSequence());
  AddCheckpoint(checkpoint);
  done(checkpoint);
}

absl::StatusOr<std::vector<v1::Checkpoint>> FakeModel::ListCheckpoints() const {
  base::MutexLock lock(&mutex_);
  return checkpoints_;
}

absl::StatusOr<v1::Checkpoint> FakeModel::GetCheckpoint(absl::string_view id) const {
  base::MutexLock lock(&mutex_);
  for (const v1::Checkpoint& each : checkpoints_) {
    if (each.id() == id) return each;
  }
  return server::NotFound("checkpoint", id, "");
}

absl::Status FakeModel::DeleteCheckpoint(absl::string_view id) {
  return GetCheckpoint(id).status();
}

absl::StatusOr<v1::BlameResponse> FakeModel::Blame(const v1::BlameRequest&,
                                                   const std::function<bool()>& left) {
  OnBlame blame;
  {
    base::MutexLock lock(&mutex_);
    blame = blame_;
  }
  return blame == nullptr ? v1::BlameResponse() : blame(left);
}

void FakeModel::SetBlame(OnBlame blame) {
  base::MutexLock lock(&mutex_);
  blame_ = std::move(blame);
}

// Nothing matches.
void FakeModel::Erase(const v1::EraseRequest&,
                      std::function<void(absl::StatusOr<v1::EraseResponse>)> done) {
  v1::EraseResponse receipt;
  receipt.set_data(v1::EraseResponse::NOTHING_FOUND);
  done(receipt);
}

void FakeModel::ReleaseQuarantined(
    const v1::ReleaseQuarantinedRequest& request,
    std::function<void(absl::StatusOr<v1::ReleaseQuarantinedResponse>)> done) {
  if (request.sequences().empty()) return done(server::BadField("sequences", "none is given"));
  done(server::NotFound("quarantined example", absl::StrCat(request.sequences(0)), ""));
}

void FakeModel::Rollback(const v1::RollbackRequest& request,
                         std::function<void(absl::StatusOr<v1::RollbackResponse>)> done) {
  const auto checkpoint = GetCheckpoint(request.checkpoint());
  if (!checkpoint.ok()) return done(checkpoint.status());
  v1::RollbackResponse response;
  response.set_checkpoint(checkpoint->id());
  response.set_restored_sequence(checkpoint->applied_sequence());
  done(response);
}

absl::StatusOr<server::ModelFile> FakeModel::Export(const v1::ExportRequest& request) {
  if (!request.checkpoint().empty()) {
    const auto checkpoint = GetCheckpoint(request.checkpoint());
    if (!checkpoint.ok()) return checkpoint.status();
  }
  base::MutexLock lock(&mutex_);
  return file_;
}

void FakeModel::SetFile(server::ModelFile file) {
  base::MutexLock lock(&mutex_);
  file_ = std::move(file);
}

strategies::LearnerGauges FakeModel::Gauges() const {
  base::MutexLock lock(&mutex_);
  return gauges_;
}

void FakeModel::AddLoss(v1::Loss loss) {
  base::MutexLock lock(&mutex_);
  losses_.push_back(std::move(loss));
}

std::vector<v1::Loss> FakeModel::Losses() const {
  base::MutexLock lock(&mutex_);
  return losses_;
}

absl::StatusOr<std::vector<v1::Loss>> FakeModel::AcknowledgeLoss(const std::string&) {
  base::MutexLock lock(&mutex_);
  return std::exchange(losses_, {});
}

}  // namespace engram::testing
