// PackNet (Mallya & Lazebnik 2018, CVPR, section 3): tasks are packed into one network. After each
// task, of the weights that are still free in a layer the share of largest magnitude stays with the
// task for ever; the others go back to zero and what was kept is trained a little more. A task is
// answered by the weights that it and earlier tasks own:
//   W^(t) = W * [1 <= owner <= t]
// Biases are the first task's; each task has a head of its own. Owned weights are put back after
// every update, so no optimizer, momentum or decay can move them.
//
// A task that returns once it is packed trains its head alone, over the network as it was packed:
// weights of later tasks are laid aside meanwhile.
//
// Memory: owner and anchor, 2 P floats, and for serving P floats a packed task. Time: one more pass
// over P a step, from the second task on; retrain_passes over retrain_examples at a boundary.
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/registry.h"
#include "strategies/models/mlp.h"
#include "strategies/models/row_groups.h"

namespace engram::strategies {
namespace {

constexpr int32_t kNoTask = -1;

// The network as one task sees it. Owned weights never change, so snapshots share it.
struct Masked {
  at::Tensor flat;
  std::unique_ptr<const ForwardPass> pass;
};
using MaskedByTask = absl::flat_hash_map<int32_t, std::shared_ptr<const Masked>>;

// Rows of a packed task go to its masked network, the others to `rest`.
class PackedPass : public ForwardPass {
 public:
  PackedPass(const ForwardPass& inner, MaskedByTask packed, std::shared_ptr<const Masked> whole,
             int64_t features, int64_t units)
      : inner_(inner),
        packed_(std::move(packed)),
        whole_(std::move(whole)),
        features_(features),
        units_(units) {}

  void Run(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
           ForwardScratch* scratch, float* logits) const override {
    ForEachGroup(rows, tasks, [&](int64_t begin, int64_t count, const ForwardPass* pass) {
      pass->Run(features + begin * features_, count, {}, scratch, logits + begin * units_);
    });
  }

  int64_t embedding_width() const override { return inner_.embedding_width(); }
  void Embed(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
             ForwardScratch* scratch, float* embeddings) const override {
    const int64_t width = embedding_width();
    ForEachGroup(rows, tasks, [&](int64_t begin, int64_t count, const ForwardPass* pass) {
      pass->Embed(features + begin * features_, count, {}, scratch, embeddings + begin * width);
    });
  }

  absl::optional<NetworkProgram::Value> Describe(int32_t task, const std::vector<int64_t>& units,
                                                 NetworkProgram* program) const override {
    return Of(task)->Describe(task, units, program);
  }
  absl::optional<NetworkProgram::Value> DescribeEmbedding(int32_t task,
                                                          NetworkProgram* program) const override {
    return Of(task)->DescribeEmbedding(task, program);
  }

 private:
  template <typename Body>
  void ForEachGroup(int64_t rows, absl::Span<const int32_t> tasks, Body body) const {
    ForEachRowGroup(
        rows, [&](int64_t row) { return Of(tasks.empty() ? kNoTask : tasks[row]); }, body);
  }
  const ForwardPass* Of(int32_t task) const {
    const auto found = packed_.find(task);
    if (found != packed_.end()) return found->second->pass.get();
    return whole_ != nullptr ? whole_->pass.get() : &inner_;
  }

  const ForwardPass& inner_;
  MaskedByTask packed_;
  std::shared_ptr<const Masked> whole_;  // null: inner_
  int64_t features_;
  int64_t units_;
};

class PackNet final : public Strategy {
 public:
  PackNet(const StrategyParameters& parameters, const StrategyEnvironment& environment)
      : arena_(environment.arena),
        network_(environment.network),
        units_(environment.units),
        feature_count_(environment.feature_count),
        owner_(arena_->AddCompanion("packnet.owner", ParameterArena::Persistence::kSaved)),
        anchor_(arena_->AddCompanion("packnet.anchor", ParameterArena::Persistence::kSaved)),
        retrain_examples_(parameters.Integer("retrain_examples")),
        batch_(environment.feature_count, environment.batch_size),
        batch_size_(environment.batch_size) {
    const std::vector<LayerTrace>& traces = network_->traces();
    for (size_t i = 0; i + 1 < traces.size(); ++i) hidden_.push_back(traces[i]);
    head_ = traces.back();
    for (const LayerTrace& layer : hidden_) free_weights_ += arena_->slot(layer.weight).count();
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "packnet"; }
  StrategyTraits Traits() const override { return {false, /*infers_task=*/true}; }
  int64_t ConsolidationExamples() const override { return retrain_examples_; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    Activate(batch.tasks()[0]);
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    PutBack();
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary& boundary, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport* report) override {
    const int32_t task = active_;
    if (task != kNoTask && PackOf(task) == 0 && examples.rows() > 0) {
      Pack(task);
      ENGRAM_RETURN_IF_ERROR(Retrain(examples, context));
      context.optimizer().Reset();  // the next task starts from zeros
      return absl::OkStatus();
    }
    Activate(kNoTask);
    return absl::OkStatus();
  }

