#include "strategies/api/snapshot.h"

#include <gmock/gmock.h>

#include <atomic>
#include <mutex>
#include <thread>

#include "strategies/api/learner.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kFeatures = 16;

struct Served {
  explicit Served(HeadKind head = HeadKind::kGrowing) : stream(kFeatures, 4) {
    ModelOptions options = SmallModel(kFeatures);
    options.head.kind = head;
    options.head.head_classes = 4;
    learner = *MakeLearner(options);
  }

  void Train(const std::vector<int32_t>& classes, int32_t task = 0, int steps = 1) {
    for (int i = 0; i < steps; ++i) {
      ASSERT_TRUE(learner->Train(stream.Next(classes, task).View()).ok());
    }
  }
  std::shared_ptr<const Snapshot> Take(uint64_t version) { return *learner->TakeSnapshot(version); }

  SmallStream stream;
  std::unique_ptr<Learner> learner;
};

std::vector<float> Scores(const Snapshot& snapshot, const SmallBatch& rows,
                          const std::vector<int32_t>& tasks = {}) {
  std::vector<float> scores;
  const absl::Status status =
      snapshot.Predict(rows.features, static_cast<int64_t>(rows.classes.size()), tasks, &scores);
  EXPECT_TRUE(status.ok()) << status;
  return scores;
}

TEST(SnapshotTest, ScoresAreADistributionThatFavoursTheLearnedClass) {
  Served served;
  served.Train({0, 1, 2}, 0, 200);
  const auto snapshot = served.Take(600);
  EXPECT_EQ(snapshot->version(), 600u);
  EXPECT_EQ(snapshot->class_count(), 3);
  const auto scores = Scores(*snapshot, served.stream.Next({2, 0}));
  ASSERT_EQ(scores.size(), 6u);
  EXPECT_NEAR(scores[0] + scores[1] + scores[2], 1, 1e-5);
  EXPECT_GT(scores[2], 0.8f);
  EXPECT_GT(scores[3], 0.8f);
}

TEST(SnapshotTest, ASnapshotDoesNotChangeWhileTrainingGoesOn) {
  Served served;
  served.Train({0, 1});
  const auto snapshot = served.Take(2);
  const SmallBatch rows = served.stream.Next({0, 1});
  const auto before = Scores(*snapshot, rows);
  served.Train({0, 1, 2, 3}, 0, 50);
  served.Train({4, 5, 6, 7, 8, 9, 10, 11});
  served.Train({12, 13, 14, 15, 16, 17, 18, 19});
  const auto later = served.Take(99);
  EXPECT_EQ(Scores(*snapshot, rows), before);
  EXPECT_EQ(snapshot->class_count(), 2);
  EXPECT_EQ(snapshot->version(), 2u);
  EXPECT_EQ(later->class_count(), 20);
}

TEST(SnapshotTest, ASnapshotOutlivesItsLearner) {
  std::shared_ptr<const Snapshot> snapshot;
  SmallBatch rows;
  {
    Served served;
    served.Train({0, 1});
    snapshot = served.Take(2);
    rows = served.stream.Next({0});
  }
  EXPECT_EQ(Scores(*snapshot, rows).size(), 2u);
}

TEST(SnapshotTest, ABufferIsReusedOnlyWhenNobodyHoldsIt) {
  Served served;
  served.Train({0, 1});
  auto first = served.Take(1);
  const Snapshot* address = first.get();
  const auto second = served.Take(2);
  EXPECT_NE(second.get(), address);
  first.reset();
  EXPECT_EQ(served.Take(3).get(), address);
}

TEST(SnapshotTest, BeforeAnyClassTheResultIsEmpty) {
  Served served;
  const auto snapshot = served.Take(0);
  EXPECT_EQ(snapshot->class_count(), 0);
  EXPECT_TRUE(Scores(*snapshot, served.stream.Next({0})).empty());
}

TEST(SnapshotTest, AFixedHeadServesItsClassesFromTheStart) {
  Served served(HeadKind::kFixed);
  EXPECT_EQ(Scores(*served.Take(0), served.stream.Next({0})).size(), 4u);
}

TEST(SnapshotTest, ClassesTrainedOutOfOrderKeepTheirColumns) {
  Served served;
  served.Train({3, 1}, 0, 200);
  const auto snapshot = served.Take(1);
  EXPECT_EQ(snapshot->class_count(), 4);
  const auto scores = Scores(*snapshot, served.stream.Next({3}));
  EXPECT_EQ(scores[0], 0.0f);
  EXPECT_EQ(scores[2], 0.0f);
  EXPECT_GT(scores[3], 0.8f);
}

