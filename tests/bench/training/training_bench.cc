// In process, one thread: training steps of MLP 784-256-256-10, SGD 0.05, beside the plain LibTorch
// loop of the same network. Run with OMP_NUM_THREADS=1 --benchmark_format=json.
#include <benchmark/benchmark.h>

#include <vector>

#include "strategies/api/compute.h"
#include "strategies/api/learner.h"
#include "tests/bench/training/plain_loop.h"
#include "tests/bench/training/workload.h"

namespace engram::strategies {
namespace {

void TrainLoop(benchmark::State& state, Learner* learner, int64_t batch) {
  Stream stream(batch);
  for (int i = 0; i < 50; ++i) Must(learner->Train(stream.Next()));
  for (auto _ : state) benchmark::DoNotOptimize(Must(learner->Train(stream.Next())).loss);
  state.SetItemsProcessed(state.iterations() * batch);
}

void PlainLibTorchStep(benchmark::State& state) {
  PlainLoop loop(kFeatures, kHidden, kClasses, 0.05);
  Stream stream(state.range(0));
  const Examples& examples = SharedExamples();
  const auto step = [&] {
    const BatchView view = stream.Next();
    const int64_t at = view.classes.data() - examples.classes.data();
    return loop.Step(view.features.data(), examples.long_classes.data() + at, view.rows);
  };
  for (int i = 0; i < 50; ++i) step();
  for (auto _ : state) benchmark::DoNotOptimize(step());
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void FinetuneStep(benchmark::State& state) {
  const auto learner = Must(MakeLearner(Model(state.range(0), {})));
  TrainLoop(state, learner.get(), state.range(0));
}

void ReplayStep(benchmark::State& state) {
  const auto learner = Must(MakeLearner(Model(state.range(0), {{"experience_replay", {}}})));
  Stream fill(state.range(0));
  for (int64_t seen = 0; seen < 2000; seen += state.range(0)) Must(learner->Train(fill.Next()));
  TrainLoop(state, learner.get(), state.range(0));
}

// The plain loop over as many rows as a replay step sees.
void PlainLibTorchReplayRows(benchmark::State& state) {
  PlainLoop loop(kFeatures, kHidden, kClasses, 0.05);
  Stream stream(2 * state.range(0));
  const Examples& examples = SharedExamples();
  for (auto _ : state) {
    const BatchView view = stream.Next();
    const int64_t at = view.classes.data() - examples.classes.data();
    benchmark::DoNotOptimize(
        loop.Step(view.features.data(), examples.long_classes.data() + at, view.rows));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void EwcStep(benchmark::State& state) {
  const int64_t batch = state.range(0);
  const auto learner =
      Must(MakeLearner(Model(batch, {{"ewc", {{"fisher_examples", int64_t{200}}}}})));
  Stream fill(batch);
  for (int64_t task = 0; task < state.range(1); ++task) {
    for (int64_t seen = 0; seen < 64; seen += batch) Must(learner->Train(fill.Next()));
    Must(learner->MarkBoundary({0, 0, static_cast<uint64_t>(task)}));
  }
  TrainLoop(state, learner.get(), batch);
}

void TakeSnapshot(benchmark::State& state) {
  const auto learner = Must(MakeLearner(Model(10, {})));
  Stream stream(10);
  for (int i = 0; i < 10; ++i) Must(learner->Train(stream.Next()));
  uint64_t version = 0;
  for (auto _ : state) benchmark::DoNotOptimize(Must(learner->TakeSnapshot(++version)));
}

void PredictRows(benchmark::State& state) {
  const auto learner = Must(MakeLearner(Model(10, {})));
  Stream stream(10);
  for (int i = 0; i < 10; ++i) Must(learner->Train(stream.Next()));
  const auto snapshot = Must(learner->TakeSnapshot(1));
  const int64_t rows = state.range(0);
  std::vector<float> scores;
  const auto features =
      absl::MakeConstSpan(SharedExamples().features).first(static_cast<size_t>(rows * kFeatures));
  for (auto _ : state) {
    if (!snapshot->Predict(features, rows, {}, &scores).ok()) std::abort();
    benchmark::DoNotOptimize(scores.data());
  }
  state.SetItemsProcessed(state.iterations() * rows);
}

void PlainLibTorchForward(benchmark::State& state) {
  PlainLoop loop(kFeatures, kHidden, kClasses, 0.05);
  for (auto _ : state) {
    benchmark::DoNotOptimize(loop.Forward(SharedExamples().features.data(), state.range(0)));
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void Save(benchmark::State& state) {
  const auto learner = Must(MakeLearner(Model(10, {})));
  Stream stream(10);
  Must(learner->Train(stream.Next()));
  for (auto _ : state) {
    benchmark::DoNotOptimize(Must(learner->Save([](const MemberKey&) { return true; })));
  }
}

BENCHMARK(PlainLibTorchStep)->Arg(1)->Arg(10)->Arg(32)->Arg(128);
BENCHMARK(FinetuneStep)->Arg(1)->Arg(10)->Arg(32)->Arg(128);
BENCHMARK(PlainLibTorchReplayRows)->Arg(10)->Arg(32)->Arg(128);
BENCHMARK(ReplayStep)->Arg(10)->Arg(32)->Arg(128);
BENCHMARK(EwcStep)->Args({10, 1})->Args({10, 100})->Args({32, 1})->Args({128, 1});
BENCHMARK(PlainLibTorchForward)->Arg(1)->Arg(10)->Arg(128);
BENCHMARK(PredictRows)->Arg(1)->Arg(10)->Arg(128);
BENCHMARK(TakeSnapshot);
BENCHMARK(Save);

}  // namespace
}  // namespace engram::strategies

int main(int argc, char** argv) {
  engram::strategies::SetComputeThreads(1);
  const auto compute = engram::strategies::DescribeCompute();
  benchmark::AddCustomContext("compute", compute.Fingerprint());
  benchmark::AddCustomContext("where", "in process, one thread, training alone");
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
