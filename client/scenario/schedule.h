// How often and in which order a task's rows are learned: passes of shuffled rows, cut in batches.
//
// Both runners (through a server, in process) send exactly these rows, so that one seed of each is
// the same learner.
//
// Threading: plain values and free functions without state. Ownership: values.
// Failure: the checks answer INVALID_ARGUMENT naming the option; the rest expects that they passed.
// Bounds: 1 to 1 000 epochs, at most 10 000 000 iterations; a pass in memory, 8 bytes a row.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "client/scenario/scenario.h"

namespace engram::scenario {

struct Schedule {
  // Examples a step; 1 to 1 024, as the server's.
  int64_t batch_size = 10;
  // Passes over each task.
  int64_t epochs = 1;
  // Steps a task: passes go on until then, whatever `epochs` says. 0 = epochs count.
  int64_t iterations = 0;
  // A pass ends with its last whole batch. Otherwise passes run on into each other, and only the
  // last batch of a task may be smaller.
  bool drop_last = false;
};

absl::Status CheckSchedule(const Schedule& schedule);
// Where the last batch of a pass is dropped, every task must fill one.
absl::Status CheckBatchesFill(const Schedule& schedule, const Scenario& scenario);

// Examples that a task, or the whole scenario, learns.
int64_t ScheduledExamples(const Task& task, const Schedule& schedule);
int64_t ScheduledExamples(const Scenario& scenario, const Schedule& schedule);

// The rows of pass `pass`, from 0: the first is in the order of task.train, each other one is
// shuffled anew. Empty: the task is over.
std::vector<TaskRow> RowsOfPass(const Task& task, const Schedule& schedule, uint64_t seed,
                                int64_t pass);

}  // namespace engram::scenario
