#include "tests/crash/message_plan.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "tests/testing/process/toy_examples.h"

namespace engram::crash {
namespace {

constexpr uint64_t kBoundaryEvery = 60;  // messages, about one a life of the server
constexpr int kExamplesMax = 48;
constexpr uint64_t kClassesMax = 10;

uint64_t Draw(const MessagePlan& plan, uint64_t sequence, uint64_t what) {
  uint64_t name = 0;
  for (const char c : plan.producer) name = testing::Mix(name ^ static_cast<unsigned char>(c));
  return testing::Mix(testing::Mix(plan.seed ^ name) ^ testing::Mix(sequence * 4096 + what));
}

}  // namespace

bool MessagePlan::IsBoundary(uint64_t sequence) const {
  return marks_boundaries && Draw(*this, sequence, 1) % kBoundaryEvery == 0;
}

int MessagePlan::ExampleCount(uint64_t sequence) const {
  if (IsBoundary(sequence)) return 0;
  return 1 + static_cast<int>(Draw(*this, sequence, 2) % kExamplesMax);
}

std::string MessagePlan::Id(uint64_t sequence, int index) const {
  return absl::StrCat(producer, ".", sequence, ".", index);
}

v1::LearnMessage MessagePlan::Message(uint64_t sequence) const {
  v1::LearnMessage message;
  message.set_producer_sequence(sequence);
  if (IsBoundary(sequence)) {
    message.mutable_boundary()->set_next_task(Id(sequence, 0));
    return message;
  }
  // Classes arrive as the stream goes on, so that heads grow between kills.
  const uint64_t classes = std::min<uint64_t>(kClassesMax, 2 + sequence / 50);
  const testing::ToyShape shape{kFeatureCount, 7, 1.5F};
  for (int i = 0; i < ExampleCount(sequence); ++i) {
    const uint64_t draw = Draw(*this, sequence, 100 + static_cast<uint64_t>(i));
    auto* example = message.add_examples();
    *example = testing::ToyExample(shape, static_cast<int64_t>(draw % classes), draw);
    example->set_id(Id(sequence, i));
    if (draw % 41 == 0) example->set_split(v1::HELD_OUT);
    if (draw % 13 == 0) example->set_weight(0.5F);
  }
  return message;
}

}  // namespace engram::crash
