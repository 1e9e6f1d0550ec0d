// GDumb (Prabhu et al. 2020, "GDumb: a simple approach that questions our progress in continual
// learning"): the stream only fills a greedy, class-balanced memory. At a boundary the network is
// drawn anew and trained on the memory alone: `passes` over it, with a learning rate of its own,
//   lr(p) = lr_min + (lr_max - lr_min) / 2 (1 + cos(pi p / passes)),
// gradients clipped at norm `clip`, and exemplars shifted at random within `crop_padding` pixels,
// before what the model's augmentation does to every row that is trained.
// Between boundaries the network of the last one is served and nothing is trained; batches are
// still measured and guarded, so that what would break a step enters no memory. A boundary before
// which nothing was learned changes nothing.
//
// It says how much of a model's accuracy its memory alone is worth: a live model below it would be
// better off retrained.
//
// Memory: M exemplars of 4 d + 36 bytes. Time: half a step a batch; passes * M / train_batch_size
// steps at a boundary, during which the stream waits.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/image_transforms.h"
#include "strategies/core/replay_memory.h"

namespace engram::strategies {
namespace {

constexpr double kPi = 3.14159265358979323846;
constexpr int64_t kTrainBatchMax = 1024;

// The side of a square image of so many pixels; 0 when there is none.
int64_t ImageSide(int64_t feature_count) {
  const int64_t side = std::llround(std::sqrt(static_cast<double>(feature_count)));
  return side * side == feature_count ? side : 0;
}

class Gdumb final : public Strategy {
 public:
  Gdumb(const StrategyParameters& parameters, const StrategyEnvironment& environment,
        ReplayMemory memory)
      : memory_(std::move(memory)),
        passes_(parameters.Integer("passes")),
        batch_rows_(parameters.Integer("train_batch_size")),
        padding_(parameters.Integer("crop_padding")),
        side_(ImageSide(environment.feature_count)),
        batch_(environment.feature_count, batch_rows_),
        shifted_(static_cast<size_t>(environment.feature_count)) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "gdumb"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next /*next*/) override {
    const at::Tensor& logits = context.Forward(batch);
    Observation seen;
    seen.logits = context.KeepLogits(logits, batch.stream_rows());
    seen.loss = context.LossAndBackward(batch, logits);
    const absl::optional<std::string> reason = context.Guard(seen.loss);
    seen.skipped = reason.has_value();
    seen.skip_reason = reason.value_or("");
    if (seen.skipped) return seen;
    memory_.OfferStream(batch);
    offered_ += batch.stream_rows();
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary& /*boundary*/, const ConsolidationSet& /*examples*/,
                           StepContext& context, BoundaryReport* /*report*/) override {
    if (std::exchange(offered_, 0) == 0) return absl::OkStatus();
    context.network().Reinitialise(&context.generator());
    context.optimizer().Reset();
    if (clip_ > 0) context.AddTransform([this](const at::Tensor& gradient) { Clip(gradient); });
    const OptimizerOptions live = context.optimizer().options();
    OptimizerOptions own = live;
    absl::Status status;
    for (int64_t pass = 0; status.ok() && pass < passes_; ++pass) {
      own.learning_rate = LearningRate(pass);
      context.optimizer().Reconfigure(own);
      status = TrainPass(context);
    }
    context.optimizer().Reconfigure(live);
    return status;
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    lr_max_ = parameters.Number("lr_max");
    lr_min_ = parameters.Number("lr_min");
    clip_ = parameters.Number("clip");
  }

