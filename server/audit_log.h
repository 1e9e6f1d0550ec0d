// What administrators did, for good: one line of JSON (v1.AuditEntry) a call in DATA_DIR/audit.
// What was refused goes to files of its own, so that a stranger who tries and tries pushes nothing
// out.
//
// Threading: Append from any thread, never blocks; one thread of its own writes, everything that
//   came in during the last sync at once. List blocks on the disk.
// Ownership: the destructor writes what is queued, then joins.
// Failure: Open: what the files answer. A line that cannot be written is logged as audit_lost, and
//   counted; the call that it is about is answered all the same, because it has happened.
// Bounds: the files' (rotating_file.h); 256 refusals wait, more are dropped and counted.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engram/v1/admin.pb.h"
#include "engram/v1/config.pb.h"
#include "google/protobuf/message.h"
#include "server/identity.h"
#include "server/rotating_file.h"
#include "storage/base/mutex.h"

namespace engram::server {

class AuditLog {
 public:
  static constexpr char kFolder[] = "audit";

  // Makes the folder `kFolder` in `data_dir`. `options` are filled in.
  static absl::StatusOr<std::unique_ptr<AuditLog>> Open(const std::string& data_dir,
                                                        const v1::Audit& options);
  ~AuditLog();
  AuditLog(const AuditLog&) = delete;
  AuditLog& operator=(const AuditLog&) = delete;

  // Fills in number and time. `done` runs, on the writing thread, once the line is on the disk or
  // lost; at once for a refusal that is dropped. May be empty.
  void Append(v1::AuditEntry entry, std::function<void()> done) ABSL_LOCKS_EXCLUDED(mutex_);
  // The newest first; those with a number below `before`, 0 = from the newest.
  std::vector<v1::AuditEntry> List(int limit, uint64_t before) const
      ABSL_LOCKS_EXCLUDED(files_mutex_);
  uint64_t lost() const { return lost_.load(std::memory_order_relaxed); }

 private:
  struct Waiting {
    v1::AuditEntry entry;
    std::function<void()> done;
  };

  AuditLog() = default;
  void Run() ABSL_LOCKS_EXCLUDED(mutex_, files_mutex_);
  void Write(std::vector<Waiting>* batch) ABSL_LOCKS_EXCLUDED(files_mutex_);
  void WriteTo(RotatingFile* file, const std::string& lines)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(files_mutex_);

  mutable base::Mutex files_mutex_;
  std::unique_ptr<RotatingFile> actions_ ABSL_GUARDED_BY(files_mutex_);
  std::unique_ptr<RotatingFile> refusals_ ABSL_GUARDED_BY(files_mutex_);
  uint64_t next_number_ ABSL_GUARDED_BY(files_mutex_) = 1;
  std::atomic<uint64_t> lost_{0};
  base::Mutex mutex_;
  base::CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  size_t refusals_waiting_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Waiting> queue_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

// An entry about a call: who and how it ended. `caller` null: a stranger.
v1::AuditEntry MakeAuditEntry(absl::string_view method, const Identity* caller,
                              const std::string& peer, const absl::Status& outcome);
void SetOutcome(const absl::Status& outcome, v1::AuditEntry* entry);
// What a request names: its model, and which checkpoint, label or producer.
void NameSubject(const google::protobuf::Message& request, v1::AuditEntry* entry);

}  // namespace engram::server
