#include "strategies/models/module_paths.h"

#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

namespace engram::strategies {
namespace {

constexpr int64_t kReach = 2;

// Exchanges one gene for a free module where the layer's genes are frozen and the layer is not.
void KeepOneFree(const Modules& modules, int64_t layer, int64_t* genes, Generator* generator) {
  const int64_t active = modules.options().active;
  std::vector<int64_t> free;
  for (int64_t m = 0; m < modules.options().modules; ++m) {
    if (!modules.frozen(layer, m)) free.push_back(m);
  }
  const bool stuck = std::all_of(genes, genes + active,
                                 [&](int64_t m) { return modules.frozen(layer, m); });
  if (!stuck || free.empty()) return;
  const uint64_t place = generator->Below(static_cast<uint64_t>(active));
  genes[place] = free[generator->Below(free.size())];
}

void MutateGene(const Modules& modules, int64_t* genes, int64_t place, Generator* generator) {
  const int64_t active = modules.options().active, count = modules.options().modules;
  std::vector<int64_t> targets;
  for (int64_t offset = -kReach; offset <= kReach; ++offset) {
    const int64_t target = ((genes[place] + offset) % count + count) % count;
    const int64_t* taken = std::find(genes, genes + active, target);
    if (taken == genes + active || target == genes[place]) targets.push_back(target);
  }
  genes[place] = targets[generator->Below(targets.size())];
}

}  // namespace

ModulePath RandomPath(const Modules& modules, Generator* generator) {
  const int64_t active = modules.options().active;
  ModulePath path;
  std::vector<int64_t> all(static_cast<size_t>(modules.options().modules));
  for (int64_t layer = 0; layer < modules.layers(); ++layer) {
    std::iota(all.begin(), all.end(), 0);
    for (size_t n = 0; n < static_cast<size_t>(active); ++n) {
      std::swap(all[n], all[n + generator->Below(all.size() - n)]);
      path.push_back(all[n]);
    }
    KeepOneFree(modules, layer, path.data() + layer * active, generator);
  }
  return path;
}

ModulePath MutatedPath(const Modules& modules, ModulePath path, Generator* generator) {
  const int64_t active = modules.options().active;
  for (int64_t layer = 0; layer < modules.layers(); ++layer) {
    int64_t* genes = path.data() + layer * active;
    for (int64_t n = 0; n < active; ++n) {
      if (generator->Below(path.size()) == 0) MutateGene(modules, genes, n, generator);
    }
    KeepOneFree(modules, layer, genes, generator);
  }
  return path;
}

}  // namespace engram::strategies