  std::unique_ptr<const ForwardPass> Serve(const ForwardPass& inner) const override;

  void Reconfigure(const StrategyParameters& parameters) override {
    keep_share_ = parameters.Number("keep_share");
    retrain_passes_ = parameters.Integer("retrain_passes");
  }

  void SaveState(StateWriter* writer) const override {
    writer->PutInts("packs", std::vector<int64_t>(packs_.begin(), packs_.end()));
    writer->PutInteger("active", active_);
    writer->PutInteger("free_weights", free_weights_);
  }
  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> packs, reader.GetInts("packs"));
    ENGRAM_ASSIGN_OR_RETURN(const int64_t active, reader.GetInteger("active"));
    ENGRAM_ASSIGN_OR_RETURN(free_weights_, reader.GetInteger("free_weights"));
    packs_.assign(packs.begin(), packs.end());
    active_ = static_cast<int32_t>(active);
    return absl::OkStatus();
  }

  void AddGauges(LearnerGauges* gauges) const override {
    gauges->named["free_weights"] = static_cast<double>(free_weights_);
  }

 private:
  // The place of a task in the order of packing, from 1, which is what its weights' owner says.
  int64_t PackOf(int32_t task) const {
    const auto found = std::find(packs_.begin(), packs_.end(), task);
    return found == packs_.end() ? 0 : found - packs_.begin() + 1;
  }

  float* Flat(ParameterId id) const { return Place(arena_->flat(), id); }
  float* Owner(ParameterId id) const { return Place(arena_->Companion(owner_), id); }
  float* Anchor(ParameterId id) const { return Place(arena_->Companion(anchor_), id); }
  float* Place(const at::Tensor& flat, ParameterId id) const {
    return flat.data_ptr<float>() + arena_->slot(id).offset;
  }
  int64_t Count(ParameterId id) const { return arena_->slot(id).count(); }
  template <typename Body>
  void ForEachHidden(Body body) const {
    for (const LayerTrace& layer : hidden_) {
      body(layer.weight);
      body(layer.bias);
    }
  }

  // Of [1, visible] the anchor, of `learning` what is there, of the rest 0.
  void Mask(ParameterId id, float learning, float visible, float* values) const {
    const float* owner = Owner(id);
    const float* anchor = Anchor(id);
    for (int64_t i = 0, count = Count(id); i < count; ++i) {
      const float mine = owner[i], kept = anchor[i], now = values[i];  // read all: it vectorises
      const float held = (mine > 0) & (mine <= visible) ? kept : 0.0f;
      values[i] = mine == learning ? now : held;
    }
  }

  void Activate(int32_t task);
  void PutBack();
  void HoldHeads();
  void PutBackHeads();
  void Pack(int32_t task);
  void KeepLargest(ParameterId id, float pack);
  absl::Status Retrain(const ConsolidationSet& examples, StepContext& context);
  std::shared_ptr<const Masked> MakeMasked(float visible) const;

  ParameterArena* arena_;
  Network* network_;
  const UnitMap* units_;
  int64_t feature_count_;
  CompanionId owner_;   // 0: free; else the pack
  CompanionId anchor_;  // values of what is owned; while a packed task is active, of all
  int64_t retrain_examples_;
  TrainingBatch batch_;
  int64_t batch_size_;
  std::vector<LayerTrace> hidden_;
  LayerTrace head_;
  double keep_share_ = 0;
  int64_t retrain_passes_ = 0;
  std::vector<int32_t> packs_;  // tasks in the order of packing
  int32_t active_ = kNoTask;
  int64_t free_weights_ = 0;
  int64_t held_units_ = 0;  // outputs that the anchor has a value of
  // What Serve made and may use again: valid for one layout.
  mutable MaskedByTask served_;
  mutable std::shared_ptr<const Masked> whole_;
  mutable uint64_t served_generation_ = 0;
  mutable int64_t served_units_ = 0;
};

