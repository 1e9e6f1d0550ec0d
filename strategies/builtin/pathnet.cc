// PathNet (Fernando et al. 2017, arXiv 1701.08734, section 2): a grid of L layers of M modules, of
// which a path uses N in each layer. While a task lasts, paths compete: two of the population learn
// tournament_examples of the stream each, the winner by accuracy overwrites the loser, and in the
// copy each gene mutates with probability 1 / (N L) by an offset from {-2 .. 2} modulo M. When the
// task ends its best path is frozen and every module that is free is drawn anew.
//
// Fitness is the accuracy before each update, so it costs no pass of its own. A mutation that would
// repeat a module in its layer is not drawn, and a path never has frozen modules only in a layer
// that has free ones: it could not learn. The network is models/modules.h.
//
// Memory: L M modules, whatever the number of tasks, and a head a task. Time: a step of N modules a
// layer.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/registry.h"
#include "strategies/models/module_paths.h"
#include "strategies/models/modules.h"

namespace engram::strategies {
namespace {

constexpr int64_t kNoTask = -1;

class PathNet final : public Strategy {
 public:
  PathNet(const StrategyParameters& parameters, Modules* modules)
      : modules_(modules),
        population_size_(parameters.Integer("population")),
        tournament_examples_(parameters.Integer("tournament_examples")) {}

  absl::string_view Name() const override { return "pathnet"; }
  StrategyTraits Traits() const override { return {false, /*infers_task=*/true}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    const int32_t task = batch.tasks()[0];
    modules_->Place(context.units().owners(), &context.generator());
    if (const ModulePath* closed = modules_->ClosedPath(task)) {
      modules_->Activate(task, ModulePath(*closed));  // its head alone learns on
      return next(batch, context);
    }
    if (task != task_) Start(task, &context.generator());
    modules_->Activate(task, population_[contestants_[turn_]]);
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (!seen.skipped) Score(seen, batch, context);
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary& boundary, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport* report) override {
    if (task_ == kNoTask) return absl::OkStatus();
    modules_->Close(static_cast<int32_t>(task_), &context.generator());
    context.optimizer().Reset();  // its moments belong to modules that are no more
    task_ = kNoTask;
    population_.clear();
    return absl::OkStatus();
  }

  void SaveState(StateWriter* writer) const override {
    std::vector<int64_t> genes;
    for (const ModulePath& path : population_) genes.insert(genes.end(), path.begin(), path.end());
    writer->PutInts("population", genes);
    writer->PutInts("contest", {task_, static_cast<int64_t>(contestants_[0]),
                                static_cast<int64_t>(contestants_[1]),
                                static_cast<int64_t>(turn_), correct_[0], correct_[1], shown_[0],
                                shown_[1]});
  }
  absl::Status LoadState(const StateReader& reader) override;

  void AddGauges(LearnerGauges* gauges) const override {
    gauges->named["free_modules"] = static_cast<double>(modules_->free_modules());
  }

 private:
  void Start(int32_t task, Generator* generator);
  void DrawContestants(Generator* generator);
  void Score(const Observation& seen, const TrainingBatch& batch, StepContext& context);
  void EndContest(Generator* generator);

