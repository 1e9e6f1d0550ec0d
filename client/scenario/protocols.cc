#include "client/scenario/protocols.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/spec_flags.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

Protocol Online() {
  Protocol online;
  online.name = "online";
  online.source = "one pass, batch by batch: what a live stream is";
  online.any_scenario = true;
  online.settings = {{"electricity", {"--batch_size=1"}, ""}, {"weather", {"--batch_size=1"}, ""}};
  return online;
}

// Adam is never reset between tasks, there is no weight decay, and pixels are divided by 255 and no
// more: ours as theirs. Penalties hold to the last weights of a task. Joint is `--strategy finetune
// --tasks 1`.
Protocol Vdv() {
  Protocol vdv;
  vdv.name = "vdv";
  vdv.source =
      "van de Ven, Tuytelaars, Tolias 2022, Nature Machine Intelligence 4 (split); "
      "van de Ven, Tolias 2018, arXiv 1809.10635 (permuted)";
  vdv.settings = {
      {"split-mnist",
       {"--shuffle_classes", "--head=fixed", "--hidden=400,400", "--optimizer=adam", "--lr=1e-3",
        "--batch_size=128", "--iterations=2000", "--drop_last"},
       ""},
      {"permuted-mnist",
       {"--tasks=10", "--examples_per_task=60000", "--side=32", "--head=fixed",
        "--hidden=1000,1000", "--optimizer=adam", "--lr=1e-4", "--batch_size=128",
        "--iterations=5000", "--drop_last"},
       ""},
  };
  vdv.overrides = {
      // The exact Fisher of a whole task there, of 5 000 examples here.
      {"split-mnist", "task", "ewc:lambda=1e5,fisher_examples=5000,anchor_share=0", {}},
      {"split-mnist", "domain", "ewc:lambda=1e10,fisher_examples=5000,anchor_share=0", {}},
      {"split-mnist", "class", "ewc:lambda=1e9,fisher_examples=5000,anchor_share=0", {}},
      // The penalty is part of the gradient along the path, and an importance may be negative.
      {"split-mnist", "task", "si:c=10,xi=0.1,relu=false,path_gradient=TOTAL", {}},
      {"split-mnist", "domain", "si:c=5e4,xi=0.1,relu=false,path_gradient=TOTAL", {}},
      {"split-mnist", "class", "si:c=5e3,xi=0.1,relu=false,path_gradient=TOTAL", {}},
      // Without T squared and without a warm-up; one term for each old task.
      {"split-mnist", "", "lwf:lambda=1,temperature=2", {}},
      // At a task's end 100 examples a digit; as many replayed as new ones, weighted by tasks.
      {"split-mnist",
       "",
       "experience_replay:memory_size=1000,replay_batch_size=128,fill=TASK_END,per_class=100,"
       "weighting=TASK_SHARE",
       {}},
      // Several passes over a task are still its 12 000 images.
      {"split-mnist", "", "joint:repeats=ONCE", {}},
      {"split-mnist", "", "a_gem:memory_per_task=200,reference_batch=128", {}},
      {"split-mnist",
       "",
       "generative_replay:generator=VAE,labels=HARD,replay_batch_size=128,generator_hidden=400,"
       "latent=100",
       {}},
      // Outputs come with their classes there, too.
      {"split-mnist",
       "class",
       "icarl:memory_size=1000,per_class=100,replay_batch_size=128",
       {"--head=growing"}},
      {"permuted-mnist", "", "ewc:lambda=100,fisher_examples=1000,anchor_share=0", {}},
      // The lambda of the 2018 table is not recorded.
      {"permuted-mnist", "", "online_ewc:fisher_examples=1000,anchor_share=0", {}},
      {"permuted-mnist", "", "si:c=10,xi=0.1,relu=false,path_gradient=TOTAL", {}},
      {"permuted-mnist", "", "lwf:lambda=1,temperature=2", {}},
      {"permuted-mnist", "", "joint:repeats=ONCE,storage=UINT8", {}},
      {"permuted-mnist",
       "",
       "generative_replay:generator=VAE,labels=HARD,replay_batch_size=128,generator_hidden=1000,"
       "latent=100,generator_learning_rate=1e-4",
       {}},
  };
  return vdv;
}

