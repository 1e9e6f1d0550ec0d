// The judge behind spec.guard: whether an evaluation shows that a task has fallen below what it
// could do before. What it knows are the measurements that it was shown; those that a rollback
// undid do not count while they are undone. Nothing here is part of the replicated state.
//
// Threading: one thread at a time.
// Failure: none. A column is judged from its second measurement on, and only with kRowsMin rows.
// Bounds: kMeasurementsMax measurements a task; the best of them is never the one that goes.
#pragma once

#include <cstdint>
#include <vector>

#include "engram/v1/evaluation.pb.h"
#include "server/lineage.h"

namespace engram::server {

class Canary {
 public:
  static constexpr int64_t kRowsMin = 30;
  static constexpr size_t kMeasurementsMax = 32;

  // A task that lies too low now and did not at its measurement before.
  struct Fall {
    int32_t task = 0;  // column
    double best = 0;
    double now = 0;
    int64_t rows = 0;
    uint64_t best_version = 0;
    uint64_t good_version = 0;  // of the measurement before
  };
  struct Verdict {
    int judged = 0;        // columns that had a best to be held against
    int low = 0;           // of them, those that lie too low, also since earlier
    double drop = 0;       // the largest of any
    std::vector<Fall> falls;
    bool good() const { return judged > 0 && low == 0; }
  };

  // `row.sequence` stands, and rows come in its order. `allowed`: spec.guard.canary_drop.
  Verdict Judge(const v1::AccuracyRow& row, double allowed, const Rewinds& rewinds);

 private:
  struct Measurement {
    uint64_t version = 0;
    double accuracy = 0;
  };

  static void Keep(const Measurement& measured, std::vector<Measurement>* history);

  std::vector<std::vector<Measurement>> histories_;  // by column, oldest first
};

}  // namespace engram::server
