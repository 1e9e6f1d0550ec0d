// SampleLog.Submit beside its ceiling: the same bytes in a bare RocksDB loop with one synced
// WriteBatch at a time, in the same process and on the same disk. In process, nothing else runs.
//
//   store_bench --benchmark_format=json

#include <benchmark/benchmark.h>
#include <rocksdb/db.h>
#include <stdlib.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "storage/base/check.h"
#include "storage/base/mutex.h"
#include "storage/store.h"

namespace engram::storage {
namespace {

constexpr size_t kExampleBytes = 3150;
constexpr int kRecordsPerSubmit = 256;

class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "engram-bench-XXXXXX").string();
    ENGRAM_CHECK(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string Payload(uint64_t seed) {
  std::string payload(kExampleBytes, '\0');
  uint64_t state = seed * 0x9e3779b97f4a7c15 + 1;
  for (char& byte : payload) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    byte = static_cast<char>(state);
  }
  return payload;
}

Submission MakeSubmission(ModelUid model, uint64_t sequence, const std::vector<std::string>& pool) {
  Submission submission;
  submission.model = model;
  submission.records.reserve(pool.size());
  for (const std::string& payload : pool) submission.records.push_back({1, payload});
  submission.mark = ProducerMark{"bench", 1, sequence, 7};
  return submission;
}

std::vector<std::string> MakePool(int records) {
  std::vector<std::string> pool;
  for (int i = 0; i < records; ++i) pool.push_back(Payload(static_cast<uint64_t>(i)));
  return pool;
}

void CountExamples(benchmark::State& state, int64_t records) {
  state.SetItemsProcessed(state.iterations() * records);
  state.SetBytesProcessed(state.iterations() * records * static_cast<int64_t>(kExampleBytes));
}

// The ceiling. Each record is built as a message would be: its bytes copied once into a string.
void BM_BareRocksDb(benchmark::State& state) {
  const ScratchFolder folder;
  rocksdb::Options options;
  options.create_if_missing = true;
  options.write_buffer_size = 64 << 20;
  options.compression = rocksdb::kNoCompression;
  rocksdb::DB* opened = nullptr;
  ENGRAM_CHECK(rocksdb::DB::Open(options, folder.path() + "/db", &opened).ok());
  const std::unique_ptr<rocksdb::DB> db(opened);
  const std::vector<std::string> pool = MakePool(static_cast<int>(state.range(0)));
  rocksdb::WriteOptions write;
  write.sync = true;
  uint64_t sequence = 0;
  for (auto _ : state) {
    const std::vector<std::string> records = pool;
    rocksdb::WriteBatch batch;
    for (const std::string& record : records) {
      char key[16] = {};
      ++sequence;
      for (int i = 0; i < 8; ++i) key[8 + i] = static_cast<char>(sequence >> (56 - 8 * i));
      batch.Put(rocksdb::Slice(key, sizeof(key)), record);
    }
    ENGRAM_CHECK(db->Write(write, &batch).ok());
  }
  CountExamples(state, state.range(0));
}

class OpenedStore {
 public:
  OpenedStore() {
    StoreOptions options;
    options.folder = folder_.path() + "/store";
    auto store = OpenStore(options);
    ENGRAM_CHECK(store.ok());
    store_ = *std::move(store);
    auto model = store_->catalog().Create("bench", "", {});
    ENGRAM_CHECK(model.ok() && store_->log().Open(model->uid).ok());
    model_ = model->uid;
  }
  SampleLog& log() { return store_->log(); }
  ModelUid model() const { return model_; }

 private:
  ScratchFolder folder_;
  std::unique_ptr<Store> store_;
  ModelUid model_ = 0;
};

// Counts submissions that are on their way, and holds the submitter back at a window.
class Window {
 public:
  explicit Window(int limit) : limit_(limit) {}
  void Enter() {
    base::MutexLock lock(&mutex_);
    while (open_ >= limit_) changed_.Wait(&mutex_);
    ++open_;
  }
  void Leave(const absl::Status& status) {
    ENGRAM_CHECK(status.ok());
    base::MutexLock lock(&mutex_);
    --open_;
    changed_.NotifyOne();
  }
  void Drain() {
    base::MutexLock lock(&mutex_);
    while (open_ > 0) changed_.Wait(&mutex_);
  }

 private:
  const int limit_;
  base::Mutex mutex_;
  base::CondVar changed_;
  int open_ ABSL_GUARDED_BY(mutex_) = 0;
};

// range(0) records a submission, range(1) submissions on their way at a time: 1 is the same closed
// loop as the ceiling, 4 is what a stream does.
void BM_SampleLogSubmit(benchmark::State& state) {
  OpenedStore opened;
  const std::vector<std::string> pool = MakePool(static_cast<int>(state.range(0)));
  Window window(static_cast<int>(state.range(1)));
  uint64_t sequence = 0;
  for (auto _ : state) {
    Submission submission = MakeSubmission(opened.model(), ++sequence, pool);
    window.Enter();
    const auto first = opened.log().Submit(
        std::move(submission), [&window](const absl::Status& status) { window.Leave(status); });
    ENGRAM_CHECK(first.ok());
  }
  window.Drain();
  CountExamples(state, state.range(0));
}

// What the trainer does: reads in tens what was just committed.
void BM_SampleLogReadTail(benchmark::State& state) {
  OpenedStore opened;
  const std::vector<std::string> pool = MakePool(kRecordsPerSubmit);
  constexpr int kSubmits = 32;
  Window window(4);
  for (uint64_t i = 1; i <= kSubmits; ++i) {
    window.Enter();
    ENGRAM_CHECK(opened.log()
                     .Submit(MakeSubmission(opened.model(), i, pool),
                             [&window](const absl::Status& status) { window.Leave(status); })
                     .ok());
  }
  window.Drain();
  const auto batch = static_cast<size_t>(state.range(0));
  const Sequence last = opened.log().DurableSequence(opened.model());
  Sequence next = 1;
  for (auto _ : state) {
    auto records = opened.log().Read(opened.model(), next, batch, 64 << 20);
    ENGRAM_CHECK(records.ok() && !records->empty());
    next += records->size();
    if (next > last - batch) next = 1;
    benchmark::DoNotOptimize(records);
  }
  CountExamples(state, state.range(0));
}

BENCHMARK(BM_BareRocksDb)
    ->Arg(kRecordsPerSubmit)
    ->Arg(32)
    ->Arg(1)
    ->UseRealTime()
    ->MeasureProcessCPUTime();
BENCHMARK(BM_SampleLogSubmit)
    ->Args({kRecordsPerSubmit, 1})
    ->Args({kRecordsPerSubmit, 4})
    ->Args({32, 1})
    ->Args({32, 8})
    ->Args({1, 1})
    ->Args({1, 256})
    ->UseRealTime()
    ->MeasureProcessCPUTime();
BENCHMARK(BM_SampleLogReadTail)
    ->Arg(10)
    ->Arg(128)
    ->Arg(1024)
    ->UseRealTime()
    ->MeasureProcessCPUTime();

}  // namespace
}  // namespace engram::storage

BENCHMARK_MAIN();
