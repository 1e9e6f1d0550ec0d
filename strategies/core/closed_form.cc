#include "strategies/core/closed_form.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/cross_entropy.h"
#include "strategies/core/kernels.h"
#include "strategies/core/random_features.h"

namespace engram::strategies {
namespace {

class ClosedFormPass final : public ForwardPass {
 public:
  ClosedFormPass(const ForwardPass& inner, bool embeds, int64_t units,
                 std::shared_ptr<const RandomFeatures> random,
                 std::shared_ptr<const LinearScores> scores)
      : inner_(inner),
        embeds_(embeds),
        units_(units),
        random_(std::move(random)),
        scores_(std::move(scores)) {}

  void Run(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
           ForwardScratch* scratch, float* logits) const override {
    const float* inputs = features;
    std::vector<float> embedded, mapped;
    if (embeds_) {
      embedded.resize(static_cast<size_t>(rows * embedding_width()));
      Embed(features, rows, tasks, scratch, embedded.data());
      inputs = embedded.data();
    }
    if (random_ != nullptr) {
      mapped.resize(static_cast<size_t>(rows * random_->outputs()));
      random_->Map(inputs, rows, mapped.data());
      inputs = mapped.data();
    }
    scores_->Run(inputs, rows, units_, logits);
  }

  int64_t embedding_width() const override { return inner_.embedding_width(); }
  void Embed(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
             ForwardScratch* scratch, float* embeddings) const override {
    inner_.Embed(features, rows, tasks, scratch, embeddings);
  }

  absl::optional<NetworkProgram::Value> Describe(int32_t task, const std::vector<int64_t>& units,
                                                 NetworkProgram* program) const override {
    absl::optional<NetworkProgram::Value> inputs = NetworkProgram::kFeatures;
    if (embeds_) inputs = DescribeEmbedding(task, program);
    if (!inputs.has_value()) return absl::nullopt;
    if (random_ != nullptr) inputs = random_->Describe(*inputs, program);
    return scores_->Describe(*inputs, units, program);
  }
  absl::optional<NetworkProgram::Value> DescribeEmbedding(int32_t task,
                                                          NetworkProgram* program) const override {
    return inner_.DescribeEmbedding(task, program);
  }

 private:
  const ForwardPass& inner_;
  bool embeds_;
  int64_t units_;
  std::shared_ptr<const RandomFeatures> random_;  // null: none
  std::shared_ptr<const LinearScores> scores_;
};

bool Embeds(const StrategyParameters& parameters) {
  return parameters.Choice("input") == "embeddings";
}

class ClosedForm final : public Strategy {
 public:
  // `width`: of the inputs before random features.
  ClosedForm(const ClosedFormPlan& plan, const StrategyParameters& parameters,
             const StrategyEnvironment& environment, int64_t width)
      : name_(plan.name),
        regularization_name_(plan.regularization),
        embeds_(Embeds(parameters)),
        width_(plan.random_features > 0 ? plan.random_features : width),
        units_(environment.units),
        sums_(plan.make_sums(width_)),
        solution_(std::make_shared<const LinearScores>(at::zeros({0, width_}), at::zeros({0}),
                                                       std::vector<bool>())) {
    if (plan.random_features > 0) {
      random_ = std::make_shared<const RandomFeatures>(width, width_, environment.seed);
    }
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return name_; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  // The whole step, over the stream's rows: what outer strategies appended was counted before.
  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next /*next*/) override {
    const float* inputs = Inputs(batch, context);
    Observation observation = Score(batch, inputs);
    const float largest =
        ActiveKernels().largest_magnitude(inputs, batch.stream_rows() * width_);
    if (!(largest <= kInputMax)) {
      observation.skipped = true;
      observation.skip_reason =
          absl::StrCat("inputs reach ", largest, ", more than ", kInputMax);
      return observation;
    }
    for (int64_t row = 0; row < batch.stream_rows(); ++row) {
      sums_->Add(inputs + row * width_, batch.targets()[row], batch.weights()[row]);
    }
    learned_ += batch.stream_rows();
    served_ = nullptr;
    if (learned_ >= solved_at_ + std::min(refresh_every_, solved_at_)) Refresh();
    return observation;
  }

  absl::Status Consolidate(const TaskBoundary&, const ConsolidationSet&, StepContext&,
                           BoundaryReport*) override {
    Refresh();
    return absl::OkStatus();
  }

