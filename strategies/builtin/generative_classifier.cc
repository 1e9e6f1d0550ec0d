// A generative classifier (van de Ven, Li & Tolias 2021, "Class-incremental learning with
// generative classifiers", CVPR workshops): a small VAE a class, trained on that class alone, and
// the class under which an example is likeliest.
//   y = argmax_y log p(x|y) + log p(y), p(y) uniform;  log p(x|y) by importance sampling
// Nothing is shared between classes, so nothing is forgotten, whatever the order. Where heads are
// per task, a class has a VAE for each task.
//
// The model's own network is neither trained nor asked, and strategies further in see no step: list
// it last. Features live in [0, 1]: values outside are clamped. Logits are estimates of log p(x|y)
// in nats; a class without an example yet has the lowest.
//
// Memory: a VAE a class, with gradient and two moments. Time: a step of the VAE of each class in
// the batch, and every VAE's look at every row for the test-then-train measurement, at the
// posterior's mean alone.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/kernels.h"
#include "strategies/core/registry.h"
#include "strategies/models/vae.h"

namespace engram::strategies {
namespace {

constexpr float kNeverSeen = -1e30f;

// The log-likelihood of every row under every class, [rows, classes]; null: a class never seen.
using ClassPasses = std::vector<const VaePass*>;
void ScoreClasses(const ClassPasses& classes, const at::Tensor& features, const at::Tensor& noise,
                  ForwardScratch* scratch, float* scores) {
  const int64_t rows = features.size(0), width = static_cast<int64_t>(classes.size());
  std::fill(scores, scores + rows * width, kNeverSeen);
  for (int64_t unit = 0; unit < width; ++unit) {
    if (classes[unit] != nullptr) {
      classes[unit]->Score(features, noise, scratch, scores + unit, width);
    }
  }
}

// The draws that all rows and classes share, so that they differ by the classes alone: a constant.
// One is the posterior's mean.
at::Tensor SharedNoise(int64_t samples, int64_t latent) {
  const at::Tensor noise = at::zeros({samples, latent}, at::kFloat);
  if (samples > 1) Generator(0).FillNormal(noise.data_ptr<float>(), noise.numel());
  return noise;
}

class LikelihoodPass final : public ForwardPass {
 public:
  LikelihoodPass(const ForwardPass* inner, std::vector<std::shared_ptr<const VaePass>> owned,
                 int64_t feature_count, at::Tensor noise)
      : inner_(inner),
        owned_(std::move(owned)),
        feature_count_(feature_count),
        noise_(std::move(noise)) {
    for (const auto& pass : owned_) classes_.push_back(pass.get());
  }

  void Run(const float* features, int64_t rows, absl::Span<const int32_t> /*tasks*/,
           ForwardScratch* scratch, float* logits) const override {
    const at::Tensor given =
        at::from_blob(const_cast<float*>(features), {rows, feature_count_}, at::kFloat);
    ScoreClasses(classes_, given.clamp(0, 1), noise_, scratch, logits);
  }
  int64_t embedding_width() const override { return inner_->embedding_width(); }
  void Embed(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
             ForwardScratch* scratch, float* embeddings) const override {
    inner_->Embed(features, rows, tasks, scratch, embeddings);
  }

 private:
  const ForwardPass* inner_;
  std::vector<std::shared_ptr<const VaePass>> owned_;  // by unit
  ClassPasses classes_;
  int64_t feature_count_;
  at::Tensor noise_;
};

class GenerativeClassifier final : public Strategy {
 public:
  GenerativeClassifier(const StrategyParameters& parameters, const StrategyEnvironment& environment)
      : units_(environment.units), inputs_(environment.feature_count) {
    options_.feature_count = environment.feature_count;
    options_.hidden = parameters.Integer("class_hidden");
    options_.latent = parameters.Integer("latent");
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "generative_classifier"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context, Next) override {
    Observation seen;
    GatherByClass(batch);
    seen.logits = ScoreStream(batch);
    const at::Tensor features = batch.features();
    if (!std::isfinite(ActiveKernels().largest_magnitude(features.data_ptr<float>(),
                                                         features.numel()))) {
      seen.skipped = true;
      seen.skip_reason = "features are not finite";
      return seen;
    }
    seen.loss = BackwardByClass(batch, &context.generator());
    seen.skipped = !IsSound(seen.loss);
    if (seen.skipped) {
      seen.skip_reason = absl::StrCat("loss ", seen.loss, " is not finite or too large");
    } else {
      Update();
    }
    return seen;
  }

