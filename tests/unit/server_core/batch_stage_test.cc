// What a learner is told of who sent an example: what the log says, and nothing without a cap.
#include "server/batch_stage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "server/message_check.h"
#include "server/sender_hash.h"
#include "server/spec_options.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::MakeExample;
using testing::MakeMessage;
using testing::MakeSpec;
using testing::ModelBench;

v1::ModelSpec CappedSpec() {
  v1::ModelSpec spec = MakeSpec();
  spec.set_max_sender_share(0.2);
  return spec;
}

// Of one cut over an example of each producer; "" as format 1 wrote them, "-" a tombstone.
std::vector<uint64_t> SendersOf(const v1::ModelSpec& spec,
                                const std::vector<std::string>& producers) {
  StreamState state = StreamState::Fresh(spec);
  BatchStage stage(spec);
  storage::LogRecord record;
  for (const std::string& producer : producers) {
    storage::NewRecord example = ToRecords(MakeMessage(1, {MakeExample(1)})).front();
    ++record.sequence;
    record.kind = example.kind;
    record.payload = example.payload;
    record.producer = producer;
    if (producer == "-") {
      record.kind = static_cast<uint8_t>(RecordKind::kErased);
      record.payload = internal::ErasedRecord().SerializeAsString();
    }
    EXPECT_TRUE(stage.Add(record, state).ok());
  }
  const absl::Span<const uint64_t> senders = stage.Cut(&state, nullptr).senders;
  return {senders.begin(), senders.end()};
}

TEST(BatchStageTest, SendersAreTheProducersOfTheRecords) {
  const uint64_t a = SenderHash("a"), b = SenderHash("b");
  EXPECT_THAT(SendersOf(*CompleteSpec(CappedSpec()), {"a", "b", "b", "-", "", "a"}),
              ElementsAre(a, b, b, 0, a));
  EXPECT_NE(a, b);
  EXPECT_NE(a, 0u);
}

TEST(BatchStageTest, WithoutACapThereAreNone) {
  EXPECT_THAT(SendersOf(*CompleteSpec(MakeSpec()), {"a", "b"}), IsEmpty());
}

TEST(BatchStageTest, ASenderIsTheSameNumberInEveryBuild) {
  EXPECT_EQ(SenderHash("abc"), 0xba7816bf8f01cfeau);  // FIPS 180-2, B.1
}

TEST(BatchStageTest, AReplayedLogNamesTheSameSenders) {
  ModelBench bench(CappedSpec());
  ModelBench open;
  for (ModelBench* each : {&bench, &open}) {
    for (int message = 0; message < 4; ++message) each->LearnNow(testing::MakeExamples(3));
    each->Settle();
  }
  const uint64_t digest = bench.learner().digest();
  EXPECT_NE(digest, open.learner().digest());
  bench.Restart();
  bench.Settle();
  EXPECT_EQ(bench.learner().digest(), digest);
}

}  // namespace
}  // namespace engram::server
