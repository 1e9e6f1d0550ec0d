// What one run of a scenario is: its tasks, its model, its strategy, and how it is sent.
//
// Threading: plain values and free functions without state. Ownership: values.
// Failure: INVALID_ARGUMENT naming the option that is wrong and what could stand there.
// Bounds: 1 to 1 024 examples a message, as the server's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/datasets/row_set.h"
#include "client/flags.h"
#include "client/scenario/scenario.h"
#include "engram/v1/model.pb.h"

namespace engram::scenario {

struct RunOptions {
  ScenarioOptions scenario;
  // As RowOptions has them.
  std::string data_path;
  bool previous_label = false;
  // How the stream is learned. "online": every example once, in batches of batch_size.
  std::string protocol = "online";
  // As client/spec_flags.h reads it.
  std::string strategy = "finetune";
  std::vector<int64_t> hidden = {256, 256};
  std::string optimizer = "sgd";
  double learning_rate = 0.05;
  // 0: 1 for a stream scored as it is learned, else 10.
  int64_t batch_size = 0;
  int64_t epochs = 1;
  // Name of the model; empty: one is made up.
  std::string model;
  bool keep_model = false;
  // A checkpoint labelled after-TASK at the end of each task.
  bool checkpoints = false;
  // Predict all the while, and measure it.
  bool predict_load = false;
  int64_t message_examples = 250;
};

// Options that decide which tasks there are; `incremental` takes the text of --scenario.
void AddScenarioFlags(RunOptions* options, std::string* incremental, client::FlagSet* flags);

// Options that decide how they are learned; `strategies` takes each --strategy.
void AddRunFlags(RunOptions* options, std::vector<std::string>* strategies, client::FlagSet* flags);

absl::Status CheckRunOptions(const RunOptions& options);

// What only some scenarios can do: a stream is learned once and has no rows to ask for meanwhile.
absl::Status CheckFits(const RunOptions& options, const Scenario& scenario);

// The rows of --data, or drawn digits.
absl::StatusOr<datasets::RowSplit> LoadRows(const RunOptions& options);

// The model that learns `scenario`: held-out rows come from the client, batches are cut at
// batch_size and boundaries only, and R is measured at boundaries only.
absl::StatusOr<v1::ModelSpec> BuildSpec(const RunOptions& options, const Scenario& scenario);

// A strategy list without its parameters, fit for a model's name: "experience-replay-ewc".
std::string StrategyStem(absl::string_view strategy);

// options.model, or SCENARIO-STRATEGY-sSEED-XXXXXX with random digits.
std::string ModelName(const RunOptions& options);

}  // namespace engram::scenario