// What is called EWC there is EWC++ with a Fisher scaled to [0, 1], and MAS sums other units: their
// lambdas (10, 0.1) are those of other estimators and not taken over. Memory: 25 a class and task.
Protocol Agem() {
  Protocol agem;
  agem.name = "agem";
  agem.source = "Chaudhry, Ranzato, Rohrbach, Elhoseiny 2019, ICLR, table 4";
  agem.settings = {
      {"permuted-mnist",
       {"--tasks=17", "--examples_per_task=55000", "--validation_rows=5000", "--head=fixed",
        "--hidden=256,256", "--optimizer=sgd", "--lr=0.1", "--batch_size=10", "--epochs=1"},
       "weights from a truncated normal of deviation 0.1, biases 0.1"},
  };
  agem.overrides = {
      {"permuted-mnist", "", "finetune", {"--lr=0.03"}},
      {"permuted-mnist", "", "ewc", {"--lr=0.03"}},
      {"permuted-mnist", "", "online_ewc", {"--lr=0.03"}},
      {"permuted-mnist", "", "mas", {"--lr=0.1"}},
      {"permuted-mnist", "", "si:c=0.1", {"--lr=0.1"}},
      // The dual there is v >= 0: no memory strength.
      {"permuted-mnist",
       "",
       "gem:memory_per_task=250,memory_strength=0,reference_batch=0",
       {"--lr=0.1"}},
      {"permuted-mnist", "", "a_gem:memory_per_task=250,reference_batch=256", {"--lr=0.1"}},
  };
  return agem;
}

// EWC there squares the gradient of its whole memory as one batch: its lambdas (1000, 3) are not
// taken over.
Protocol Gem() {
  const Flags shared = {"--tasks=20",        "--examples_per_task=1000", "--head=fixed",
                        "--hidden=100,100",  "--optimizer=sgd",          "--lr=0.1",
                        "--batch_size=10",   "--epochs=1"};
  Flags rotated = shared;
  rotated.push_back("--angles=slices");
  Protocol gem;
  gem.name = "gem";
  gem.source = "Lopez-Paz, Ranzato 2017, NeurIPS, and its run_experiments.sh";
  gem.settings = {{"permuted-mnist", shared, "Xavier uniform, biases 0"},
                  {"rotated-mnist", rotated, "Xavier uniform, biases 0"}};
  gem.overrides = {
      {"permuted-mnist", "", "finetune", {"--lr=0.03"}},
      {"permuted-mnist", "", "ewc", {"--lr=0.1"}},
      {"permuted-mnist",
       "",
       "gem:memory_per_task=256,memory_strength=0.5,reference_batch=0",
       {"--lr=0.1"}},
      {"rotated-mnist", "", "finetune", {"--lr=0.003"}},
      {"rotated-mnist", "", "ewc", {"--lr=0.01"}},
      {"rotated-mnist",
       "",
       "gem:memory_per_task=256,memory_strength=0.5,reference_batch=0",
       {"--lr=0.1"}},
  };
  return gem;
}