TEST(SnapshotTest, PerTaskOnlyTheTasksOwnClassesScore) {
  Served served(HeadKind::kPerTask);
  served.Train({0, 1}, 0, 100);
  served.Train({1, 2}, 3, 100);
  const auto snapshot = served.Take(1);
  EXPECT_EQ(snapshot->class_count(), 3);
  const auto scores = Scores(*snapshot, served.stream.Next({1, 1}), {0, 3});
  EXPECT_EQ(scores[2], 0.0f);
  EXPECT_GT(scores[1], 0.5f);
  EXPECT_EQ(scores[3], 0.0f);
  EXPECT_GT(scores[4], 0.5f);
  EXPECT_NEAR(scores[3] + scores[4] + scores[5], 1, 1e-5);
}

TEST(SnapshotTest, PerTaskATaskIsRequiredAndMustHaveAHead) {
  Served served(HeadKind::kPerTask);
  served.Train({0, 1}, 0);
  const auto snapshot = served.Take(1);
  const SmallBatch row = served.stream.Next({0});
  std::vector<float> scores;
  EXPECT_EQ(snapshot->Predict(row.features, 1, {}, &scores).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(snapshot->Predict(row.features, 1, {-1}, &scores).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(snapshot->Predict(row.features, 1, {7}, &scores).code(), absl::StatusCode::kNotFound);
}

TEST(SnapshotTest, WrongSizesAreRefused) {
  Served served;
  served.Train({0, 1});
  const auto snapshot = served.Take(1);
  const SmallBatch row = served.stream.Next({0});
  std::vector<float> scores;
  const auto code = [&](absl::Span<const float> features, int64_t rows,
                        const std::vector<int32_t>& tasks) {
    return snapshot->Predict(features, rows, tasks, &scores).code();
  };
  EXPECT_EQ(code(absl::MakeConstSpan(row.features).first(15), 1, {}),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(row.features, 2, {}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(row.features, -1, {}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(row.features, 1, {0, 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code({}, 0, {}), absl::StatusCode::kOk);
}

TEST(SnapshotTest, NonFiniteOutputIsAnErrorNeverAScore) {
  Served served;
  served.Train({0, 1});
  const auto snapshot = served.Take(17);
  SmallBatch row = served.stream.Next({0});
  for (float& value : row.features) value = 3e38f;
  std::vector<float> scores;
  const absl::Status status = snapshot->Predict(row.features, 1, {}, &scores);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("version 17"));
  EXPECT_TRUE(scores.empty());
}

TEST(SnapshotTest, RestoreServesTheRestoredModel) {
  Served served;
  served.Train({0, 1}, 0, 5);
  const auto saved = *served.learner->Save([](const MemberKey&) { return true; });
  const SmallBatch rows = served.stream.Next({0, 1});
  const auto before = Scores(*served.Take(1), rows);
  served.Train({2, 3}, 0, 20);
  ASSERT_TRUE(served.learner->Restore(saved, {}).ok());
  EXPECT_EQ(Scores(*served.Take(2), rows), before);
}

// Readers on other threads see whole versions only: each score equals that of its version.
TEST(SnapshotTest, ReadersNeverSeeAMixtureOfVersions) {
  Served served;
  served.Train({0, 1, 2, 3});
  const SmallBatch rows = served.stream.Next({0});
  constexpr uint64_t kVersions = 400;
  std::vector<std::vector<float>> expected(kVersions + 1);
  std::mutex mutex;
  std::shared_ptr<const Snapshot> current = served.Take(0);
  expected[0] = Scores(*current, rows);
  std::atomic<bool> done{false};
  std::vector<std::vector<std::pair<uint64_t, std::vector<float>>>> seen(2);
  std::vector<std::thread> readers;
  for (auto& mine : seen) {
    readers.emplace_back([&] {
      while (!done || mine.empty()) {
        std::shared_ptr<const Snapshot> snapshot;
        {
          const std::lock_guard<std::mutex> lock(mutex);
          snapshot = current;
        }
        mine.emplace_back(snapshot->version(), Scores(*snapshot, rows));
      }
    });
  }
  for (uint64_t version = 1; version <= kVersions; ++version) {
    served.Train({0, 1, 2, 3});
    auto next = served.Take(version);
    expected[version] = Scores(*next, rows);
    const std::lock_guard<std::mutex> lock(mutex);
    current = std::move(next);
  }
  done = true;
  for (std::thread& reader : readers) reader.join();
  for (const auto& mine : seen) {
    for (const auto& [version, scores] : mine) ASSERT_EQ(scores, expected[version]) << version;
  }
}

}  // namespace
}  // namespace engram::strategies
