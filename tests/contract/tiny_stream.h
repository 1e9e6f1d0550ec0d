// A stream small enough to train on in milliseconds and hard enough to learn something from:
// Gaussian clouds around one corner of the cube a class, two classes a task.
//
// Threading: one thread. Ownership: a batch owns its rows; View() borrows them.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "strategies/api/learner.h"
#include "strategies/api/options.h"

namespace engram::strategies {

constexpr int64_t kTinyFeatures = 6;
constexpr int32_t kTinyTasks = 3;
// Sends nine of ten examples; the others are of three senders.
constexpr uint64_t kTinyFlooder = 7;
constexpr int32_t kTinyClasses = 2 * kTinyTasks;

struct TinyBatch {
  std::vector<float> features;
  std::vector<int32_t> classes;
  std::vector<int32_t> tasks;
  std::vector<uint64_t> sequences;
  std::vector<uint64_t> senders;

  int64_t rows() const { return static_cast<int64_t>(classes.size()); }
  BatchView View() const;
};

class TinyStream {
 public:
  explicit TinyStream(uint64_t seed) : random_(seed) {}

  // `rows` examples of the task's two classes, with the next log sequences.
  TinyBatch Next(int32_t task, int64_t rows);
  // One class only.
  TinyBatch NextOfClass(int32_t task, int32_t cls, int64_t rows);
  // A sequence for a record that is no example.
  uint64_t NextSequence() { return ++sequence_; }

 private:
  void AddRow(int32_t task, int32_t cls, TinyBatch* batch);

  std::mt19937_64 random_;
  uint64_t sequence_ = 0;
};

// Trains `steps` batches of the task and marks its boundary.
absl::Status LearnTask(Learner* learner, TinyStream* stream, int32_t task, int steps);

// Every byte of a learner's state.
struct WholeState {
  SavedLearner saved;
  std::vector<MemberPayload> payloads;
};
WholeState SaveWhole(const Learner& learner);
bool SameState(const WholeState& a, const WholeState& b);

// Scores of 64 fixed rows of a task.
std::vector<float> Probe(const Snapshot& snapshot, int32_t task);

}  // namespace engram::strategies