// Online EWC has no half there, so its lambda 0.7 is 1.4 here; the Fisher is of the true labels.
// A memory of 500 is one of 25 a task.
Protocol Mammoth() {
  const Flags shared = {"--tasks=20",        "--examples_per_task=60000", "--head=fixed",
                        "--hidden=100,100",  "--optimizer=sgd",           "--lr=0.2",
                        "--batch_size=128",  "--epochs=1"};
  Flags rotated = shared;
  rotated.push_back("--angles=uniform");
  Protocol mammoth;
  mammoth.name = "mammoth";
  mammoth.source = "Buzzega et al. 2020, NeurIPS (DER), table 2, and mammoth/utils/best_args.py";
  mammoth.settings = {{"permuted-mnist", shared, "Xavier uniform"},
                      {"rotated-mnist", rotated, "Xavier uniform"}};
  mammoth.overrides = {
      {"permuted-mnist", "", "finetune", {"--lr=0.2"}},
      {"permuted-mnist",
       "",
       "online_ewc:lambda=1.4,gamma=1,fisher=EMPIRICAL,anchor_share=0",
       {"--lr=0.1"}},
      {"permuted-mnist", "", "si:c=0.5,xi=1", {"--lr=0.1"}},
      {"permuted-mnist",
       "",
       "experience_replay:memory_size=500,replay_batch_size=128",
       {"--lr=0.2"}},
      {"permuted-mnist",
       "",
       "gem:memory_per_task=25,memory_strength=0.5,reference_batch=0",
       {"--lr=0.1"}},
      {"permuted-mnist", "", "a_gem:memory_per_task=25,reference_batch=128", {"--lr=0.1"}},
      {"permuted-mnist", "", "der:memory_size=500,alpha=1", {"--lr=0.2"}},
      {"permuted-mnist", "", "der:memory_size=200,alpha=1", {"--lr=0.2"}},
      {"permuted-mnist", "", "der:memory_size=5120,alpha=0.5", {"--lr=0.2"}},
      {"permuted-mnist", "", "der_plus_plus:memory_size=500,alpha=1,beta=0.5", {"--lr=0.2"}},
      {"permuted-mnist", "", "der_plus_plus:memory_size=200,alpha=1,beta=1", {"--lr=0.1"}},
      {"permuted-mnist", "", "der_plus_plus:memory_size=5120,alpha=0.5,beta=1", {"--lr=0.2"}},
      {"rotated-mnist",
       "",
       "online_ewc:lambda=1.4,gamma=1,fisher=EMPIRICAL,anchor_share=0",
       {"--lr=0.1"}},
      {"rotated-mnist", "", "si:c=1,xi=1", {"--lr=0.1"}},
      {"rotated-mnist", "", "experience_replay:memory_size=500,replay_batch_size=128",
       {"--lr=0.2"}},
      {"rotated-mnist",
       "",
       "gem:memory_per_task=25,memory_strength=0.5,reference_batch=0",
       {"--lr=0.01"}},
      {"rotated-mnist", "", "a_gem:memory_per_task=25,reference_batch=128", {"--lr=0.3"}},
      {"rotated-mnist", "", "a_gem:memory_per_task=10,reference_batch=128", {"--lr=0.1"}},
      {"rotated-mnist", "", "a_gem:memory_per_task=256,reference_batch=128", {"--lr=0.3"}},
      {"rotated-mnist", "", "der:memory_size=500,alpha=0.5", {"--lr=0.2"}},
      {"rotated-mnist", "", "der:memory_size=200,alpha=1", {"--lr=0.2"}},
      {"rotated-mnist", "", "der:memory_size=5120,alpha=0.5", {"--lr=0.2"}},
      {"rotated-mnist", "", "der_plus_plus:memory_size=500,alpha=0.5,beta=1", {"--lr=0.2"}},
      {"rotated-mnist", "", "der_plus_plus:memory_size=200,alpha=1,beta=0.5", {"--lr=0.1"}},
      {"rotated-mnist", "", "der_plus_plus:memory_size=5120,alpha=0.5,beta=0.5", {"--lr=0.2"}},
  };
  return mammoth;
}

// One strategy as it is written: NAME:key=value,...
struct Written {
  explicit Written(absl::string_view text) {
    const std::pair<std::string, std::string> halves =
        absl::StrSplit(text, absl::MaxSplits(':', 1));
    name = halves.first == "replay" ? "experience_replay" : halves.first;
    pairs = absl::StrSplit(halves.second, ',', absl::SkipEmpty());
  }
  std::string Text() const {
    return pairs.empty() ? name : absl::StrCat(name, ":", absl::StrJoin(pairs, ","));
  }
  // "memory_size=500" or "memory_per_task=25"; else empty.
  std::string Memory() const {
    const auto found = std::find_if(pairs.begin(), pairs.end(), [](const std::string& pair) {
      return absl::StartsWith(pair, "memory_size=") || absl::StartsWith(pair, "memory_per_task=");
    });
    return found == pairs.end() ? "" : *found;
  }

  std::string name;
  std::vector<std::string> pairs;
};

