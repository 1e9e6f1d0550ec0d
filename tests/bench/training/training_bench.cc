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

// Arguments: batch, exemplars a step, cached rows.
void FrozenReplayStep(benchmark::State& state) {
  const auto learner = Must(MakeLearner(
      Model(state.range(0), {{"experience_replay", {{"replay_batch_size", state.range(1)}}},
                             {"feature_extraction", {{"cached_rows", state.range(2)}}}})));
  Stream fill(state.range(0));
  for (int64_t seen = 0; seen < 20000; seen += state.range(0)) Must(learner->Train(fill.Next()));
  TrainLoop(state, learner.get(), state.range(0));
}

// GDumb's boundary over 1000 exemplars, on a frozen backbone. Argument: cached rows.
void FrozenGdumbBoundary(benchmark::State& state) {
  const auto learner = Must(MakeLearner(Model(
      10, {{"feature_extraction", {{"cached_rows", state.range(0)}}},
           {"gdumb", {{"passes", int64_t{32}}}}})));
  Stream fill(10);
  uint64_t boundary = 0;
  for (auto _ : state) {
    state.PauseTiming();
    for (int64_t seen = 0; seen < 1000; seen += 10) Must(learner->Train(fill.Next()));
    state.ResumeTiming();
    Must(learner->MarkBoundary({0, 0, ++boundary}));
  }
}

void AugmentedStep(benchmark::State& state, AugmentationOptions augmentation) {
  ModelOptions options = Model(state.range(0), {});
  options.augmentation = augmentation;
  options.augmentation.height = options.augmentation.width = 28;
  const auto learner = Must(MakeLearner(options));
  TrainLoop(state, learner.get(), state.range(0));
}

AugmentationOptions Crop() {
  AugmentationOptions augmentation;
  augmentation.flip_horizontal = true;
  augmentation.crop_padding = 4;
  return augmentation;
}

AugmentationOptions Turn() {
  AugmentationOptions augmentation;
  augmentation.rotate_degrees = 15;
  augmentation.scale = 0.1;
  return augmentation;
}

AugmentationOptions Noise() {
  AugmentationOptions augmentation;
  augmentation.noise = 0.1;
  return augmentation;
}

AugmentationOptions Mixup() {
  AugmentationOptions augmentation;
  augmentation.mixup_alpha = 0.2;
  return augmentation;
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
BENCHMARK(FrozenReplayStep)
    ->Args({10, 0, 0})
    ->Args({10, 0, 10000})
    ->Args({10, 64, 0})
    ->Args({10, 64, 10000})
    ->Args({128, 0, 0})
    ->Args({128, 0, 10000});
BENCHMARK(FrozenGdumbBoundary)->Arg(0)->Arg(10000)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(AugmentedStep, crop, Crop())->Arg(10)->Arg(128);
BENCHMARK_CAPTURE(AugmentedStep, turn, Turn())->Arg(10)->Arg(128);
BENCHMARK_CAPTURE(AugmentedStep, noise, Noise())->Arg(10)->Arg(128);
BENCHMARK_CAPTURE(AugmentedStep, mixup, Mixup())->Arg(10)->Arg(128);
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