  std::unique_ptr<const ForwardPass> Serve(const ForwardPass& inner) const override {
    served_.resize(static_cast<size_t>(units_->size()));
    for (size_t unit = 0; unit < vaes_.size(); ++unit) {
      // Only the classes that learned since the last publication are copied anew.
      if (vaes_[unit] != nullptr && served_[unit] == nullptr) served_[unit] = vaes_[unit]->Copy();
    }
    return std::make_unique<LikelihoodPass>(&inner, served_, options_.feature_count, noise_);
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    noise_ = SharedNoise(parameters.Integer("samples"), options_.latent);
    options_.learning_rate = parameters.Number("class_learning_rate");
    for (const auto& vae : vaes_) {
      if (vae != nullptr) vae->SetLearningRate(options_.learning_rate);
    }
  }

  void SaveState(StateWriter* writer) const override {
    std::vector<int64_t> known;
    for (size_t unit = 0; unit < vaes_.size(); ++unit) {
      if (vaes_[unit] == nullptr) continue;
      known.push_back(static_cast<int64_t>(unit));
      StateWriter scoped = writer->Scoped(absl::StrCat("unit", unit, "/"));
      vaes_[unit]->SaveState(&scoped);
    }
    writer->PutInts("known", known);
  }
  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> known, reader.GetInts("known"));
    vaes_.clear();
    vaes_.resize(static_cast<size_t>(units_->size()));
    Generator blank(0);  // what it draws is overwritten
    for (const int64_t unit : known) {
      if (unit < 0 || unit >= units_->size()) {
        return absl::DataLossError(
            absl::StrCat("known: unit ", unit, " of ", units_->size(), " outputs"));
      }
      vaes_[unit] = std::make_unique<Vae>(options_, &blank);
      ENGRAM_RETURN_IF_ERROR(
          vaes_[unit]->LoadState(reader.Scoped(absl::StrCat("unit", unit, "/"))));
    }
    return absl::OkStatus();
  }

  void AddGauges(LearnerGauges* gauges) const override {
    int64_t parameters = 0;
    for (const auto& vae : vaes_) {
      if (vae == nullptr) continue;
      parameters += vae->encoder().arena().parameter_count();
      parameters += vae->decoder().arena().parameter_count();
    }
    gauges->named["class_model_parameters"] = static_cast<double>(parameters);
  }

 private:
  // Rows of one class, neighbours in inputs_.
  struct ClassRows {
    int64_t unit = 0;
    int64_t begin = 0;
    int64_t count = 0;
  };

  // Copies the rows into inputs_, class by class and clamped.
  void GatherByClass(const TrainingBatch& batch) {
    order_.resize(static_cast<size_t>(batch.rows()));
    std::iota(order_.begin(), order_.end(), 0);
    const absl::Span<const int64_t> targets = batch.targets();
    std::stable_sort(order_.begin(), order_.end(),
                     [targets](int64_t a, int64_t b) { return targets[a] < targets[b]; });
    at::Tensor inputs = inputs_.Rows(batch.rows());
    float* into = inputs.data_ptr<float>();
    present_.clear();
    coefficients_.clear();
    for (const int64_t row : order_) {
      if (present_.empty() || present_.back().unit != targets[row]) {
        present_.push_back({targets[row], static_cast<int64_t>(coefficients_.size()), 0});
      }
      ++present_.back().count;
      coefficients_.push_back(batch.weights()[row]);
      into = std::copy(batch.row(row), batch.row(row) + batch.feature_count(), into);
    }
    at::clamp_out(inputs, inputs, 0, 1);
    for (const ClassRows& rows : present_) {
      for (int64_t i = 0; i < rows.count; ++i) {
        coefficients_[rows.begin + i] /= static_cast<float>(rows.count);
      }
    }
  }

