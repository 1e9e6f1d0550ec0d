// Feature extraction (as in Donahue et al. 2014, DeCAF): the layers below the head stay as they
// are, pretrained or drawn, and the head alone learns. No pass backward goes below it.
//
// What the head sees of a row never changes, so it is kept for rows that come again: those of a
// memory that others replay, and every pass of gdumb over its own. The stream's rows come once and
// gain nothing. List it before gdumb, which passes no step on.
//
// Memory: cached_rows embeddings of 4 w + 40 bytes, as they come. Time: below 1x, the forward pass
// of new rows and the head's part of both passes.
#include <memory>

#include "strategies/core/embedding_cache.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

class FeatureExtraction final : public Strategy {
 public:
  FeatureExtraction(const StrategyParameters& parameters, const StrategyEnvironment& environment)
      : caches_(parameters.Integer("cached_rows") > 0),
        cache_(environment.network, parameters.Integer("cached_rows")) {}

  absl::string_view Name() const override { return "feature_extraction"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    if (caches_) context.set_embedding_cache(&cache_);
    return next(batch, context);
  }

  void AddGauges(LearnerGauges* gauges) const override {
    if (!caches_) return;
    gauges->named["embedding_lookups"] = static_cast<double>(cache_.lookups());
    gauges->named["embedding_hits"] = static_cast<double>(cache_.hits());
  }

 private:
  bool caches_;
  EmbeddingCache cache_;
};

}  // namespace

namespace builtin {

StrategyEntry FeatureExtraction() {
  StrategyEntry entry;
  entry.help.name = "feature_extraction";
  entry.help.family = "transfer";
  entry.help.paper = "Donahue et al. 2014, DeCAF, ICML";
  entry.help.idea = "The layers below the head stay as they are; the head alone learns.";
  entry.help.memory = "cached_rows (4 w + 40) bytes, w = width of what the head sees";
  entry.help.time =
      "below 1x: no pass backward below the head, and none forward for exemplars seen before";
  entry.help.when =
      "The network below the head is pretrained. The head still forgets: combine it with replay.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = {IntegerParameter("cached_rows", 10000).AtMost(1e6).Help(
      "exemplars whose embeddings are kept at most; 0: none")};
  entry.freezes_backbone = true;
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    if (!environment.network->FreezeBelowHead()) {
      return absl::InvalidArgumentError(
          "feature_extraction: this network cannot be frozen below its head");
    }
    return std::make_unique<strategies::FeatureExtraction>(parameters, environment);
  };
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
