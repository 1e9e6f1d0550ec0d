// Generative replay (Shin et al. 2017, "Continual learning with deep generative replay", eq. 1):
// instead of stored examples, those that a generator draws, labelled by the old solver.
//   L_solver = r E_(x,y)~stream [CE(y, S(x))] + (1 - r) E_x'~G_old [loss(S_old(x'), S(x'))]
//   L_generator = r L_G(stream) + (1 - r) L_G(x' ~ G_old),  r = 1 / (tasks so far), or as given
// G_old and S_old are frozen copies, taken at the boundary: what is replayed does not drift with
// the nets in training. Hard labels are S_old's best class (DGR); distilled ones its softmax at
// temperature T, T^2 KL (van de Ven & Tolias 2018, arXiv 1809.10635), where outputs younger than
// S_old count as 0. Where heads are per task, a drawn example is labelled by the head of a task
// picked with as many chances as it has classes: on average all heads, as in that paper.
//
// The generator lives in [0, 1]: stream values outside are clamped for it, not for the solver.
//
// Memory: generator with gradient, two moments and frozen decoder; P floats for S_old.
// Time: a step over batch_size + replay_batch_size rows, S_old over the latter, a step of the
// generator over both.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "storage/base/status_macros.h"
#include "strategies/core/registry.h"
#include "strategies/models/gan.h"
#include "strategies/models/vae.h"

namespace engram::strategies {
namespace {

constexpr int64_t kReplayRowsMax = 1024;
constexpr int64_t kInspectedExamples = 1000;

// The best of the first `old_units` logits that a row of `task` sees.
int64_t BestUnit(const float* logits, const UnitMap& units, int32_t task, int64_t old_units) {
  int64_t best = UnitMap::kNoUnit;
  const auto consider = [&](int64_t unit) {
    if (unit < old_units && (best < 0 || logits[unit] > logits[best])) best = unit;
  };
  if (units.per_task()) {
    for (const int64_t unit : units.UnitsOf(task)) consider(unit);
  } else {
    for (int64_t unit = 0; unit < old_units; ++unit) consider(unit);
  }
  return best;
}

// How well a generator still covers what was learned, as S_old sees its examples.
struct Inspection {
  double classes = 0;     // drawn at least once
  double entropy = 0;     // of the classes drawn, nats
  double confidence = 0;  // mean highest probability
};

class GenerativeReplay final : public Strategy {
 public:
  GenerativeReplay(const StrategyParameters& parameters, const StrategyEnvironment& environment,
                   const GenerativeModelOptions& options, std::unique_ptr<GenerativeModel> model)
      : distils_(parameters.Choice("labels") == "distilled"),
        default_rate_(options.learning_rate),
        model_(std::move(model)),
        sampler_(model_.get(), options),
        solver_(environment.arena, "generative_replay"),
        inputs_(options.feature_count) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "generative_replay"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }
  int64_t ExtraRows(int64_t batch_size) const override {
    return std::max(batch_size, kReplayRowsMax);  // replay_batch_size may change live
  }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    const int64_t given = batch.rows();
    if (sampler_.taken()) ENGRAM_RETURN_IF_ERROR(Replay(batch, context));
    const int64_t replayed = batch.rows() - given;
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (!seen.skipped) TrainGenerator(batch, given, replayed, &context.generator());
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary& boundary, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport* report) override {
    if (!trained_) return absl::OkStatus();
    trained_ = false;
    ++tasks_;
    sampler_.Take();
    solver_.Take(context.network());
    Inspect(context);
    return absl::OkStatus();
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    replay_rows_ = parameters.Integer("replay_batch_size");
    temperature_ = parameters.Number("temperature");
    stream_share_ = parameters.Number("stream_share");
    const double rate = parameters.Number("generator_learning_rate");
    model_->SetLearningRate(rate > 0 ? rate : default_rate_);
  }