void PackNet::Activate(int32_t task) {
  if (task != active_) {
    if (PackOf(active_) > 0) {
      ForEachHidden([&](ParameterId id) { std::copy_n(Anchor(id), Count(id), Flat(id)); });
    }
    active_ = task;
    held_units_ = 0;
    whole_ = nullptr;
    if (PackOf(task) > 0) {
      ForEachHidden([&](ParameterId id) {
        for (int64_t i = 0, count = Count(id); i < count; ++i) {
          if (Owner(id)[i] == 0) Anchor(id)[i] = Flat(id)[i];
        }
      });
      PutBack();
    }
  }
  if (held_units_ != units_->size()) HoldHeads();
}

void PackNet::HoldHeads() {
  for (const ParameterId id : {head_.weight, head_.bias}) {
    std::copy_n(Flat(id), Count(id), Anchor(id));
  }
  held_units_ = units_->size();
}

// Undoes what an update did to weights and heads that are not the active task's to change.
void PackNet::PutBack() {
  const int64_t pack = PackOf(active_);
  if (!packs_.empty()) {
    const float learning = pack > 0 ? -1.0f : 0.0f;
    const float visible = static_cast<float>(pack > 0 ? pack : packs_.size());
    ForEachHidden([&](ParameterId id) { Mask(id, learning, visible, Flat(id)); });
  }
  if (pack > 0) served_.erase(active_);  // its head learns
  PutBackHeads();
}

void PackNet::PutBackHeads() {
  const std::vector<UnitMap::Owner>& owners = units_->owners();
  const int64_t width = arena_->slot(head_.weight).columns;
  for (int64_t unit = 0; unit < held_units_; ++unit) {
    if (owners[static_cast<size_t>(unit)].task == active_) continue;
    std::copy_n(Anchor(head_.weight) + unit * width, width, Flat(head_.weight) + unit * width);
    Flat(head_.bias)[unit] = Anchor(head_.bias)[unit];
  }
}

void PackNet::Pack(int32_t task) {
  packs_.push_back(task);
  const float pack = static_cast<float>(packs_.size());
  free_weights_ = 0;
  for (const LayerTrace& layer : hidden_) {
    KeepLargest(layer.weight, pack);
    if (packs_.size() == 1) std::fill_n(Owner(layer.bias), Count(layer.bias), pack);
    const float* owner = Owner(layer.weight);
    free_weights_ += std::count(owner, owner + Count(layer.weight), 0.0f);
  }
}

// Gives the pack its share of what is free, by magnitude, and zeroes the rest.
void PackNet::KeepLargest(ParameterId id, float pack) {
  float* values = Flat(id);
  float* owner = Owner(id);
  std::vector<int64_t> open;
  for (int64_t i = 0, count = Count(id); i < count; ++i) {
    if (owner[i] == 0) open.push_back(i);
  }
  const auto kept = static_cast<int64_t>(std::ceil(keep_share_ * static_cast<double>(open.size())));
  std::nth_element(open.begin(), open.begin() + kept, open.end(), [values](int64_t a, int64_t b) {
    const float left = std::abs(values[a]), right = std::abs(values[b]);
    return left > right || (left == right && a < b);
  });
  for (int64_t i = 0; i < kept; ++i) owner[open[i]] = pack;
  for (size_t i = static_cast<size_t>(kept); i < open.size(); ++i) values[open[i]] = 0;
}

