// What each strategy's training step costs: examples a second beside the best-known library's
// (Avalanche 0.6.0, measured on a machine of this kind, one thread) and beside what its passes cost
// our own finetune step. In process, one thread, training alone; MLP 784-256-256-10, SGD 0.05.
//
//   OMP_NUM_THREADS=1 engram_strategy_cost [NAME...]
//
// Turn about: in every round each strategy trains for a moment, finetune at every batch size among
// them; a figure is the best of the rounds. A step of a strategy that looks at rows beyond the new
// ones is held against finetune steps over as many: DER++ at 10 is three of 10, A-GEM one of 10 and
// one of its memory. A forward pass alone counts as a third; GPM's projection as its products do,
// two with each of 105 directions of 784 inputs, beside the 605 000 multiplications of a row's
// pass. Exits 1 when a bound is missed: the passes plus 30 %, and the multiples of the library's
// speed.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "strategies/api/compute.h"
#include "strategies/api/learner.h"
#include "tests/bench/training/workload.h"

namespace engram::strategies {
namespace {

constexpr int64_t kBatches[] = {10, 32, 128};
constexpr double kOverPasses = 1.3;
constexpr absl::Duration kTurn = absl::Milliseconds(50);
constexpr int kRounds = 24;

// Rows that a step passes `weight` times through the network; 0 rows: as many as the batch.
struct Pass {
  double weight = 1;
  int64_t rows = 0;
};

struct Contender {
  std::string name;
  StrategySpec spec;
  std::vector<Pass> passes;
  int tasks = 2;          // boundaries before the clock starts
  double library[3] = {};  // its examples a second at each batch; 0: not measured
  double multiple = 0;     // of the library's, at batch 10 alone where it is 4
  HeadKind head = HeadKind::kGrowing;
};

std::vector<Contender> Contenders() {
  const StrategySpec fisher200 = {"ewc", {{"fisher_examples", int64_t{200}}}};
  const StrategySpec online200 = {"online_ewc", {{"fisher_examples", int64_t{200}}}};
  const Pass one, drawn{1, 20}, past_task{1, 100}, forward{1.0 / 3};
  const Pass projection{2.0 * 105 * 784 / 605000};
  return {
      {"finetune", {"finetune", {}}, {one}, 0, {8300, 18600, 36000}, 1.5},
      {"ewc", fisher200, {one}, 2, {2200, 5000, 12600}, 4},
      {"online_ewc", online200, {one}, 2, {3200, 7500, 16000}, 4},
      {"mas", {"mas", {}}, {one}, 2, {2800, 7800, 15800}, 4},
      {"si", {"si", {}}, {one}, 2, {3200, 8900, 21000}, 4},
      {"rwalk", {"rwalk", {}}, {one}, 2},
      {"lwf", {"lwf", {}}, {one, forward}, 2, {6200, 14500, 25000}, 1.5},
      {"experience_replay, task end",
       {"experience_replay", {{"fill", std::string("task_end")}, {"per_class", int64_t{100}}}},
       {one, one},
       2,
       {7400, 14700, 22000},
       1.5},
      {"experience_replay, streaming",
       {"experience_replay", {}},
       {one, one},
       2,
       {580, 1100, 8100},
       4},
      {"der", {"der", {}}, {one, one}, 2, {4200, 0, 0}, 1.5},
      {"der_plus_plus", {"der_plus_plus", {}}, {one, one, one}, 2, {5100, 10000, 15000}, 1.5},
      {"er_ace", {"er_ace", {}}, {one, one}, 2, {5200, 0, 0}, 1.5},
      // A memory of 1000 over ten tasks; A-GEM's reference batch is the library's default, GEM is
      // in the middle of its stream.
      {"a_gem",
       {"a_gem", {{"memory_per_task", int64_t{100}}, {"reference_batch", int64_t{64}}}},
       {one, {1, 64}},
       9,
       {2000, 0, 0},
       4},
      {"gem",
       {"gem", {{"memory_per_task", int64_t{100}}}},
       {one, drawn, drawn, drawn, drawn, drawn},
       5,
       {1200, 0, 0},
       4},
      {"gem, all exemplars",
       {"gem", {{"memory_per_task", int64_t{100}}, {"reference_batch", int64_t{0}}}},
       {one, past_task, past_task, past_task, past_task, past_task},
       5,
       {1200, 0, 0}},
      {"gpm", {"gpm", {}}, {one, projection}, 2},
      {"multi_task", {"multi_task", {}}, {one}, 2},
      {"feature_extraction", {"feature_extraction", {}}, {one}, 2},
      {"fine_tuning", {"fine_tuning", {}}, {one}, 2},
      {"plasticity", {"plasticity", {}}, {one}, 2},
      {"packnet", {"packnet", {}}, {one}, 0, {}, 0, HeadKind::kPerTask},
      {"gdumb", {"gdumb", {}}, {}, 0},
      {"slda", {"slda", {}}, {}, 2},
      {"ncm", {"ncm", {}}, {}, 2},
  };
}

// One learner in the middle of its stream.
class Runner {
 public:
  Runner(const Contender& contender, int64_t batch)
      : batch_(batch), learner_(Make(contender, batch)), stream_(batch) {
    for (int task = 0; task < contender.tasks; ++task) {
      Steps(2000 / batch);
      Must(learner_->MarkBoundary({0, 0, static_cast<uint64_t>(task)}));
    }
    Steps(50);
  }

