#include "strategies/core/importance_fisher.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "storage/base/check.h"
#include "strategies/core/cross_entropy.h"
#include "strategies/core/parameter_help.h"

namespace engram::strategies {
namespace {

// The rows of one chunk and what its backward passes are seeded with.
struct Chunk {
  int64_t rows = 0;
  absl::Span<const int64_t> targets;
  absl::Span<const int32_t> tasks;
  at::Tensor probabilities;  // [rows, units]
  at::Tensor seeds;          // [rows, units]
  std::vector<char> used;    // by row; not where the outputs are not finite

  float* probability_row(int64_t row) const {
    return probabilities.data_ptr<float>() + row * probabilities.size(1);
  }
};

// Marks the rows that have a finite distribution; returns how many.
int64_t MarkUsed(const VisibleUnits& visible, Chunk* chunk) {
  const int64_t units = chunk->probabilities.size(1);
  chunk->used.assign(chunk->rows, 0);
  int64_t count = 0;
  for (int64_t row = 0; row < chunk->rows; ++row) {
    const float* p = chunk->probability_row(row);
    if (visible.Of(chunk->tasks[row]).empty()) continue;
    if (!std::all_of(p, p + units, [](float x) { return std::isfinite(x); })) continue;
    chunk->used[row] = 1;
    ++count;
  }
  return count;
}

// scale * (e_unit - p), into the row's seed.
void SeedRow(const Chunk& chunk, int64_t row, int64_t unit, float scale) {
  const int64_t units = chunk.seeds.size(1);
  const float* p = chunk.probability_row(row);
  float* seed = chunk.seeds.data_ptr<float>() + row * units;
  for (int64_t u = 0; u < units; ++u) seed[u] = -scale * p[u];
  seed[unit] += scale;
}

// y ~ p among the row's visible units.
int64_t SampleUnit(const float* p, absl::Span<const int64_t> visible, float draw) {
  double cumulative = 0;
  for (const int64_t unit : visible) {
    cumulative += p[unit];
    if (draw < cumulative) return unit;
  }
  return visible.back();
}

void OnePass(FisherEstimator estimator, const Chunk& chunk, const VisibleUnits& visible,
             StepContext& context, ExampleSums* sums) {
  chunk.seeds.zero_();
  for (int64_t row = 0; row < chunk.rows; ++row) {
    // The draw is taken for unused rows too: one number an example, whatever it holds.
    const float draw = estimator == FisherEstimator::kSampled ? context.generator().Uniform() : 0;
    if (!chunk.used[row]) continue;
    const int64_t unit =
        estimator == FisherEstimator::kSampled
            ? SampleUnit(chunk.probability_row(row), visible.Of(chunk.tasks[row]), draw)
            : chunk.targets[row];
    SeedRow(chunk, row, unit, 1.0f);
  }
  context.network().Backward(chunk.seeds);
  sums->AddPass(context.network().traces());
}

// Pass k takes the k-th visible unit of every row.
void ExactPasses(const Chunk& chunk, const VisibleUnits& visible, StepContext& context,
                 ExampleSums* sums) {
  size_t passes = 0;
  for (int64_t row = 0; row < chunk.rows; ++row) {
    passes = std::max(passes, visible.Of(chunk.tasks[row]).size());
  }
  for (size_t pass = 0; pass < passes; ++pass) {
    chunk.seeds.zero_();
    for (int64_t row = 0; row < chunk.rows; ++row) {
      const absl::Span<const int64_t> units = visible.Of(chunk.tasks[row]);
      if (pass >= units.size() || !chunk.used[row]) continue;
      SeedRow(chunk, row, units[pass], std::sqrt(chunk.probability_row(row)[units[pass]]));
    }
    context.network().Backward(chunk.seeds);
    sums->AddPass(context.network().traces());
  }
}

}  // namespace

FisherEstimator ParseFisherEstimator(absl::string_view word) {
  if (word == "sampled") return FisherEstimator::kSampled;
  if (word == "empirical") return FisherEstimator::kEmpirical;
  ENGRAM_CHECK(word == "exact");
  return FisherEstimator::kExact;
}

std::string FisherEstimatorName(FisherEstimator estimator) {
  switch (estimator) {
    case FisherEstimator::kSampled:
      return "sampled";
    case FisherEstimator::kEmpirical:
      return "empirical";
    case FisherEstimator::kExact:
      break;
  }
  return "exact";
}

std::vector<ParameterHelp> FisherParameters() {
  return {ChoiceParameter("fisher", {"exact", "sampled", "empirical"})
              .Help("labels at which squared gradients are taken: every class, one drawn, its own"),
          IntegerParameter("fisher_examples", 2000)
              .Between(1, 100000)
              .Help("examples of the ended task that the Fisher averages")};
}

std::string FisherLabelMode(FisherEstimator estimator) {
  switch (estimator) {
    case FisherEstimator::kSampled:
      return "one label an example, drawn from the model's distribution";
    case FisherEstimator::kEmpirical:
      return "the example's own label";
    case FisherEstimator::kExact:
      break;
  }
  return "every class, weighted by the model's probability";
}

int64_t EstimateFisher(FisherEstimator estimator, const ConsolidationSet& examples,
                       StepContext& context, const at::Tensor& importance, int64_t chunk_rows) {
  ENGRAM_CHECK(chunk_rows > 0);
  const VisibleUnits visible(context.units());
  ExampleSums sums(ExampleSums::Magnitude::kSquare, context.arena(), context.network().traces());
  int64_t averaged = 0;
  for (int64_t begin = 0; begin < examples.rows(); begin += chunk_rows) {
    Chunk chunk;
    chunk.rows = std::min(chunk_rows, examples.rows() - begin);
    chunk.targets = examples.targets.subspan(begin, chunk.rows);
    chunk.tasks = examples.tasks.subspan(begin, chunk.rows);
    const at::Tensor& logits =
        context.network().Forward(examples.features.narrow(0, begin, chunk.rows));
    chunk.probabilities = at::empty_like(logits);
    chunk.seeds = at::empty_like(logits);
    Softmax(logits, chunk.tasks, context.units(), chunk.probabilities);
    const int64_t used = MarkUsed(visible, &chunk);
    averaged += used;
    sums.StartChunk();
    if (estimator == FisherEstimator::kExact) {
      ExactPasses(chunk, visible, context, &sums);
    } else {
      OnePass(estimator, chunk, visible, context, &sums);
    }
    sums.FinishChunk(context.network().traces(), used == chunk.rows);
  }
  sums.WriteMean(averaged, importance);
  return averaged;
}

}  // namespace engram::strategies