  void SaveState(StateWriter* writer) const override {
    writer->PutInteger("tasks", tasks_);
    writer->PutInteger("started", started_);
    writer->PutInteger("trained", trained_);
    writer->PutNumber("classes", inspection_.classes);
    writer->PutNumber("entropy", inspection_.entropy);
    writer->PutNumber("confidence", inspection_.confidence);
    solver_.SaveState(writer);
    StateWriter generator = writer->Scoped("generator/");
    model_->SaveState(&generator);
    sampler_.SaveState(&generator);
  }
  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_ASSIGN_OR_RETURN(tasks_, reader.GetInteger("tasks"));
    ENGRAM_ASSIGN_OR_RETURN(started_, reader.GetInteger("started"));
    ENGRAM_ASSIGN_OR_RETURN(trained_, reader.GetInteger("trained"));
    ENGRAM_ASSIGN_OR_RETURN(inspection_.classes, reader.GetNumber("classes"));
    ENGRAM_ASSIGN_OR_RETURN(inspection_.entropy, reader.GetNumber("entropy"));
    ENGRAM_ASSIGN_OR_RETURN(inspection_.confidence, reader.GetNumber("confidence"));
    ENGRAM_RETURN_IF_ERROR(solver_.LoadState(reader));
    ENGRAM_RETURN_IF_ERROR(model_->LoadState(reader.Scoped("generator/")));
    return sampler_.LoadState(reader.Scoped("generator/"));
  }

  void AddGauges(LearnerGauges* gauges) const override {
    gauges->named["generated_classes"] = inspection_.classes;
    gauges->named["generated_class_entropy_nats"] = inspection_.entropy;
    gauges->named["generated_confidence_ratio"] = inspection_.confidence;
  }

 private:
  double stream_share() const {
    return stream_share_ > 0 ? stream_share_ : 1.0 / static_cast<double>(tasks_ + 1);
  }

  // Draws examples, labels them, appends them and splits the loss between stream and replay.
  absl::Status Replay(TrainingBatch& batch, StepContext& context) {
    const int64_t given = batch.rows(), old_units = solver_.units();
    const UnitMap& units = context.units();
    const at::Tensor drawn = sampler_.Sample(
        replay_rows_ > 0 ? replay_rows_ : batch.stream_rows(), &context.generator());
    const at::Tensor& old_logits = solver_.Forward(context.network(), drawn);
    const float* features = drawn.data_ptr<float>();
    const float* logits = old_logits.data_ptr<float>();
    for (int64_t row = 0; row < drawn.size(0); ++row) {
      int32_t task = 0;
      if (units.per_task()) task = units.owners()[context.generator().Below(old_units)].task;
      const int64_t unit = BestUnit(logits + row * units.size(), units, task, old_units);
      const UnitMap::Owner owner = units.owners()[unit];
      ENGRAM_RETURN_IF_ERROR(batch.AppendRow(features + row * batch.feature_count(), owner.cls,
                                             owner.task, /*sequence=*/0));
    }
    const double share = 1 - stream_share();
    batch.SetShare(0, given, stream_share());
    batch.SetShare(given, batch.rows(), distils_ ? 0 : share);
    if (distils_) {
      batch.KeepUnmixed(given, batch.rows());  // S_old answered each by itself
      Distil(batch, given, old_logits, share, &context);
    }
    return absl::OkStatus();
  }

  // Adds share * T^2 KL(softmax(old / T) || softmax(new / T)), a mean over the rows from `begin`.
  void Distil(const TrainingBatch& batch, int64_t begin, const at::Tensor& old_logits, double share,
              StepContext* context) {
    const int64_t count = batch.rows() - begin, old_units = solver_.units();
    targets_ = old_logits.div(temperature_);
    targets_.narrow(1, old_units, targets_.size(1) - old_units)
        .fill_(-std::numeric_limits<float>::infinity());
    Softmax(targets_, batch.tasks().subspan(begin, count), context->units(), targets_);
    const double weight = share / static_cast<double>(count);
    context->AddLossTerm([this, context, begin, count, weight](const TrainingBatch& rows,
                                                               const at::Tensor& new_logits,
                                                               const at::Tensor& gradient) {
      const at::Tensor beliefs = new_logits.narrow(0, begin, count).div(temperature_);
      Softmax(beliefs, rows.tasks().subspan(begin, count), context->units(), beliefs);
      gradient.narrow(0, begin, count).add_(beliefs - targets_, weight * temperature_);
      // A probability that underflowed must not make the reported value infinite.
      const at::Tensor divergence =
          at::xlogy(targets_, targets_) -
          at::xlogy(targets_, beliefs.clamp_min(std::numeric_limits<float>::min()));
      return weight * temperature_ * temperature_ * divergence.sum().item<double>();
    });
  }

  // One step of the generator on the rows that came in and those that were drawn.
  void TrainGenerator(const TrainingBatch& batch, int64_t given, int64_t replayed,
                      Generator* generator) {
    if (!started_) model_->Reinitialise(generator);
    started_ = trained_ = true;
    const double share = replayed > 0 ? stream_share() : 1;
    coefficients_.clear();
    for (int64_t row = 0; row < given; ++row) {
      coefficients_.push_back(batch.weights()[row] *
                              static_cast<float>(share / static_cast<double>(given)));
    }
    coefficients_.resize(static_cast<size_t>(given + replayed),
                         static_cast<float>((1 - share) / static_cast<double>(replayed)));
    at::Tensor inputs = inputs_.Rows(given + replayed);
    at::clamp_out(inputs, batch.features().narrow(0, 0, given + replayed), 0, 1);
    model_->Learn(inputs, coefficients_, generator);
  }

  // A generator whose modes collapse draws few of the classes, or mostly one of them.
  void Inspect(StepContext& context) {
    const int64_t width = context.units().size();
    const at::Tensor drawn = sampler_.Sample(kInspectedExamples, &context.generator());
    const at::Tensor beliefs =
        solver_.Forward(context.network(), drawn).narrow(1, 0, solver_.units()).softmax(1);
    const at::Tensor best = beliefs.argmax(1);
    std::vector<double> hits(static_cast<size_t>(width), 0);
    for (int64_t i = 0; i < kInspectedExamples; ++i) hits[best.data_ptr<int64_t>()[i]] += 1;
    inspection_ = {};
    for (const double count : hits) {
      if (count == 0) continue;
      const double portion = count / static_cast<double>(kInspectedExamples);
      inspection_.classes += 1;
      inspection_.entropy -= portion * std::log(portion);
    }
    inspection_.confidence = beliefs.amax(1).mean().item<double>();
  }

  const bool distils_;
  const double default_rate_;
  std::unique_ptr<GenerativeModel> model_;
  FrozenSampler sampler_;
  FrozenCopy solver_;
  int64_t replay_rows_ = 0;
  double temperature_ = 2;
  double stream_share_ = 0;
  int64_t tasks_ = 0;      // that the copies have learned
  int64_t started_ = 0;    // 1: the generator's parameters were drawn
  int64_t trained_ = 0;    // 1: there was a step since the last copies
  Inspection inspection_;  // at the last boundary
  at::Tensor targets_;     // of the step's LossTerm
  RowBuffer inputs_;
  std::vector<float> coefficients_;
};

