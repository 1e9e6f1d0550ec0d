// Drawn digits for tests that teach a small network with them, honestly or not.
//
// Threading: free functions. Failure: of the generator: CHECK; of a call: a test's expectation.
#pragma once

#include <cstdint>
#include <string>

#include "client/datasets/digit_generator.h"
#include "engram/v1/learning.pb.h"
#include "engram/v1/model.pb.h"
#include "tests/testing/process/stubs.h"

namespace engram::integration {

inline constexpr int kTestDigits = 1000;

// 10 000 to learn from and kTestDigits others, drawn once a process.
const datasets::RowSplit& Digits();

// 64 hidden units, rate 0.1; nothing is held out, or evaluated, by itself.
v1::ModelSpec DigitSpec();

// `count` rows from `begin`, round the set. A lie is the next digit.
v1::LearnBatchRequest DigitRows(const datasets::RowSet& set, int64_t begin, int count,
                                bool lie = false, v1::Split split = v1::TRAIN);

// The scores of the first 100 test digits, bit by bit; version 0 is the one served.
std::string DigitScores(const testing::Stubs& stubs, const std::string& model,
                        uint64_t version = 0);
// On the test digits, by what is served.
double DigitAccuracy(const testing::Stubs& stubs, const std::string& model);

}  // namespace engram::integration
