#include "strategies/core/nearest_mean.h"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <utility>

#include "strategies/core/linear_scores.h"

namespace engram::strategies {
namespace {

// Exemplars embedded at a time.
constexpr int64_t kChunkRows = 256;

void NormaliseRow(float* row, int64_t width) {
  double sum = 0;
  for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(row[i]) * row[i];
  if (sum == 0) return;
  const double scale = 1 / std::sqrt(sum);
  for (int64_t i = 0; i < width; ++i) row[i] = static_cast<float>(row[i] * scale);
}

struct UnitExemplars {
  int64_t unit = 0;
  std::vector<HerdedExemplar> exemplars;
};

class NearestMeanPass final : public ForwardPass {
 public:
  NearestMeanPass(const ForwardPass& inner, std::vector<UnitExemplars> exemplars,
                  int64_t feature_count, int64_t units)
      : inner_(inner),
        exemplars_(std::move(exemplars)),
        feature_count_(feature_count),
        units_(units) {}

  void Run(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
           ForwardScratch* scratch, float* logits) const override {
    std::call_once(solved_, [this] { prototypes_ = ComputePrototypes(); });
    std::vector<float> embeddings(static_cast<size_t>(rows * embedding_width()));
    Embed(features, rows, tasks, scratch, embeddings.data());
    for (int64_t row = 0; row < rows; ++row) {
      NormaliseRow(embeddings.data() + row * embedding_width(), embedding_width());
    }
    prototypes_->Run(embeddings.data(), rows, units_, logits);
  }

  int64_t embedding_width() const override { return inner_.embedding_width(); }
  void Embed(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
             ForwardScratch* scratch, float* embeddings) const override {
    inner_.Embed(features, rows, tasks, scratch, embeddings);
  }

  absl::optional<NetworkProgram::Value> Describe(int32_t task, const std::vector<int64_t>& units,
                                                 NetworkProgram* program) const override {
    std::call_once(solved_, [this] { prototypes_ = ComputePrototypes(); });
    const auto embeddings = DescribeEmbedding(task, program);
    if (!embeddings.has_value()) return absl::nullopt;
    return prototypes_->Describe(program->UnitLength(*embeddings), units, program);
  }
  absl::optional<NetworkProgram::Value> DescribeEmbedding(int32_t task,
                                                          NetworkProgram* program) const override {
    return inner_.DescribeEmbedding(task, program);
  }

 private:
  // -|| phi - mu ||^2 = 2 mu phi - |mu|^2 - |phi|^2; both have length 1 or 0.
  std::unique_ptr<const LinearScores> ComputePrototypes() const {
    const int64_t width = embedding_width();
    const at::Tensor weights = at::zeros({units_, width}, at::kFloat);
    std::vector<bool> known(static_cast<size_t>(units_));
    for (const UnitExemplars& unit : exemplars_) {
      const std::vector<float> embeddings =
          NormalisedEmbeddings(inner_, unit.exemplars, feature_count_);
      float* prototype = weights.data_ptr<float>() + unit.unit * width;
      for (size_t i = 0; i < embeddings.size(); ++i) {
        prototype[i % static_cast<size_t>(width)] += embeddings[i];
      }
      NormaliseRow(prototype, width);
      known[static_cast<size_t>(unit.unit)] = true;
    }
    const at::Tensor bias = weights.square().sum(1).neg().sub_(1);
    return std::make_unique<const LinearScores>(weights * 2, bias, std::move(known));
  }

  const ForwardPass& inner_;
  std::vector<UnitExemplars> exemplars_;
  int64_t feature_count_;
  int64_t units_;
  mutable std::once_flag solved_;
  mutable std::unique_ptr<const LinearScores> prototypes_;
};

}  // namespace

std::vector<float> NormalisedEmbeddings(const ForwardPass& pass,
                                        absl::Span<const HerdedExemplar> exemplars,
                                        int64_t feature_count) {
  const int64_t rows = static_cast<int64_t>(exemplars.size()), width = pass.embedding_width();
  std::vector<float> embeddings(static_cast<size_t>(rows * width));
  std::vector<float> features(static_cast<size_t>(std::min(rows, kChunkRows) * feature_count));
  std::vector<int32_t> tasks;
  ForwardScratch scratch;
  for (int64_t begin = 0; begin < rows; begin += kChunkRows) {
    const int64_t count = std::min(kChunkRows, rows - begin);
    tasks.clear();
    for (int64_t i = 0; i < count; ++i) {
      const HerdedExemplar& exemplar = exemplars[static_cast<size_t>(begin + i)];
      std::copy_n(exemplar.features.get(), feature_count, features.data() + i * feature_count);
      tasks.push_back(exemplar.task);
    }
    pass.Embed(features.data(), count, tasks, &scratch, embeddings.data() + begin * width);
  }
  for (int64_t row = 0; row < rows; ++row) NormaliseRow(embeddings.data() + row * width, width);
  return embeddings;
}

std::unique_ptr<const ForwardPass> MakeNearestMean(const ForwardPass& inner,
                                                   const HerdedMemory& memory,
                                                   const UnitMap& units) {
  std::vector<UnitExemplars> exemplars;
  for (const HerdedMemory::Group& group : memory.groups()) {
    if (group.exemplars.empty()) continue;
    exemplars.push_back({units.Find(group.task, group.class_index), group.exemplars});
  }
  if (exemplars.empty()) return nullptr;
  return std::make_unique<NearestMeanPass>(inner, std::move(exemplars),
                                           memory.options().feature_count, units.size());
}

}  // namespace engram::strategies