  Modules* modules_;
  int64_t population_size_;
  int64_t tournament_examples_;
  int64_t task_ = kNoTask;  // whose population it is
  std::vector<ModulePath> population_;
  size_t contestants_[2] = {0, 0};
  size_t turn_ = 0;  // which of them learns
  int64_t correct_[2] = {0, 0};
  int64_t shown_[2] = {0, 0};
};

void PathNet::Start(int32_t task, Generator* generator) {
  task_ = task;
  population_.clear();
  for (int64_t i = 0; i < population_size_; ++i) {
    population_.push_back(RandomPath(*modules_, generator));
  }
  DrawContestants(generator);
  modules_->SetPath(task, population_[contestants_[0]]);
}

void PathNet::DrawContestants(Generator* generator) {
  const uint64_t size = population_.size();
  contestants_[0] = generator->Below(size);
  contestants_[1] = (contestants_[0] + 1 + generator->Below(size - 1)) % size;
  for (int i : {0, 1}) correct_[i] = shown_[i] = 0;
  turn_ = 0;
}

void PathNet::Score(const Observation& seen, const TrainingBatch& batch, StepContext& context) {
  const float* scores = seen.logits.data_ptr<float>();
  const absl::Span<const int64_t> own = context.units().UnitsOf(static_cast<int32_t>(task_));
  for (int64_t row = 0; row < batch.stream_rows(); ++row, scores += seen.logits.size(1)) {
    const int64_t best = *std::max_element(
        own.begin(), own.end(), [scores](int64_t a, int64_t b) { return scores[a] < scores[b]; });
    correct_[turn_] += best == batch.targets()[row] ? 1 : 0;
  }
  shown_[turn_] += batch.stream_rows();
  if (shown_[turn_] < tournament_examples_) return;
  if (turn_ == 0) {
    turn_ = 1;
  } else {
    EndContest(&context.generator());
  }
}

void PathNet::EndContest(Generator* generator) {
  // Accuracies compared without division; the first keeps a tie.
  const bool second = correct_[1] * shown_[0] > correct_[0] * shown_[1];
  const ModulePath& winner = population_[contestants_[second ? 1 : 0]];
  modules_->SetPath(static_cast<int32_t>(task_), winner);
  population_[contestants_[second ? 0 : 1]] = MutatedPath(*modules_, winner, generator);
  DrawContestants(generator);
}

absl::Status PathNet::LoadState(const StateReader& reader) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> genes, reader.GetInts("population"));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> contest, reader.GetInts("contest"));
  const int64_t length = modules_->layers() * modules_->options().active;
  const int64_t paths = contest.empty() || contest[0] == kNoTask ? 0 : population_size_;
  const auto no_path = [&](int64_t i) { return i < 0 || i >= population_size_; };
  const auto no_module = [&](int64_t m) { return m < 0 || m >= modules_->options().modules; };
  if (contest.size() != 8 || static_cast<int64_t>(genes.size()) != paths * length ||
      no_path(contest[1]) || no_path(contest[2]) || contest[3] < 0 || contest[3] > 1 ||
      std::any_of(genes.begin(), genes.end(), no_module)) {
    return absl::DataLossError(absl::StrCat("population: ", genes.size(), " genes and ",
                                            contest.size(), " numbers do not make a contest"));
  }
  for (auto gene = genes.begin(); static_cast<int64_t>(population_.size()) < paths;) {
    population_.emplace_back(gene, gene + length);
    gene += length;
  }
  task_ = contest[0];
  for (size_t i : {0, 1}) {
    contestants_[i] = static_cast<size_t>(contest[1 + i]);
    correct_[i] = contest[4 + i];
    shown_[i] = contest[6 + i];
  }
  turn_ = static_cast<size_t>(contest[3]);
  return absl::OkStatus();
}

std::unique_ptr<Network> MakeNetwork(const StrategyParameters& parameters,
                                     const ModelOptions& options, int64_t units,
                                     ParameterArena* arena, Generator* generator) {
  ModulesOptions modules;
  modules.feature_count = options.feature_count;
  modules.hidden = options.hidden;
  modules.modules = parameters.Integer("modules");
  modules.active = std::min(parameters.Integer("active"), modules.modules);
  return std::make_unique<Modules>(modules, arena, generator);
}

}  // namespace

namespace builtin {

StrategyEntry PathNet() {
  StrategyEntry entry;
  entry.help.name = "pathnet";
  entry.help.family = "parameter isolation";
  entry.help.paper = "Fernando et al. 2017, PathNet, arXiv 1701.08734";
  entry.help.idea =
      "Paths through a grid of modules compete on the stream; the loser becomes a mutated copy.\n"
      "At a boundary the best path is frozen, everything else starts anew: later tasks may use\n"
      "frozen modules, and change none.";
  entry.help.memory = "L M modules of the hidden widths and a head a task, for any number of tasks";
  entry.help.time = "a step through N modules a layer, whatever M is";
  entry.help.when =
      "Many tasks that may share parts, with clear boundaries; watch free_modules: it runs out.";
  entry.help.traits.infers_task = true;
  entry.help.parameters = {
      IntegerParameter("modules", 10)
          .Between(1, 1000)
          .Help("modules in each layer, M; a layer's width is one module's"),
      IntegerParameter("active", 3)
          .Between(1, 1000)
          .Help("modules of a path in each layer, N; at most `modules`"),
      IntegerParameter("population", 4).Between(2, 1000).Help("paths that compete"),
      IntegerParameter("tournament_examples", 200)
          .Between(1, 1e6)
          .Help("examples that a path learns in a contest"),
  };
  entry.per_task_heads = true;
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::PathNet>(parameters,
                                                 static_cast<Modules*>(environment.network));
  };
  entry.make_network = MakeNetwork;
  entry.test_parameters = {{"modules", int64_t{6}},
                           {"active", int64_t{3}},
                           {"population", int64_t{4}},
                           {"tournament_examples", int64_t{40}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
