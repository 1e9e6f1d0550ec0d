// The one RocksDB instance, as the stores of this room use it: strings in, absl::Status out, and
// the memory of the first failed write. Private to this room.
//
// Threading: every method from any thread.
// Ownership: owns the database; destroyed after every store that uses it.
// Failure: a failed write is sticky, and so is an error of RocksDB's own threads that is more than
//   soft: every later Write answers FAILED_PRECONDITION "storage is read-only: ..." (RocksDB cannot
//   tell what reached the disk after a failed sync); reads go on. A write that the disk has no room
//   for is RESOURCE_EXHAUSTED and never reaches RocksDB; so is one after a flush of RocksDB's own
//   met a full disk, until there is room: all that it would have written is in the write-ahead log.
//   Corruption is DATA_LOSS, other I/O errors UNAVAILABLE. Messages hold no path of the machine.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "rocksdb/db.h"
#include "rocksdb/metadata.h"
#include "rocksdb/sst_file_manager.h"
#include "rocksdb/write_batch.h"
#include "storage/base/mutex.h"
#include "storage/high_water.h"
#include "storage/rocksdb_options.h"
#include "storage/store_folder.h"
#include "storage/witness_check.h"
#include "storage/write_gate.h"

namespace engram::storage {

inline rocksdb::Slice ToSlice(absl::string_view bytes) { return {bytes.data(), bytes.size()}; }
inline absl::string_view ToView(const rocksdb::Slice& slice) {
  return {slice.data(), slice.size()};
}

class RocksDbEngine {
 public:
  enum class Durability {
    kSynced,       // on the disk when Write returns
    kWithTheNext,  // on the disk with the next synced write, in order
  };

  // Who asked the disk for room: Write itself, or its caller before.
  enum class Room { kAsk, kGranted };

  // `disk` may be null, and outlives the engine. Made, or as InspectStore found it whole.
  static absl::StatusOr<std::unique_ptr<RocksDbEngine>> Open(const std::string& folder,
                                                             const StoreOptions& options,
                                                             const StoreHooks& hooks,
                                                             DiskWatch* disk = nullptr);
  // Of a store that is there: changes not one byte of it, and refuses every Write.
  // kLenient also opens what lacks a table or has a bad one, for what the others still say.
  enum class Reading { kStrict, kLenient };
  static absl::StatusOr<std::unique_ptr<RocksDbEngine>> OpenForReading(
      const std::string& folder, const StoreHooks& hooks, Reading reading = Reading::kStrict);
  ~RocksDbEngine();

  absl::Status Write(rocksdb::WriteBatch* batch, Durability durability, Room room = Room::kAsk);
  // OK, or RESOURCE_EXHAUSTED while RocksDB stands still because a flush met a full disk. With room
  // again it makes up for that flush, and blocks so long.
  absl::Status GoOn();
  // For a batch of one.
  absl::Status Put(ColumnFamily family, absl::string_view key, absl::string_view value,
                   Durability durability);
  absl::Status Delete(ColumnFamily family, absl::string_view key, Durability durability);

  absl::StatusOr<absl::optional<std::string>> Get(ColumnFamily family, absl::string_view key) const;
  std::vector<absl::StatusOr<std::string>> MultiGet(ColumnFamily family,
                                                    const std::vector<std::string>& keys) const;

  // Visits [begin, end) in order until `visit` returns false.
  using Visit = absl::FunctionRef<bool(absl::string_view key, absl::string_view value)>;
  absl::Status Scan(ColumnFamily family, absl::string_view begin, absl::string_view end,
                    Visit visit) const;
  // The last key in [begin, end), or nullopt.
  absl::StatusOr<absl::optional<std::string>> LastKey(ColumnFamily family, absl::string_view begin,
                                                      absl::string_view end) const;

  // Deletes [begin, end): whole files where they lie inside, single keys elsewhere; never a range
  // tombstone. The caller keeps reads out of the range: a file that goes may have hidden older
  // versions. The search for single keys starts at `keys_from`, past the tombstones of earlier
  // calls. Returns how many keys were deleted singly.
  absl::StatusOr<int64_t> RemoveRange(ColumnFamily family, absl::string_view begin,
                                      absl::string_view end, absl::string_view keys_from,
                                      Durability durability);