absl::StatusOr<std::unique_ptr<Strategy>> Make(const StrategyParameters& parameters,
                                               const StrategyEnvironment& environment) {
  const bool adversarial = parameters.Choice("generator") == "gan";
  GenerativeModelOptions options;
  options.feature_count = environment.feature_count;
  options.hidden = parameters.Integer("generator_hidden");
  options.latent = parameters.Integer("latent");
  options.learning_rate = adversarial ? 2e-4 : 1e-3;
  Generator blank(0);  // its parameters are drawn at the first step, by the model's generator
  std::unique_ptr<GenerativeModel> model;
  if (adversarial) {
    model = std::make_unique<Gan>(options, &blank);
  } else {
    model = std::make_unique<Vae>(options, &blank);
  }
  return std::make_unique<GenerativeReplay>(parameters, environment, options, std::move(model));
}

std::vector<ParameterHelp> Parameters() {
  return {
      ChoiceParameter("generator", {"vae", "gan"})
          .Help("what draws: a variational autoencoder, or an adversarial net with a hinge loss"),
      ChoiceParameter("labels", {"hard", "distilled"})
          .Help("hard: the old model's best class; distilled: its softmax at the temperature"),
      IntegerParameter("replay_batch_size", 0)
          .AtMost(kReplayRowsMax)
          .Live()
          .Help("examples drawn a step; 0 = as many as there are stream rows"),
      NumberParameter("temperature", 2.0).Between(0.1, 100).Live().Help("of distilled labels, T"),
      NumberParameter("stream_share", 0.0)
          .AtMost(1)
          .Live()
          .Help("r, the stream's share of the loss; 0 = 1 / tasks so far, too little for very many "
                "tasks"),
      NumberParameter("generator_learning_rate", 0.0)
          .AtMost(1)
          .Live()
          .Help("of the generator's Adam; 0 = 1e-3 for vae, 2e-4 for gan"),
      IntegerParameter("generator_hidden", 400)
          .Between(1, 4096)
          .Help("units of each hidden layer of the generator"),
      IntegerParameter("latent", 100).Between(1, 1024).Help("noise an example"),
  };
}

}  // namespace

namespace builtin {

StrategyEntry GenerativeReplay() {
  StrategyEntry entry;
  entry.help.name = "generative_replay";
  entry.help.family = "generative";
  entry.help.paper = "Shin et al. 2017, NeurIPS; van de Ven & Tolias 2018, arXiv 1809.10635";
  entry.help.idea =
      "Learn to draw examples like the past ones, and replay drawn ones in place of stored ones.\n"
      "Both the model and the generator train on the stream and on what their frozen copies of\n"
      "the last boundary draw and label.";
  entry.help.memory = "generator: two networks of 2 hidden layers, 4 to 5 times; P floats";
  entry.help.time = "a step over batch_size + replay_batch_size rows, and one of the generator";
  entry.help.when =
      "No example may be kept; features in [0, 1] that a small generator can draw; clear tasks.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = Parameters();
  entry.make = Make;
  entry.test_parameters = {{"generator_hidden", int64_t{16}},
                           {"latent", int64_t{4}},
                           {"stream_share", 0.5},
                           {"generator_learning_rate", 0.01}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
