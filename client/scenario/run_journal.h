// Results of finished runs in a file, so that a long list of runs goes on where it stopped.
//
// A line is {"run":FINGERPRINT,"result":{...}}, the result object as printed. The fingerprint
// covers everything that decides a result: the rows, labels and pictures of the tasks, the schedule
// and the model's spec, the seed among them. Change any option and the run is done again.
//
// Threading: one thread; one process a file.
// Ownership: owns its file handle.
// Failure: Open answers DATA_LOSS naming the line that is no result, PERMISSION_DENIED when the
//   file cannot be written. A last line without its end, left by a crash, is dropped. Append:
//   DATA_LOSS when the line did not reach the file.
// Bounds: the whole file in memory, about 1 KiB a run.
#pragma once

#include <cstdint>
#include <fstream>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/datasets/row_set.h"
#include "client/json.h"
#include "client/scenario/run_options.h"
#include "client/scenario/scenario.h"

namespace engram::scenario {

class RunJournal {
 public:
  static absl::StatusOr<std::unique_ptr<RunJournal>> Open(const std::string& path);

  // Null when no run of this fingerprint is there.
  const client::Json* Find(const std::string& fingerprint) const;
  absl::Status Append(const std::string& fingerprint, const client::Json& result);

 private:
  explicit RunJournal(const std::string& path) : path_(path) {}
  absl::Status Load();

  const std::string path_;
  std::map<std::string, client::Json> results_;
  std::ofstream file_;
};

// Both 16 hexadecimal digits; the rows' once for many runs.
std::string RowsFingerprint(const datasets::RowSplit& source);
absl::StatusOr<std::string> RunFingerprint(const RunOptions& options, const Scenario& scenario,
                                           const std::string& rows_fingerprint);

}  // namespace engram::scenario
