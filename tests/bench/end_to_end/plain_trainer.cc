#include <fstream>

#include "strategies/api/compute.h"
#include "tests/bench/end_to_end/bare_roles.h"
#include "tests/bench/end_to_end/workload.h"
#include "tests/bench/training/plain_loop.h"

namespace engram::bench {

void TrainPlain(const std::string& ready_file, int batch) {
  strategies::SetComputeThreads(1);
  strategies::EnterComputeThread();
  const FlatExamples flat = MakeFlat(512);
  const std::vector<int64_t> classes(flat.classes.begin(), flat.classes.end());
  strategies::PlainLoop loop(kFeatureCount, {256, 256}, kClassCount, 0.05);
  const size_t steps = 512 / static_cast<size_t>(batch);
  for (size_t step = 0;; ++step) {
    const size_t row = (step % steps) * static_cast<size_t>(batch);
    loop.Step(flat.features.data() + row * kFeatureCount, classes.data() + row, batch);
    if (step == 200) std::ofstream(ready_file) << "ready";
  }
}

}  // namespace engram::bench