  void Turn() {
    const int64_t chunk = std::max<int64_t>(1, 256 / batch_);
    int64_t steps = 0;
    const absl::Time began = absl::Now();
    absl::Duration taken;
    do {
      Steps(chunk);
      steps += chunk;
      taken = absl::Now() - began;
    } while (taken < kTurn);
    const double a_step = absl::ToDoubleSeconds(taken) / static_cast<double>(steps);
    seconds_ = seconds_ == 0 ? a_step : std::min(seconds_, a_step);
  }

  double seconds() const { return seconds_; }  // a step's
  double rate() const { return static_cast<double>(batch_) / seconds_; }

 private:
  static std::unique_ptr<Learner> Make(const Contender& contender, int64_t batch) {
    ModelOptions options = Model(batch, {contender.spec});
    options.head.kind = contender.head;
    return Must(MakeLearner(options));
  }

  void Steps(int64_t count) {
    for (int64_t i = 0; i < count; ++i) Must(learner_->Train(stream_.Next()));
  }

  const int64_t batch_;
  const std::unique_ptr<Learner> learner_;
  Stream stream_;
  double seconds_ = 0;
};

double PassSeconds(const Contender& contender, int64_t batch,
                   const std::map<int64_t, std::unique_ptr<Runner>>& finetune) {
  double seconds = 0;
  for (const Pass& pass : contender.passes) {
    seconds += pass.weight * finetune.at(pass.rows == 0 ? batch : pass.rows)->seconds();
  }
  return seconds;
}

// Prints a line; true when every bound that it has holds.
bool Report(const Contender& contender, size_t column, const Runner& runner,
            const std::map<int64_t, std::unique_ptr<Runner>>& finetune) {
  const int64_t batch = kBatches[column];
  std::printf("%-30s %4lld %9.0f /s", contender.name.c_str(), static_cast<long long>(batch),
              runner.rate());
  bool holds = true;
  if (contender.passes.empty()) {
    std::printf("  %5.2f finetune steps", runner.seconds() / finetune.at(batch)->seconds());
  } else {
    const double over = runner.seconds() / PassSeconds(contender, batch, finetune);
    holds = over <= kOverPasses;
    std::printf("  %5.2f of its passes%s", over, holds ? "" : " MISSED");
  }
  const double theirs = contender.library[column];
  if (theirs > 0) {
    const double times = runner.rate() / theirs;
    const bool bound = contender.multiple < 4 || batch == 10;
    const bool fast = !bound || times >= contender.multiple;
    std::printf("  %6.1f x the library", times);
    if (bound) std::printf(" (>= %.1f)%s", contender.multiple, fast ? "" : " MISSED");
    holds = holds && fast;
  }
  std::printf("\n");
  return holds;
}

bool Compare(const std::vector<std::string>& names) {
  bool all = true;
  for (size_t column = 0; column < 3; ++column) {
    const int64_t batch = kBatches[column];
    std::map<int64_t, std::unique_ptr<Runner>> finetune;
    for (const int64_t rows : {batch, int64_t{20}, int64_t{64}, int64_t{100}}) {
      finetune[rows] = std::make_unique<Runner>(Contender{"", {"finetune", {}}, {}, 0}, rows);
    }
    std::vector<Contender> contenders;
    std::vector<std::unique_ptr<Runner>> runners;
    for (Contender& contender : Contenders()) {
      const bool wanted = names.empty() || std::count(names.begin(), names.end(),
                                                      contender.spec.name) > 0;
      if (!wanted) continue;
      runners.push_back(std::make_unique<Runner>(contender, batch));
      contenders.push_back(std::move(contender));
    }
    for (int round = 0; round < kRounds; ++round) {
      for (auto& [rows, runner] : finetune) runner->Turn();
      for (auto& runner : runners) runner->Turn();
    }
    for (size_t i = 0; i < runners.size(); ++i) {
      all = Report(contenders[i], column, *runners[i], finetune) && all;
    }
  }
  return all;
}

}  // namespace
}  // namespace engram::strategies

int main(int argc, char** argv) {
  engram::strategies::SetComputeThreads(1);
  engram::strategies::EnterComputeThread();
  std::printf("%s\n", engram::strategies::DescribeCompute().Fingerprint().c_str());
  return engram::strategies::Compare({argv + 1, argv + argc}) ? 0 : 1;
}