absl::StatusOr<const Protocol*> FindProtocol(absl::string_view name) {
  std::vector<std::string> known;
  for (const Protocol& protocol : ListProtocols()) {
    if (protocol.name == name) return &protocol;
    known.push_back(protocol.name);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("protocol: expected ", absl::StrJoin(known, ", "), "; got \"", name, "\""));
}

absl::StatusOr<Flags> SettingFlags(const Protocol& protocol, absl::string_view scenario) {
  std::vector<std::string> known;
  for (const ProtocolSetting& setting : protocol.settings) {
    if (setting.scenario == scenario) return setting.flags;
    known.push_back(setting.scenario);
  }
  if (protocol.any_scenario) return Flags{};
  return absl::InvalidArgumentError(absl::StrCat("protocol: ", protocol.name, " is one of ",
                                                 absl::StrJoin(known, ", "), "; got \"", scenario,
                                                 "\""));
}

const ProtocolOverride* FindOverride(const Protocol& protocol, absl::string_view scenario,
                                     absl::string_view incremental, const Written& strategy) {
  const ProtocolOverride* first = nullptr;
  for (const ProtocolOverride& line : protocol.overrides) {
    const Written published(line.strategy);
    if (line.scenario != scenario || published.name != strategy.name) continue;
    if (!line.incremental.empty() && line.incremental != incremental) continue;
    if (strategy.Memory() == published.Memory()) return &line;
    if (first == nullptr) first = &line;
  }
  return first;
}

// The published parameters, then the user's: of two values of one parameter the later counts.
std::string Merged(const ProtocolOverride& published, const Written& strategy) {
  Written both(published.strategy);
  both.pairs.insert(both.pairs.end(), strategy.pairs.begin(), strategy.pairs.end());
  return both.Text();
}

// In the client's own spelling, each parameter once.
absl::StatusOr<std::string> Canonical(const std::string& list) {
  ENGRAM_ASSIGN_OR_RETURN(const auto specs, client::ParseStrategyList(list));
  return client::FormatStrategies({specs.begin(), specs.end()});
}

}  // namespace

const std::vector<Protocol>& ListProtocols() {
  static const auto* const kProtocols =
      new std::vector<Protocol>{Online(), Vdv(), Agem(), Gem(), Mammoth()};
  return *kProtocols;
}

absl::StatusOr<ResolvedProtocol> ResolveProtocol(const Protocol& protocol,
                                                 absl::string_view scenario,
                                                 Incremental incremental,
                                                 absl::string_view strategy) {
  ResolvedProtocol resolved;
  ENGRAM_ASSIGN_OR_RETURN(resolved.flags, SettingFlags(protocol, scenario));
  ENGRAM_RETURN_IF_ERROR(client::ParseStrategyList(strategy).status());
  // Of two members with flags of their own the outermost counts: the last of equal flags.
  const auto own_flags = static_cast<Flags::difference_type>(resolved.flags.size());
  std::vector<std::string> members;
  bool published = false;
  for (const absl::string_view part : client::SplitStrategyList(strategy)) {
    const Written member(part);
    const ProtocolOverride* line =
        FindOverride(protocol, scenario, IncrementalName(incremental), member);
    members.push_back(line == nullptr ? member.Text() : Merged(*line, member));
    if (line == nullptr) continue;
    published = true;
    resolved.flags.insert(resolved.flags.begin() + own_flags, line->flags.begin(),
                          line->flags.end());
  }
  resolved.strategy = std::string(strategy);
  if (published) {
    ENGRAM_ASSIGN_OR_RETURN(resolved.strategy, Canonical(absl::StrJoin(members, "+")));
  }
  return resolved;
}

absl::StatusOr<ResolvedProtocol> ResolveProtocol(absl::string_view protocol,
                                                 absl::string_view scenario,
                                                 Incremental incremental,
                                                 absl::string_view strategy) {
  ENGRAM_ASSIGN_OR_RETURN(const Protocol* found, FindProtocol(protocol));
  return ResolveProtocol(*found, scenario, incremental, strategy);
}

}  // namespace engram::scenario
