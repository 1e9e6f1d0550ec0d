// What one run of a scenario is: its tasks, its model, its strategy, and how it is sent.
//
// Threading: plain values and free functions without state. Ownership: values.
// Failure: INVALID_ARGUMENT naming the option that is wrong and what could stand there.
// Bounds: 1 to 1 024 examples a message and a batch, as the server's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/datasets/row_set.h"
#include "client/scenario/scenario.h"
#include "client/scenario/schedule.h"
#include "engram/v1/model.pb.h"

namespace engram::scenario {

struct RunOptions {
  ScenarioOptions scenario;
  // As RowOptions has them.
  std::string data_path;
  bool previous_label = false;
  // Where the other options come from: a name of client/scenario/protocols.h.
  std::string protocol = "online";
  // As client/spec_flags.h reads it.
  std::string strategy = "finetune";
  std::vector<int64_t> hidden = {256, 256};
  std::string optimizer = "sgd";
  double learning_rate = 0.05;
  // As client/spec_flags.h reads them; empty: none.
  std::string penalty_schedule;
  std::string augmentation;
  // "growing", or "fixed": every output from the start. Task-incremental models have a head a task.
  std::string head = "growing";
  Schedule schedule;
  // Name of the model; empty: one is made up.
  std::string model;
  bool keep_model = false;
  // A checkpoint labelled after-TASK at the end of each task.
  bool checkpoints = false;
  // Predict all the while, and measure it.
  bool predict_load = false;
  int64_t message_examples = 250;
};

absl::Status CheckRunOptions(const RunOptions& options);

// The rows of --data, or drawn digits.
absl::StatusOr<datasets::RowSplit> LoadRows(const RunOptions& options);

// The tasks of the run. Refused, too, what only some scenarios can do: where the last batch of a
// pass is dropped, every task must fill one; a stream is learned once, and no rows are held out.
absl::StatusOr<Scenario> MakeRunScenario(const RunOptions& options,
                                         const datasets::RowSplit& source);

// The model that learns `scenario`: held-out rows come from the client, batches are cut at
// batch_size and boundaries only, and R is measured at boundaries only.
absl::StatusOr<v1::ModelSpec> BuildSpec(const RunOptions& options, const Scenario& scenario);

// A strategy list without its parameters, fit for a model's name: "experience-replay-ewc".
std::string StrategyStem(absl::string_view strategy);

// options.model, or SCENARIO-STRATEGY-sSEED-XXXXXX with random digits.
std::string ModelName(const RunOptions& options);

}  // namespace engram::scenario
