#include "server/predictor.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/byte_buffer_messages.h"
#include "server/errors.h"
#include "server/feature_rows.h"
#include "server/feature_values.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

// More work than this many values is worth a change of thread: it would hold up other calls.
constexpr int64_t kInlineValues = 64 * 1024;

// Kept between calls of one thread, so that a call in the steady state allocates nothing here.
struct Scratch {
  v1::PredictRequest request;
  v1::PredictResponse response;
  std::vector<float> values;
  std::vector<float> scores;
  std::vector<int32_t> tasks;
  std::vector<int32_t> order;
  std::vector<strategies::InferredTask> inferred;
};

Scratch& ThreadScratch() {
  thread_local Scratch scratch;
  return scratch;
}

bool IsLarge(const v1::PredictRequest& request) {
  return ValueCount(request.features()) > kInlineValues;
}

// Live() was empty; the model may have become ready since.
absl::Status Recovering(const ModelRuntime& model) {
  const absl::Status ready = model.Ready();
  return ready.ok() ? NotYet("recovering", std::chrono::milliseconds(100)) : ready;
}

absl::Status FillTasks(const v1::PredictRequest& request, const StreamView& view, int64_t rows,
                       std::vector<int32_t>* tasks) {
  tasks->clear();
  if (request.task().empty()) return absl::OkStatus();
  const auto found = view.task_index.find(request.task());
  if (found == view.task_index.end()) {
    return NotFound("task", request.task(), absl::StrCat(view.tasks.size(), " other tasks"));
  }
  tasks->assign(rows, found->second);
  return absl::OkStatus();
}

// Where nobody names the task and the model can find it: so that the reply can say which.
absl::Status InferTasks(const v1::PredictRequest& request, const Served& served, int64_t rows,
                        Scratch* scratch) {
  scratch->inferred.clear();
  if (!request.task().empty() || !served.snapshot->infers_tasks()) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(served.snapshot->InferTasks(scratch->values, rows, &scratch->inferred));
  for (const strategies::InferredTask& row : scratch->inferred) scratch->tasks.push_back(row.task);
  return absl::OkStatus();
}

void FillInferred(const strategies::InferredTask& inferred, const StreamView& view,
                  v1::RowPrediction* row) {
  row->set_inferred_task(view.tasks[static_cast<size_t>(inferred.task)]);
  row->set_task_confidence(inferred.confidence);
}

absl::Status CheckTopK(const v1::PredictRequest& request, int64_t classes) {
  if (!request.has_top_k()) return absl::OkStatus();
  if (request.top_k() >= 1 && request.top_k() <= classes) return absl::OkStatus();
  return BadField("top_k", absl::StrCat("must be in [1,", classes, "], got ", request.top_k()));
}

// The learner's words for a missing task know nothing of fields.
absl::Status ExplainTask(const absl::Status& status, const v1::PredictRequest& request,
                         const v1::ModelSpec& spec) {
  if (status.ok() || !request.task().empty() || spec.head().kind() != v1::Head::PER_TASK ||
      status.code() != absl::StatusCode::kInvalidArgument) {
    return status;
  }
  return BadField("task", "required: this model has one head a task");
}

void FillTop(const float* scores, int64_t classes, const StreamView& view, int k,
             std::vector<int32_t>* order, v1::RowPrediction* row) {
  RankClasses(scores, classes, k, order);
  for (int i = 0; i < k; ++i) {
    v1::RankedLabel* ranked = row->add_top();
    *ranked->mutable_label() = view.labels[(*order)[i]];
    ranked->set_score(scores[(*order)[i]]);
  }
}

void Count(ModelStatistics* statistics, int64_t rows, absl::Duration taken) {
  size_t bucket = 0;
  while ((int64_t{1} << bucket) < rows && bucket + 1 < statistics->predict_batch_size.size()) {
    ++bucket;
  }
  statistics->predict_batch_size[bucket].fetch_add(1, std::memory_order_relaxed);
  statistics->predict_calls.fetch_add(1, std::memory_order_relaxed);
  statistics->predict_rows.fetch_add(rows, std::memory_order_relaxed);
  statistics->predict_seconds.Observe(absl::ToDoubleSeconds(taken));
}

}  // namespace

void RankClasses(const float* scores, int64_t classes, int64_t k, std::vector<int32_t>* order) {
  order->resize(classes);
  std::iota(order->begin(), order->end(), 0);
  std::partial_sort(order->begin(), order->begin() + k, order->end(),
                    [scores](int32_t a, int32_t b) {
                      return scores[a] > scores[b] || (scores[a] == scores[b] && a < b);
                    });
}

v1::PredictRequest* Predictor::ThreadRequest() { return &ThreadScratch().request; }

