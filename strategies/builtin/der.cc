// Dark experience replay, DER and DER++ (Buzzega et al. 2020, "Dark experience for general
// continual learning: a strong, simple baseline", eq. 5 and 6): the memory keeps what the network
// answered when an example came, and replay pulls the answer back to it.
//   L = CE(y, f(x)) + alpha mean |z' - h(x')|^2 + beta CE(y'', f(x''))        (DER: beta = 0)
// (x, y) is the stream, z' the logits kept with x', and x' and x'' two independent draws from one
// reservoir. z are the logits of the step that learned the example, before its update: kept on the
// way, not recomputed at boundaries. As in the authors' code the distance is a mean over outputs
// where the paper writes a norm, so alpha carries over from there.
//
// An output that came after the example was kept has no answer to be compared with. Left alone it
// would win every old example, as nothing teaches it otherwise; in the paper's head of fixed width
// its answer was low, the class being unknown. So it is held at the lowest kept answer, from above
// only: z' = min(h, lowest z'). Where heads are per task, rows compare their task's outputs.
//
// With augmentation z' is the answer to the example as it came, and x' is a view of it that is not
// mixed with others: there is no answer for a mixture. The stream and x'' may be mixed.
//
// Memory: M (4 d + 4 units + 40) bytes. Time: the step over a batch two (DER++: three) times as
// long.
#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "storage/base/status_macros.h"
#include "strategies/core/cross_entropy.h"
#include "strategies/core/replay_memory.h"

namespace engram::strategies {
namespace {

// Of the outputs at insertion, the first so many are kept.
constexpr int64_t kLogitsMax = 10000;
constexpr double kWeightMax = 1000;

class Der final : public Strategy {
 public:
  Der(bool also_labels, const StrategyParameters& parameters, ReplayMemory memory)
      : also_labels_(also_labels), memory_(std::move(memory)) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return also_labels_ ? "der_plus_plus" : "der"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }
  int64_t ExtraRows(int64_t batch_size) const override { return 2 * ReplayRowsMax(batch_size); }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    const int64_t stream = batch.rows();
    ENGRAM_RETURN_IF_ERROR(memory_.Replay(context, &batch, &compared_));
    const int64_t compared_end = batch.rows();
    if (also_labels_) ENGRAM_RETURN_IF_ERROR(memory_.Replay(context, &batch, &labelled_));
    batch.SetShare(0, stream, 1);
    if (compared_end > stream) {
      batch.SetShare(stream, compared_end, 0);
      batch.KeepUnmixed(stream, compared_end);  // the answer to a mixture is not kept
      context.AddLossTerm([this, &context, stream](const TrainingBatch& rows,
                                                   const at::Tensor& logits,
                                                   const at::Tensor& gradient) {
        return CompareLogits(rows, context.units(), stream, logits, gradient);
      });
    }
    if (batch.rows() > compared_end) batch.SetShare(compared_end, batch.rows(), beta_);
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (!seen.skipped) memory_.OfferStream(batch, seen.logits);
    return seen;
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    memory_.Reconfigure(parameters);
    alpha_ = parameters.Number("alpha");
    if (also_labels_) beta_ = parameters.Number("beta");
  }