  std::unique_ptr<const ForwardPass> Serve(const ForwardPass& inner) const override {
    return std::make_unique<ClosedFormPass>(inner, embeds_, units_->size(), random_, Solved());
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    regularization_ = parameters.Number(regularization_name_);
    refresh_every_ = parameters.Integer("refresh_every_examples");
    served_ = nullptr;
  }

  void SaveState(StateWriter* writer) const override {
    writer->PutInteger("learned", learned_);
    writer->PutInteger("solved_at", solved_at_);
    solution_->Save(writer);
    sums_->SaveState(writer);
  }

  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_ASSIGN_OR_RETURN(learned_, reader.GetInteger("learned"));
    ENGRAM_ASSIGN_OR_RETURN(solved_at_, reader.GetInteger("solved_at"));
    if (solved_at_ < 0 || learned_ < solved_at_) {
      return absl::DataLossError(
          absl::StrCat("solved_at: expected 0 to ", learned_, ", found ", solved_at_));
    }
    ENGRAM_ASSIGN_OR_RETURN(solution_, LinearScores::Load(reader, width_, units_->size()));
    return sums_->LoadState(reader, units_->size());
  }

 private:
  const float* Inputs(const TrainingBatch& batch, StepContext& context) {
    const float* inputs = batch.row(0);
    if (embeds_) {
      context.Forward(batch);
      inputs = context.network().embeddings().data_ptr<float>();
    }
    if (random_ == nullptr) return inputs;
    mapped_.resize(static_cast<size_t>(batch.stream_rows() * width_));
    random_->Map(inputs, batch.stream_rows(), mapped_.data());
    return mapped_.data();
  }

  Observation Score(const TrainingBatch& batch, const float* inputs) {
    const int64_t rows = batch.stream_rows();
    scores_ = at::empty({rows, units_->size()}, at::kFloat);
    slopes_ = at::empty_like(scores_);
    solution_->Run(inputs, rows, units_->size(), scores_.data_ptr<float>());
    LossRows loss_rows;
    loss_rows.targets = batch.targets().first(static_cast<size_t>(rows));
    loss_rows.tasks = batch.tasks().first(static_cast<size_t>(rows));
    Observation observation;
    observation.logits = scores_;
    observation.loss = CrossEntropy(scores_, loss_rows, *units_, slopes_);
    return observation;
  }

  void Refresh() {
    solution_ = Solved();
    solved_at_ = learned_;
  }

  // Of the present sums.
  std::shared_ptr<const LinearScores> Solved() const {
    if (served_ == nullptr) {
      served_ = std::make_shared<const LinearScores>(sums_->Solve(regularization_));
    }
    return served_;
  }

  std::string name_;
  std::string regularization_name_;
  bool embeds_;
  int64_t width_;  // of what the sums see
  const UnitMap* units_;
  std::unique_ptr<SolvableSums> sums_;
  std::shared_ptr<const LinearScores> solution_;
  std::shared_ptr<const RandomFeatures> random_;  // null: none
  double regularization_ = 0;
  int64_t refresh_every_ = 0;
  int64_t learned_ = 0;    // examples in the sums
  int64_t solved_at_ = 0;  // examples that solution_ knows
  mutable std::shared_ptr<const LinearScores> served_;  // of the present sums; null: not solved
  std::vector<float> mapped_;
  at::Tensor scores_;
  at::Tensor slopes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Strategy>> MakeClosedForm(const ClosedFormPlan& plan,
                                                         const StrategyParameters& parameters,
                                                         const StrategyEnvironment& environment) {
  int64_t width = environment.feature_count;
  if (Embeds(parameters)) {
    width = environment.network->Bind(environment.arena->flat())->embedding_width();
  }
  const int64_t sums_width = plan.random_features > 0 ? plan.random_features : width;
  if (8 * sums_width > kSumsBytesMax / sums_width) {
    return absl::ResourceExhaustedError(absl::StrCat(plan.name, ": sums over ", sums_width,
                                                     " inputs exceed ", kSumsBytesMax, " bytes"));
  }
  return std::make_unique<ClosedForm>(plan, parameters, environment, width);
}

std::vector<ParameterHelp> ClosedFormParameters() {
  return {ChoiceParameter("input", {"features", "embeddings"})
              .Help("features: the example as it came; embeddings: what the network's head sees"),
          IntegerParameter("refresh_every_examples", 1000)
              .Between(1, 1e9)
              .Live()
              .Help("age at which the solution behind test-then-train scores is renewed; what is "
                    "served is always exact")};
}

}  // namespace engram::strategies