absl::Status PackNet::Retrain(const ConsolidationSet& examples, StepContext& context) {
  const float pack = static_cast<float>(packs_.size());
  std::vector<int64_t> order(static_cast<size_t>(examples.rows()));
  std::iota(order.begin(), order.end(), 0);
  for (int64_t pass = 0; pass < retrain_passes_; ++pass) {
    for (size_t i = order.size(); i > 1; --i) {
      std::swap(order[i - 1], order[context.generator().Below(i)]);
    }
    for (int64_t begin = 0; begin < examples.rows(); begin += batch_size_) {
      batch_.Clear(*units_);
      for (int64_t i = begin; i < std::min(begin + batch_size_, examples.rows()); ++i) {
        const int64_t row = order[static_cast<size_t>(i)];
        ENGRAM_RETURN_IF_ERROR(batch_.AppendRow(
            examples.features.data_ptr<float>() + row * feature_count_, examples.classes[row],
            examples.tasks[row], examples.sequences[row]));
      }
      ENGRAM_RETURN_IF_ERROR(context.PlainStep(batch_).status());
      ForEachHidden([&](ParameterId id) { Mask(id, pack, pack, Flat(id)); });
      PutBackHeads();
    }
  }
  ForEachHidden([&](ParameterId id) {
    for (int64_t i = 0, count = Count(id); i < count; ++i) {
      if (Owner(id)[i] == pack) Anchor(id)[i] = Flat(id)[i];
    }
  });
  // It closes with its boundary; more of it is a return.
  active_ = kNoTask;
  held_units_ = 0;
  return absl::OkStatus();
}

std::shared_ptr<const Masked> PackNet::MakeMasked(float visible) const {
  auto masked = std::make_shared<Masked>();
  masked->flat = arena_->flat().clone();
  ForEachHidden([&](ParameterId id) { Mask(id, -1, visible, Place(masked->flat, id)); });
  masked->pass = network_->Bind(masked->flat);
  return masked;
}

std::unique_ptr<const ForwardPass> PackNet::Serve(const ForwardPass& inner) const {
  if (packs_.empty()) return nullptr;
  if (served_generation_ != arena_->generation() || served_units_ != units_->size()) {
    served_.clear();
    whole_ = nullptr;
    served_generation_ = arena_->generation();
    served_units_ = units_->size();
  }
  for (size_t i = 0; i < packs_.size(); ++i) {
    std::shared_ptr<const Masked>& masked = served_[packs_[i]];
    if (masked == nullptr) masked = MakeMasked(static_cast<float>(i + 1));
  }
  if (PackOf(active_) > 0 && whole_ == nullptr) {
    auto whole = std::make_shared<Masked>();
    whole->flat = arena_->flat().clone();
    ForEachHidden(
        [&](ParameterId id) { std::copy_n(Anchor(id), Count(id), Place(whole->flat, id)); });
    whole->pass = network_->Bind(whole->flat);
    whole_ = std::move(whole);
  }
  return std::make_unique<PackedPass>(inner, served_, PackOf(active_) > 0 ? whole_ : nullptr,
                                      feature_count_, units_->size());
}

std::vector<ParameterHelp> Parameters() {
  return {
      NumberParameter("keep_share", 0.25)
          .Between(0.01, 1)
          .Live()
          .Help("share of a layer's free weights that a task keeps, those of largest magnitude"),
      IntegerParameter("retrain_passes", 1)
          .AtMost(1000)
          .Live()
          .Help("passes over them after pruning"),
      IntegerParameter("retrain_examples", 2000)
          .Between(1, 100000)
          .Help("examples of the ended task that what was kept is trained on"),
  };
}

}  // namespace

namespace builtin {

StrategyEntry PackNet() {
  StrategyEntry entry;
  entry.help.name = "packnet";
  entry.help.family = "parameter isolation";
  entry.help.paper = "Mallya & Lazebnik 2018, PackNet, CVPR";
  entry.help.idea =
      "After each task keep the largest of the free weights for it, for ever, and zero the rest.\n"
      "The next task trains what is left and uses what is there.\n"
      "Each task is answered by its own mask and head.";
  entry.help.memory = "2 P floats, P more a packed task for serving; retrain_examples";
  entry.help.time = "one pass over P a step; retrain_passes over retrain_examples a boundary";
  entry.help.when =
      "A handful of tasks with clear boundaries must share one network and none may be forgotten.";
  entry.help.traits.infers_task = true;
  entry.help.parameters = Parameters();
  entry.per_task_heads = true;
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::PackNet>(parameters, environment);
  };
  // The usual one, but no other strategy may bring another.
  entry.make_network = [](const StrategyParameters&, const ModelOptions& options, int64_t units,
                          ParameterArena* arena, Generator* generator) {
    return MakeMlp({options.feature_count, options.hidden, units}, arena, generator);
  };
  entry.test_parameters = {{"retrain_examples", int64_t{64}}, {"retrain_passes", int64_t{2}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