  void SaveState(StateWriter* writer) const override { memory_.SaveState(writer); }
  absl::Status LoadState(const StateReader& reader) override { return memory_.LoadState(reader); }
  std::vector<MemberKey> Members() const override { return memory_.Members(); }
  std::string Payload(int64_t index) const override { return memory_.Payload(index); }
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads) override {
    return memory_.RestoreMembers(payloads);
  }
  void AddGauges(LearnerGauges* gauges) const override { memory_.AddGauges(gauges); }

 private:
  // alpha times the mean of (h - z)^2 over the outputs that each drawn row sees, and over the rows.
  double CompareLogits(const TrainingBatch& batch, const UnitMap& units, int64_t first,
                       const at::Tensor& logits, const at::Tensor& gradient) const {
    const LossRows rows = batch.loss_rows();
    const int64_t width = logits.size(1);
    const float* answers = logits.data_ptr<float>() + first * width;
    float* slopes = gradient.data_ptr<float>() + first * width;
    double loss = 0;
    for (size_t i = 0; i < compared_.size(); ++i, answers += width, slopes += width) {
      const auto seen = SeenUnits(rows, first + static_cast<int64_t>(i), units);
      const int64_t count = seen.empty() ? width : static_cast<int64_t>(seen.size());
      const double scale = alpha_ / (static_cast<double>(count) * compared_.size());
      const auto unit_at = [&seen](int64_t k) { return seen.empty() ? k : seen[k]; };
      loss += scale * Compare(memory_.exemplars().Side(compared_[i]), count, unit_at, answers,
                              2 * scale, slopes);
    }
    return loss;
  }

  // The sum of squares of one row, whose slopes grow by `rate` times its differences.
  template <typename UnitAt>
  static double Compare(absl::Span<const float> kept, int64_t count, UnitAt unit_at,
                        const float* answers, double rate, float* slopes) {
    const int64_t known = static_cast<int64_t>(kept.size());
    float lowest = std::numeric_limits<float>::max();
    for (int64_t k = 0; k < count && unit_at(k) < known; ++k) {
      lowest = std::min(lowest, kept[unit_at(k)]);
    }
    double squares = 0;
    for (int64_t k = 0; k < count; ++k) {
      const int64_t unit = unit_at(k);
      const float target = unit < known ? kept[unit] : std::min(answers[unit], lowest);
      const float difference = answers[unit] - target;
      squares += static_cast<double>(difference) * difference;
      slopes[unit] += static_cast<float>(rate) * difference;
    }
    return squares;
  }

  const bool also_labels_;
  ReplayMemory memory_;
  double alpha_ = 0;
  double beta_ = 0;
  std::vector<int64_t> compared_;  // slots of x'
  std::vector<int64_t> labelled_;  // of x''
};

template <bool kAlsoLabels>
absl::StatusOr<std::unique_ptr<Strategy>> Make(const StrategyParameters& parameters,
                                               const StrategyEnvironment& environment) {
  ExemplarMemoryOptions options;
  options.side_values_max = kLogitsMax;
  ENGRAM_ASSIGN_OR_RETURN(ReplayMemory memory,
                          ReplayMemory::Make(parameters, environment, options));
  return std::make_unique<Der>(kAlsoLabels, parameters, std::move(memory));
}

// What the two entries share.
StrategyEntry Entry() {
  StrategyEntry entry;
  entry.help.family = "replay";
  entry.help.paper = "Buzzega et al. 2020, NeurIPS, arXiv 2004.07211";
  entry.help.memory = "M (4 d + 4 units + 40) bytes; 2 d or d with storage float16 or uint8";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = {MemorySizeParameter(), ReplayRowsParameter(), StorageParameter(),
                           NumberParameter("alpha", 0.5).AtMost(kWeightMax).Live().Help(
                               "of the mean squared distance to kept logits")};
  entry.keeps_exemplars = true;
  entry.test_parameters = {{"memory_size", int64_t{32}}};
  return entry;
}

}  // namespace

namespace builtin {

StrategyEntry Der() {
  StrategyEntry entry = Entry();
  entry.help.name = "der";
  entry.help.idea =
      "Keep with each exemplar the logits that the network gave when it came.\n"
      "Replay asks for these answers, not for labels: they say more than a label does.";
  entry.help.time = "a step over batch_size + replay_batch_size rows";
  entry.help.when = "Examples may be kept and their labels are noisy; else der_plus_plus.";
  entry.make = Make<false>;
  return entry;
}

StrategyEntry DerPlusPlus() {
  StrategyEntry entry = Entry();
  entry.help.name = "der_plus_plus";
  entry.help.idea =
      "Keep with each exemplar the logits that the network gave when it came.\n"
      "Replay asks for these answers on one draw and for the labels on another.";
  entry.help.time = "a step over batch_size + 2 replay_batch_size rows";
  entry.help.when = "Examples may be kept: the strongest replay for a small memory.";
  entry.help.parameters.push_back(
      NumberParameter("beta", 1.0).AtMost(kWeightMax).Live().Help(
          "of cross-entropy on the second draw"));
  entry.make = Make<true>;
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
