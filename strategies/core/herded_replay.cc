#include "strategies/core/herded_replay.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/nearest_mean.h"
#include "strategies/memory/herding.h"

namespace engram::strategies {
namespace {

constexpr int64_t kReplayRowsMax = 1024;

// `count` distinct numbers below `size` (Floyd; Bentley 1987), in the order drawn.
std::vector<int64_t> DrawDistinct(int64_t count, int64_t size, Generator* generator) {
  std::vector<int64_t> drawn;
  absl::flat_hash_set<int64_t> seen;
  for (int64_t limit = size - count; limit < size; ++limit) {
    int64_t number = static_cast<int64_t>(generator->Below(static_cast<uint64_t>(limit + 1)));
    if (!seen.insert(number).second) number = limit;
    seen.insert(number);
    drawn.push_back(number);
  }
  return drawn;
}

OwnerLimits SenderLimits(const HerdedMemory& memory, int64_t group,
                         absl::Span<const HerdedExemplar> candidates) {
  OwnerLimits owners;
  absl::flat_hash_map<uint64_t, size_t> owner_of_sender;
  for (const HerdedExemplar& candidate : candidates) {
    const auto [entry, is_new] =
        owner_of_sender.try_emplace(candidate.sender, owners.limits.size());
    if (is_new) owners.limits.push_back(memory.SenderQuota(candidate.sender, group));
    owners.owner_of_row.push_back(entry->second);
  }
  return owners;
}

}  // namespace

absl::StatusOr<HerdedReplay> HerdedReplay::Make(const StrategyParameters& parameters,
                                                const StrategyEnvironment& environment) {
  HerdedMemoryOptions options;
  options.capacity = parameters.Integer("memory_size");
  options.per_group = parameters.Integer("per_class");
  options.feature_count = environment.feature_count;
  options.by_task = environment.units->per_task();
  options.seed = environment.seed;
  options.memory = environment.memory;
  options.max_sender_share = environment.max_sender_share;
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<HerdedMemory> memory, HerdedMemory::Create(options));
  HerdedReplay replay(std::move(memory), environment.units, parameters.Integer("candidates"));
  replay.Reconfigure(parameters);
  return replay;
}

std::vector<ParameterHelp> HerdedReplay::Parameters() {
  return {
      IntegerParameter("memory_size", 2000).Between(1, 1e7).Help("exemplars kept, K"),
      IntegerParameter("per_class", 0)
          .AtMost(1e7)
          .Help("most exemplars of one class; 0 = K / classes seen"),
      IntegerParameter("candidates", 2000)
          .Between(1, 1e6)
          .Help("examples of a task that exemplars are chosen from at its end"),
      IntegerParameter("replay_batch_size", 0)
          .AtMost(static_cast<double>(kReplayRowsMax))
          .Live()
          .Help("exemplars a step; 0 = as many as there are stream rows"),
  };
}

int64_t HerdedReplay::ExtraRows(int64_t batch_size) const {
  return std::max(batch_size, kReplayRowsMax);  // replay_batch_size may change live
}

void HerdedReplay::Reconfigure(const StrategyParameters& parameters) {
  replay_rows_ = parameters.Integer("replay_batch_size");
}

absl::Status HerdedReplay::Append(TrainingBatch& batch, StepContext& context) {
  const int64_t size = memory_->size();
  const int64_t wanted = std::min(replay_rows_ > 0 ? replay_rows_ : batch.stream_rows(), size);
  for (const int64_t index : DrawDistinct(wanted, size, &context.generator())) {
    const HerdedExemplar& exemplar = memory_->At(index);
    ENGRAM_RETURN_IF_ERROR(batch.AppendRow(exemplar.features.get(), exemplar.class_index,
                                           exemplar.task, exemplar.sequence));
  }
  return absl::OkStatus();
}

void HerdedReplay::Remember(const TrainingBatch& batch) {
  for (int64_t row = 0; row < batch.stream_rows(); ++row) {
    memory_->Offer(batch.Example(row));
  }
}

void HerdedReplay::Herd(const ConsolidationSet& examples, StepContext& context) {
  std::vector<std::vector<HerdedExemplar>> candidates(memory_->groups().size());
  absl::flat_hash_set<uint64_t> known;
  for (const MemberKey& member : memory_->Members()) known.insert(member.sequence);
  for (int64_t row = 0; row < examples.rows(); ++row) {
    const ExemplarView example = ExampleOf(examples, row);
    const int64_t group = memory_->Find(example.task, example.class_index);
    if (group < 0) continue;
    std::vector<HerdedExemplar>& own = candidates[static_cast<size_t>(group)];
    if (own.empty()) own = memory_->groups()[static_cast<size_t>(group)].exemplars;
    if (!known.contains(example.sequence)) own.push_back(memory_->Copy(example));
  }
  const auto pass = context.network().Bind(context.arena().flat());
  for (size_t group = 0; group < candidates.size(); ++group) {
    if (candidates[group].empty()) continue;
    const std::vector<float> embeddings =
        NormalisedEmbeddings(*pass, candidates[group], memory_->options().feature_count);
    const int64_t quota = memory_->Quota(static_cast<int64_t>(group));
    const OwnerLimits senders =
        SenderLimits(*memory_, static_cast<int64_t>(group), candidates[group]);
    std::vector<HerdedExemplar> ranked;
    for (const int64_t index :
         strategies::Herd(embeddings, pass->embedding_width(), quota, senders)) {
      ranked.push_back(candidates[group][static_cast<size_t>(index)]);
    }
    memory_->Replace(static_cast<int64_t>(group), std::move(ranked));
  }
}

std::unique_ptr<const ForwardPass> HerdedReplay::Serve(const ForwardPass& inner) const {
  return MakeNearestMean(inner, *memory_, *units_);
}

void HerdedReplay::SaveState(StateWriter* writer) const {
  writer->PutInts("groups", memory_->GroupState());
}

absl::Status HerdedReplay::LoadState(const StateReader& reader) {
  ENGRAM_ASSIGN_OR_RETURN(restored_groups_, reader.GetInts("groups"));
  return absl::OkStatus();
}

absl::Status HerdedReplay::RestoreMembers(absl::Span<const MemberPayload> payloads) {
  ENGRAM_RETURN_IF_ERROR(memory_->Restore(payloads, std::exchange(restored_groups_, {})));
  for (const HerdedMemory::Group& group : memory_->groups()) {
    if (units_->Find(group.task, group.class_index) != UnitMap::kNoUnit) continue;
    return absl::DataLossError(absl::StrCat("groups: class ", group.class_index, " of task ",
                                            group.task, " has no output"));
  }
  return absl::OkStatus();
}

void HerdedReplay::AddGauges(LearnerGauges* gauges) const {
  memory_->CountByTask(&gauges->episodic_by_task);
  memory_->CountByClass(&gauges->episodic_by_class);
  gauges->episodic_bytes += memory_->Bytes();
}

}  // namespace engram::strategies