grpc::ByteBuffer Predictor::PredictReply(const v1::PredictRequest& request,
                                         const ScoredRows& rows) {
  v1::PredictResponse& response = ThreadScratch().response;
  response.Clear();
  response.set_model_version(rows.served.version());
  const StreamView& view = *rows.served.view;
  for (int64_t i = 0; i < rows.rows; ++i) {
    const float* scores = rows.scores + i * rows.classes;
    v1::RowPrediction* row = response.add_predictions();
    const int64_t best = std::max_element(scores, scores + rows.classes) - scores;
    *row->mutable_label() = view.labels[best];
    if (!request.omit_scores()) row->mutable_scores()->Add(scores, scores + rows.classes);
    if (request.has_top_k()) {
      FillTop(scores, rows.classes, view, request.top_k(), &ThreadScratch().order, row);
    }
    if (!rows.inferred.empty()) FillInferred(rows.inferred[i], view, row);
  }
  return ToBytes(response);
}

absl::Status Predictor::Answer(const v1::PredictRequest& request, ModelRuntime* model,
                               const Served& served, const Render& render,
                               grpc::ByteBuffer* reply) const {
  const absl::Duration start = SteadyNow();
  if (served.snapshot == nullptr) return Recovering(*model);
  const std::shared_ptr<const v1::ModelSpec> spec = model->spec();
  const FeatureRules rules{model->name(), spec->feature_count(), spec->max_abs_feature()};
  Scratch& scratch = ThreadScratch();
  int64_t rows = 0;
  ENGRAM_RETURN_IF_ERROR(ReadRows(request.features(), rules,
                                  edge_.config.limits().examples_per_message(), &scratch.values,
                                  &rows));
  ENGRAM_RETURN_IF_ERROR(FillTasks(request, *served.view, rows, &scratch.tasks));
  const absl::Duration read = SteadyNow();
  const int64_t classes = served.snapshot->class_count();
  if (classes == 0) {
    return WrongState("MODEL", model->name(),
                      absl::StrCat("no class yet: 0 examples applied (model \"", model->name(),
                                   "\")"));
  }
  ENGRAM_RETURN_IF_ERROR(CheckTopK(request, classes));
  ENGRAM_RETURN_IF_ERROR(InferTasks(request, served, rows, &scratch));
  ENGRAM_RETURN_IF_ERROR(
      ExplainTask(served.snapshot->Predict(scratch.values, rows, scratch.tasks, &scratch.scores),
                  request, *spec));
  *reply = render(request, {served, rows, classes, scratch.scores.data(), scratch.inferred, start,
                            read, SteadyNow()});
  Count(&model->statistics(), rows, SteadyNow() - start);
  return absl::OkStatus();
}

absl::optional<absl::Status> Predictor::TryNow(const v1::PredictRequest& request,
                                               const Render& render,
                                               grpc::ByteBuffer* reply) const {
  const auto model = FindModel(edge_, request.model());
  if (!model.ok()) return model.status();
  if (IsLarge(request)) return absl::nullopt;
  const Served live = (*model)->Live();
  if (live.snapshot != nullptr) {
    // Applied is published: the live version answers for every sequence up to its own.
    if (request.min_applied_sequence() > live.version()) return absl::nullopt;
    if (request.version() != 0 && request.version() != live.version()) return absl::nullopt;
  }
  return Answer(request, model->get(), live, render, reply);
}

void Predictor::Later(v1::PredictRequest request, absl::Duration deadline,
                      std::function<bool()> abandoned,
                      std::function<void(const absl::Status&, grpc::ByteBuffer)> done,
                      Render render) const {
  const auto model = FindModel(edge_, request.model());
  if (!model.ok()) return done(model.status(), {});
  const uint64_t wanted = request.min_applied_sequence();
  auto answer = [this, model = *model, request = std::move(request), render = std::move(render),
                 deadline, abandoned, done] {
    if (abandoned()) return done(absl::CancelledError("the client cancelled"), {});
    if (SteadyNow() > deadline) {
      return done(absl::DeadlineExceededError("the prediction waited for a thread too long"), {});
    }
    absl::StatusOr<Served> served = request.version() == 0 ? absl::StatusOr<Served>(model->Live())
                                                           : model->Version(request.version());
    grpc::ByteBuffer reply;
    const absl::Status status =
        served.ok() ? Answer(request, model.get(), *served, render, &reply) : served.status();
    done(status, std::move(reply));
  };
  auto on_pool = [this, answer, done] {
    const absl::Status queued = edge_.prediction_pool->Run(answer);
    if (!queued.ok()) done(queued, {});
  };
  if (wanted <= (*model)->AppliedSequence()) return on_pool();
  auto place = edge_.gate->ReserveWait();
  if (!place.ok()) return done(place.status(), {});
  (*model)->WaitApplied(
      wanted, false, deadline,
      [on_pool, done, place = *std::move(place)](
          const absl::StatusOr<v1::WaitAppliedResponse>& reached) mutable {
        place.reset();
        reached.ok() ? on_pool() : done(reached.status(), {});
      });
}

}  // namespace engram::server
