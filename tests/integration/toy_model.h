// One model of a real server with a toy stream: each verb is one call over the generated stubs that
// must succeed (the test fails otherwise), with the producer's counter kept here.
//
// Threading: one thread. Ownership: borrows the stubs.
// Failure: gtest expectations.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/testing/process/stubs.h"
#include "tests/testing/process/toy_examples.h"

namespace engram::integration {

// feature_count 16, one hidden layer, nothing held out by itself, no live evaluation.
v1::ModelSpec ToySpec();

class ToyModel {
 public:
  ToyModel(const testing::Stubs* stubs, std::string name, std::string producer = "p")
      : stubs_(stubs), name_(std::move(name)), producer_(std::move(producer)) {}

  void Create(const v1::ModelSpec& spec);

  // `count` examples that go through `labels` in turn, in messages of at most 100. Returns the last
  // durable sequence.
  uint64_t Learn(const std::vector<int64_t>& labels, int count);
  uint64_t HoldOut(const std::vector<int64_t>& labels, int count, const std::string& task = "");
  v1::MarkBoundaryResponse Boundary(const std::string& next_task = "");
  // One message as it is; its sequence is set here.
  testing::Outcome<v1::LearnBatchResponse> Send(v1::LearnBatchRequest request);

  void WaitApplied(bool evaluated = false);
  v1::PredictResponse Predict(const std::vector<int64_t>& labels, const std::string& task = "",
                              uint64_t version = 0);
  // Share of fresh rows of these labels whose predicted label is right.
  double Accuracy(const std::vector<int64_t>& labels, const std::string& task = "");
  v1::Report Report();
  v1::Model Describe();
  v1::Checkpoint Checkpoint(const std::string& label = "");
  std::vector<v1::Checkpoint> Checkpoints();
  v1::RollbackResponse Rollback(const std::string& checkpoint);

  const std::string& name() const { return name_; }
  uint64_t producer_sequence() const { return sequence_; }
  // After a restart on another connection.
  void UseStubs(const testing::Stubs* stubs) { stubs_ = stubs; }

 private:
  uint64_t SendExamples(const std::vector<int64_t>& labels, int count, v1::Split split,
                        const std::string& task);

  const testing::Stubs* stubs_;
  const std::string name_;
  const std::string producer_;
  const testing::ToyShape shape_;
  uint64_t sequence_ = 0;
  uint64_t next_index_ = 0;
};

// The bits of all scores of a reply, in row order.
std::string ScoreBits(const v1::PredictResponse& response);

}  // namespace engram::integration