  // [stream rows, units], before the update.
  at::Tensor ScoreStream(const TrainingBatch& batch) {
    ClassPasses classes(static_cast<size_t>(units_->size()), nullptr);
    for (size_t unit = 0; unit < vaes_.size(); ++unit) {
      if (vaes_[unit] != nullptr) classes[unit] = &vaes_[unit]->live();
    }
    const at::Tensor logits = at::empty({batch.stream_rows(), units_->size()}, at::kFloat);
    ScoreClasses(classes, batch.features().narrow(0, 0, batch.stream_rows()).clamp(0, 1),
                 at::zeros({1, options_.latent}, at::kFloat), &scratch_, logits.data_ptr<float>());
    return logits;
  }

  // The mean over rows; gradients of every class of the batch, no parameter written.
  double BackwardByClass(const TrainingBatch& batch, Generator* generator) {
    vaes_.resize(static_cast<size_t>(units_->size()));
    double sum = 0;
    for (const ClassRows& rows : present_) {
      std::unique_ptr<Vae>& vae = vaes_[rows.unit];
      if (vae == nullptr) vae = std::make_unique<Vae>(options_, generator);
      const double loss = vae->Backward(
          inputs_.Rows(batch.rows()).narrow(0, rows.begin, rows.count),
          absl::MakeConstSpan(coefficients_).subspan(rows.begin, rows.count), generator);
      sum += loss * static_cast<double>(rows.count);
    }
    return sum / static_cast<double>(batch.rows());
  }

  void Update() {
    served_.resize(vaes_.size());
    for (const ClassRows& rows : present_) {
      vaes_[rows.unit]->Update();
      served_[rows.unit] = nullptr;
    }
  }

  const UnitMap* units_;
  GenerativeModelOptions options_;
  std::vector<std::unique_ptr<Vae>> vaes_;  // by unit; null: no example yet
  mutable std::vector<std::shared_ptr<const VaePass>> served_;  // null: not copied since it learned
  at::Tensor noise_;
  RowBuffer inputs_;
  std::vector<int64_t> order_;
  std::vector<ClassRows> present_;
  std::vector<float> coefficients_;
  ForwardScratch scratch_;
};

}  // namespace

namespace builtin {

StrategyEntry GenerativeClassifier() {
  StrategyEntry entry;
  entry.help.name = "generative_classifier";
  entry.help.family = "generative";
  entry.help.paper = "van de Ven, Li & Tolias 2021, CVPR workshops; Burda et al. 2016";
  entry.help.idea =
      "Learn to draw each class by itself, and answer with the class that makes an example\n"
      "likeliest. Classes share nothing, so a new one cannot hurt an old one.";
  entry.help.memory = "a VAE of 2 hidden layers a class, 4 times";
  entry.help.time = "a step of small VAEs; a prediction asks every class, `samples` times";
  entry.help.when =
      "Classes arrive in any order, none may be forgotten and no example may be kept; features in\n"
      "[0, 1]. Alone or innermost: the model's own network is not used.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = {
      IntegerParameter("class_hidden", 85)
          .Between(1, 4096)
          .Help("units of each hidden layer of a class' VAE"),
      IntegerParameter("latent", 5)
          .Between(1, 1024)
          .Help("numbers that a class' VAE makes an example of"),
      NumberParameter("class_learning_rate", 1e-3)
          .Between(1e-8, 1)
          .Live()
          .Help("of the VAEs' Adam"),
      IntegerParameter("samples", 10)
          .Between(1, 1000)
          .Live()
          .Help("draws of a prediction's estimate; 1 = the posterior's mean alone"),
  };
  entry.own_update = true;
  entry.augmentation = AugmentationSupport::kNone;
  entry.make = [](const StrategyParameters& parameters, const StrategyEnvironment& environment)
      -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::GenerativeClassifier>(parameters, environment);
  };
  entry.test_parameters = {{"class_hidden", int64_t{8}},
                           {"latent", int64_t{3}},
                           {"class_learning_rate", 0.02},
                           {"samples", int64_t{4}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
