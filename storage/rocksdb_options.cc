#include "storage/rocksdb_options.h"

#include "rocksdb/cache.h"
#include "rocksdb/env.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/slice_transform.h"
#include "rocksdb/table.h"

namespace engram::storage {
namespace {

constexpr size_t kBlockCacheBytes = 32 << 20;
constexpr size_t kLogBufferBytes = 64 << 20;
constexpr size_t kEpisodicBufferBytes = 16 << 20;
constexpr size_t kSmallBufferBytes = 8 << 20;
// Above the buffers' sum a rarely written family would pin the write-ahead logs of all.
constexpr uint64_t kWalBytesMax = 256 << 20;
constexpr size_t kModelPrefixBytes = 8;
static_assert(kDiskReserveBytesLeast >= 2 * kLogBufferBytes + (64 << 20));

rocksdb::ColumnFamilyOptions FamilyOptions(size_t buffer_bytes, size_t block_bytes,
                                           const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options;
  options.write_buffer_size = buffer_bytes;
  options.compression = rocksdb::kNoCompression;  // floats and seals do not shrink
  options.force_consistency_checks = true;
  options.paranoid_file_checks = true;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = block_bytes;
  table.format_version = 5;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

// Keys of a model arrive in order, so its last insertion is the hint for the next.
rocksdb::ColumnFamilyOptions LogOptions(const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions options = FamilyOptions(kLogBufferBytes, 32 << 10, cache);
  options.memtable_insert_with_hint_prefix_extractor.reset(
      rocksdb::NewFixedPrefixTransform(kModelPrefixBytes));
  options.max_write_buffer_number = 3;
  options.target_file_size_base = kLogBufferBytes;
  return options;
}

}  // namespace

rocksdb::DBOptions MakeDbOptions() {
  rocksdb::DBOptions options;
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;
  options.paranoid_checks = true;
  options.track_and_verify_wals_in_manifest = true;
  options.verify_sst_unique_id_in_manifest = true;
  options.recycle_log_file_num = 0;
  options.manual_wal_flush = false;
  options.best_efforts_recovery = false;
  options.max_open_files = 256;
  options.max_background_jobs = 2;
  // A flush runs for milliseconds at a time; predictions go first.
  for (const auto pool : {rocksdb::Env::Priority::LOW, rocksdb::Env::Priority::HIGH}) {
    rocksdb::Env::Default()
        ->LowerThreadPoolCPUPriority(pool, rocksdb::CpuPriority::kLow)
        .PermitUncheckedError();
  }
  options.max_total_wal_size = kWalBytesMax;
  // One thread writes nearly everything; insertion hints need it so.
  options.allow_concurrent_memtable_write = false;
  options.enable_pipelined_write = false;
  options.stats_dump_period_sec = 0;
  return options;
}

// In the order of ColumnFamily; the default family is our kMeta.
std::vector<rocksdb::ColumnFamilyDescriptor> MakeColumnFamilies() {
  const std::shared_ptr<rocksdb::Cache> cache = rocksdb::NewLRUCache(kBlockCacheBytes);
  return {
      {rocksdb::kDefaultColumnFamilyName, FamilyOptions(kSmallBufferBytes, 4 << 10, cache)},
      {"log", LogOptions(cache)},
      {"episodic", FamilyOptions(kEpisodicBufferBytes, 16 << 10, cache)},
      {"importance", FamilyOptions(kEpisodicBufferBytes, 32 << 10, cache)},
      {"held-out", FamilyOptions(kSmallBufferBytes, 16 << 10, cache)},
      {"checkpoints", FamilyOptions(kSmallBufferBytes, 16 << 10, cache)},
  };
}

}  // namespace engram::storage