  void SaveState(StateWriter* writer) const override {
    memory_.SaveState(writer);
    writer->PutInteger("offered", offered_);
  }
  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_ASSIGN_OR_RETURN(offered_, reader.GetInteger("offered"));
    return memory_.LoadState(reader);
  }
  std::vector<MemberKey> Members() const override { return memory_.Members(); }
  std::string Payload(int64_t index) const override { return memory_.Payload(index); }
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads) override {
    return memory_.RestoreMembers(payloads);
  }
  void AddGauges(LearnerGauges* gauges) const override { memory_.AddGauges(gauges); }

 private:
  double LearningRate(int64_t pass) const {
    const double part = static_cast<double>(pass) / static_cast<double>(passes_);
    return lr_min_ + (lr_max_ - lr_min_) / 2 * (1 + std::cos(kPi * part));
  }

  void Clip(const at::Tensor& gradient) const {
    const double norm = gradient.norm().item<double>();
    if (norm > clip_) gradient.mul_(clip_ / norm);
  }

  // Once over the memory in random order; a batch that the guard refuses is left out.
  absl::Status TrainPass(StepContext& context) {
    std::vector<int64_t> order(static_cast<size_t>(memory_.exemplars().size()));
    std::iota(order.begin(), order.end(), int64_t{0});
    for (size_t left = order.size(); left > 1; --left) {
      std::swap(order[left - 1], order[context.generator().Below(left)]);
    }
    const size_t rows = static_cast<size_t>(batch_rows_);
    for (size_t begin = 0; begin < order.size(); begin += rows) {
      batch_.Clear(context.units());
      for (size_t i = begin; i < std::min(begin + rows, order.size()); ++i) {
        ENGRAM_RETURN_IF_ERROR(Append(order[i], context));
      }
      ENGRAM_RETURN_IF_ERROR(context.PlainStep(batch_).status());
    }
    return absl::OkStatus();
  }

  absl::Status Append(int64_t slot, StepContext& context) {
    const ExemplarView exemplar = memory_.exemplars().At(slot);
    const float* features = exemplar.features.data();
    if (padding_ > 0) {
      const auto offset = [this, &context] {
        return static_cast<int64_t>(context.generator().Below(2 * padding_ + 1)) - padding_;
      };
      PixelMove move;
      move.down = offset();
      move.right = offset();
      MovePixels(features, {side_, side_}, move, shifted_.data());
      features = shifted_.data();
    }
    return batch_.AppendRow(features, exemplar.class_index, exemplar.task, exemplar.sequence);
  }

  ReplayMemory memory_;
  const int64_t passes_;
  const int64_t batch_rows_;
  const int64_t padding_;
  const int64_t side_;
  double lr_max_ = 0;
  double lr_min_ = 0;
  double clip_ = 0;
  int64_t offered_ = 0;  // examples learned since the last boundary
  TrainingBatch batch_;
  std::vector<float> shifted_;
};

// Cropping needs to know where pixels lie.
absl::Status Check(const StrategyParameters& parameters, const ModelOptions& options) {
  if (parameters.Integer("crop_padding") == 0 || ImageSide(options.feature_count) > 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("gdumb.crop_padding: features must be a square image, got ",
                   options.feature_count, " of them"));
}

absl::StatusOr<std::unique_ptr<Strategy>> Make(const StrategyParameters& parameters,
                                               const StrategyEnvironment& environment) {
  ExemplarMemoryOptions options;
  options.policy = AdmissionPolicy::kClassBalanced;
  ENGRAM_ASSIGN_OR_RETURN(ReplayMemory memory,
                          ReplayMemory::Make(parameters, environment, options));
  return std::make_unique<Gdumb>(parameters, environment, std::move(memory));
}

std::vector<ParameterHelp> Parameters() {
  return {
      MemorySizeParameter(),
      StorageParameter(),
      IntegerParameter("passes", 128).Between(1, 10000).Help("over the memory at each boundary"),
      IntegerParameter("train_batch_size", 16)
          .Between(1, kTrainBatchMax)
          .Help("exemplars a step there"),
      NumberParameter("lr_max", 0.05)
          .AtMost(1)
          .Live()
          .Help("learning rate of the first pass there"),
      NumberParameter("lr_min", 0.0005)
          .AtMost(1)
          .Live()
          .Help("learning rate that the last pass comes near"),
      NumberParameter("clip", 10.0).AtMost(1e6).Live().Help(
          "largest norm of a gradient; 0: no limit"),
      IntegerParameter("crop_padding", 0)
          .AtMost(16)
          .Help("each exemplar is padded by so many zero pixels and cropped back at random, before "
                "the model's augmentation; features must be a square image"),
  };
}

}  // namespace

namespace builtin {

StrategyEntry Gdumb() {
  StrategyEntry entry;
  entry.help.name = "gdumb";
  entry.help.family = "replay";
  entry.help.paper = "Prabhu et al. 2020, ECCV";
  entry.help.idea =
      "Keep a class-balanced memory, learn nothing from the stream itself, and at each boundary\n"
      "train a new network on the memory alone.";
  entry.help.memory = "M (4 d + 36) bytes; 2 d or d with storage float16 or uint8";
  entry.help.time =
      "less than a step a batch; passes M / train_batch_size steps at each boundary";
  entry.help.when =
      "As a measure of what the memory is worth, or where tasks are few and long apart.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = Parameters();
  entry.keeps_exemplars = true;
  entry.draws_anew = true;
  entry.make = Make;
  entry.check = Check;
  entry.test_parameters = {{"memory_size", int64_t{36}},
                           {"passes", int64_t{150}},
                           {"train_batch_size", int64_t{8}},
                           {"lr_max", 0.2}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