  // After it no file holds what was overwritten or deleted in these ranges, nor what any
  // write-ahead log of now does. Blocks; writes and reads go on beside it.
  struct KeyRange {
    ColumnFamily family;
    std::string begin;
    std::string end;
  };
  absl::Status Purge(const std::vector<KeyRange>& ranges);

  rocksdb::ColumnFamilyHandle* handle_of(ColumnFamily family) const {
    return handles_[static_cast<size_t>(family)];
  }
  // OK, or why nothing can be written any more.
  absl::Status Health() const;
  // Called once with Health's answer when that is no longer OK, on the thread that noticed; at once
  // when it is not OK now. The observer must not block. Set once.
  void ObserveHealth(std::function<void(const absl::Status&)> observer);
  // Turns read-only for damage that was found without a write.
  void Condemn(const absl::Status& damage) { Fail(damage).IgnoreError(); }

  // Reads every table file and checks each block. `pace` is told the bytes of each file after it
  // was read and ends the tour with false. DATA_LOSS names the first damaged file.
  using Pace = absl::FunctionRef<bool(int64_t bytes)>;
  absl::Status VerifyTables(Pace pace) const;
  int64_t TableBytes() const;
  OpenedEvidence Evidence() const;

  // The database at one moment, as files: those beyond `size` grow on, none goes while they are
  // looked at.
  struct Moment {
    uint64_t last_write = 0;
    std::chrono::duration<double> pause{0};  // that writes waited
    std::vector<rocksdb::LiveFileStorageInfo> files;
  };
  // Writes wait only while the moment is taken and `then` runs, which must not take a lock that a
  // writer may hold; `look` runs while they go on.
  absl::Status Snapshot(absl::FunctionRef<absl::Status()> then,
                        absl::FunctionRef<absl::Status(const Moment& moment)> look);

  // Notes in HIGHWATER that everything written so far is durable, which it makes so first. Does
  // nothing when that was done less than `kWitnessPeriod` ago; the committer calls it.
  void Witness();
  // Something was written since.
  bool WitnessIsBehind() const;
  static constexpr std::chrono::milliseconds kWitnessPeriod{1000};

 private:
  class ErrorListener;

  RocksDbEngine(std::string folder, bool sync) : folder_(std::move(folder)), sync_(sync) {}

  std::string DatabaseFolder() const { return folder_ + "/db"; }
  absl::Status Convert(const rocksdb::Status& status) const;
  absl::Status Fail(const absl::Status& reason);
  rocksdb::DBOptions UseFileSystem(const StoreHooks& hooks);
  absl::Status OpenDatabase(const StoreHooks& hooks, bool created);
  absl::Status OpenWitness(bool created);
  void AwaitWrites() const;
  absl::Status AskForRoom(const rocksdb::WriteBatch& batch) const;
  void LimitSpace(const DiskSpace& space) const;
  absl::Status VerifyTable(const std::string& path) const;
  absl::Status TakeMoment(absl::FunctionRef<absl::Status()> then, Moment* moment);
  // Makes durable what was written; OK when HIGHWATER may say so.
  absl::Status SyncWrites();
  void AdvanceHighWater(uint64_t reached);

  const std::string folder_;
  const bool sync_;
  DiskWatch* disk_ = nullptr;
  std::unique_ptr<rocksdb::Env> env_;  // only around a test's file system
  std::shared_ptr<rocksdb::SstFileManager> space_;
  std::unique_ptr<rocksdb::DB> db_;
  std::vector<rocksdb::ColumnFamilyHandle*> handles_;
  WriteGate gate_;
  std::unique_ptr<HighWater> high_water_;  // the committer's, and the destructor's
  std::atomic<uint64_t> witnessed_{0};
  std::chrono::steady_clock::time_point witnessed_at_;
  std::atomic<bool> failed_{false};  // set after failure_: spares the lock while all is well
  std::atomic<uint64_t> flushes_owed_{0};  // that met a full disk
  std::atomic<uint64_t> flushes_made_up_{0};
  base::Mutex going_on_;
  mutable base::Mutex mutex_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::function<void(const absl::Status&)> observer_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::storage
