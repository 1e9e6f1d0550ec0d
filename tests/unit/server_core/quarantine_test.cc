// The quarantine by itself: whom it judges, by what, and the list.
#include "server/quarantine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace engram::server {
namespace {

using ::testing::ElementsAre;
using Reason = v1::QuarantinedExample::Reason;

constexpr Reason kNone = v1::QuarantinedExample::REASON_UNSPECIFIED;
constexpr Reason kDisagrees = v1::QuarantinedExample::LABEL_DISAGREES;
constexpr Reason kOutlier = v1::QuarantinedExample::OUTLIER;

// The score of class c is the row's feature c; with `broken`, nothing has a score.
class RowScores : public strategies::Snapshot {
 public:
  explicit RowScores(bool broken) : broken_(broken) {}
  uint64_t version() const override { return 0; }
  int64_t class_count() const override { return 2; }
  absl::Status Predict(absl::Span<const float> features, int64_t rows, absl::Span<const int32_t>,
                       std::vector<float>* scores) const override {
    if (broken_) return absl::InternalError("not finite");
    scores->assign(features.begin(), features.end());
    return rows * 2 == static_cast<int64_t>(scores->size()) ? absl::OkStatus()
                                                            : absl::InternalError("");
  }

 private:
  const bool broken_;
};

// JudgedRows of two features.
struct JudgedRows {
  std::vector<float> features;
  std::vector<int32_t> classes;
  std::vector<int32_t> tasks;
  std::vector<uint64_t> released;

  JudgedRows& Add(float first, float second, int32_t label, int32_t task = 0, uint64_t was = 0) {
    features.insert(features.end(), {first, second});
    classes.push_back(label);
    tasks.push_back(task);
    released.push_back(was);
    return *this;
  }
  strategies::BatchView View() const {
    strategies::BatchView view;
    view.rows = static_cast<int64_t>(classes.size());
    view.feature_count = 2;
    view.features = features;
    view.classes = classes;
    view.tasks = tasks;
    return view;
  }
};

v1::ModelSpec QuarantineSpec(double score, double deviation, int64_t after = 2) {
  v1::ModelSpec spec;
  spec.mutable_quarantine()->set_min_label_score(score);
  spec.mutable_quarantine()->set_max_deviation(deviation);
  spec.mutable_quarantine()->set_after_examples(after);
  spec.mutable_quarantine()->set_max_share(1);
  return spec;
}

std::vector<Reason> JudgeRows(const Quarantine& quarantine, const JudgedRows& rows,
                              internal::Quarantine* state, bool broken = false) {
  const auto verdicts = quarantine.Judge(
      rows.View(), rows.released,
      [broken]() -> absl::StatusOr<std::shared_ptr<const strategies::Snapshot>> {
        return std::make_shared<RowScores>(broken);
      },
      state);
  std::vector<Reason> reasons;
  for (const auto& verdict : *verdicts) reasons.push_back(verdict.reason);
  return reasons;
}

JudgedRows TwoOfEach() { return JudgedRows().Add(1, 0, 0).Add(0, 1, 1).Add(1, 0, 0).Add(0, 1, 1); }

TEST(QuarantineTest, ALabelThatScoresTooLittleIsSetAside) {
  const Quarantine quarantine(QuarantineSpec(0.3, 0));
  internal::Quarantine state;
  quarantine.Learn(TwoOfEach().View(), &state);
  EXPECT_THAT(JudgeRows(quarantine, JudgedRows().Add(0.2, 0.8, 0).Add(0.2, 0.8, 1).Add(0.3, 0.7, 0),
                        &state),
              ElementsAre(kDisagrees, kNone, kNone));
}

TEST(QuarantineTest, NothingIsJudgedBeforeEnoughOfItsLabelAndItsTaskWereLearned) {
  const Quarantine quarantine(QuarantineSpec(0.3, 0, 3));
  internal::Quarantine state;
  quarantine.Learn(TwoOfEach().View(), &state);
  const JudgedRows lies = JudgedRows().Add(0, 1, 0).Add(1, 0, 1);
  EXPECT_THAT(JudgeRows(quarantine, lies, &state), ElementsAre(kNone, kNone));
  quarantine.Learn(JudgedRows().Add(1, 0, 0).View(), &state);
  EXPECT_THAT(JudgeRows(quarantine, lies, &state), ElementsAre(kDisagrees, kNone));
  EXPECT_THAT(JudgeRows(quarantine, JudgedRows().Add(0, 1, 0, /*task=*/1), &state),
              ElementsAre(kNone))
      << "a new task";
}

TEST(QuarantineTest, WithHeadsPerTaskALabelIsJudgedWhereItsHeadKnowsIt) {
  v1::ModelSpec spec = QuarantineSpec(0.3, 0, 2);
  spec.mutable_head()->set_kind(v1::Head::PER_TASK);
  const Quarantine quarantine(spec);
  internal::Quarantine state;
  quarantine.Learn(TwoOfEach().View(), &state);
  quarantine.Learn(JudgedRows().Add(1, 0, 0, 1).Add(1, 0, 0, 1).View(), &state);
  const JudgedRows lies = JudgedRows().Add(0, 1, 0, 1).Add(1, 0, 1, 1).Add(1, 0, 1, 0);
  EXPECT_THAT(JudgeRows(quarantine, lies, &state),
              ElementsAre(kDisagrees, kNone, kDisagrees));
}

TEST(QuarantineTest, WhatWasReleasedIsNotJudged) {
  const Quarantine quarantine(QuarantineSpec(0.3, 0));
  internal::Quarantine state;
  quarantine.Learn(TwoOfEach().View(), &state);
  EXPECT_THAT(JudgeRows(quarantine, JudgedRows().Add(0, 1, 0, 0, /*was=*/7), &state),
              ElementsAre(kNone));
  EXPECT_EQ(state.judged(), 0);
}

TEST(QuarantineTest, AModelWithoutAFiniteScoreJudgesNobody) {
  const Quarantine quarantine(QuarantineSpec(0.3, 0));
  internal::Quarantine state;
  quarantine.Learn(TwoOfEach().View(), &state);
  EXPECT_THAT(JudgeRows(quarantine, JudgedRows().Add(0, 1, 0), &state, /*broken=*/true),
              ElementsAre(kNone));
}

TEST(QuarantineTest, WhatLiesFarFromTheMeanIsAnOutlier) {
  const Quarantine quarantine(QuarantineSpec(0, 5));
  internal::Quarantine state;
  quarantine.Learn(TwoOfEach().View(), &state);
  // Both deviate by 0.5 from a mean of 0.5.
  EXPECT_THAT(JudgeRows(quarantine, JudgedRows().Add(2.9, 2.9, 0).Add(3.1, 3.1, 0).Add(-50, 0.5, 1),
                        &state),
              ElementsAre(kNone, kOutlier, kOutlier));
  EXPECT_DOUBLE_EQ(state.mean(0), 0.5);
  EXPECT_DOUBLE_EQ(state.square_sum(0), 1);
}

TEST(QuarantineTest, AFeatureThatHardlyVariesMakesNoOutliers) {
  const Quarantine quarantine(QuarantineSpec(0, 5));
  internal::Quarantine state;
  for (int i = 0; i < 10; ++i) {
    quarantine.Learn(JudgedRows().Add(1, 0, 0).Add(-1, 0, 0).View(), &state);
  }
  // The second was 0 all along; its deviation counts as a tenth of the root mean square.
  EXPECT_THAT(JudgeRows(quarantine, JudgedRows().Add(1, 0.4, 0).Add(1, 1, 0), &state),
              ElementsAre(kNone, kOutlier));
  internal::Quarantine constant;
  quarantine.Learn(JudgedRows().Add(1, 1, 0).Add(1, 1, 0).View(), &constant);
  EXPECT_THAT(JudgeRows(quarantine, JudgedRows().Add(9, 9, 0), &constant), ElementsAre(kNone));
}

TEST(QuarantineTest, TooManySuspectsAreDrift) {
  v1::ModelSpec spec = QuarantineSpec(0.3, 0);
  spec.mutable_quarantine()->set_max_share(0.2);
  const Quarantine quarantine(spec);
  internal::Quarantine state;
  quarantine.Learn(TwoOfEach().View(), &state);
  JudgedRows honest;
  for (int i = 0; i < 800; ++i) honest.Add(1, 0, 0);
  JudgeRows(quarantine, honest, &state);
  int set_aside = 0;
  for (int i = 0; i < 1000; ++i) {
    set_aside += JudgeRows(quarantine, JudgedRows().Add(0, 1, 0), &state).front() != kNone ? 1 : 0;
  }
  EXPECT_EQ(set_aside, 200) << "of 1 000";
  EXPECT_EQ(state.window().size(), 1000u);
  // The window forgets: once it holds few enough, the next one is set aside again.
  for (int i = 0; i < 800; ++i) JudgeRows(quarantine, JudgedRows().Add(1, 0, 0), &state);
  EXPECT_THAT(JudgeRows(quarantine, JudgedRows().Add(0, 1, 0), &state), ElementsAre(kDisagrees));
}

TEST(QuarantineTest, TheListKeepsTheNewestThousandInOrder) {
  internal::StreamState state;
  internal::Quarantine* list = state.mutable_quarantine();
  for (uint64_t sequence = 1; sequence <= 1003; ++sequence) {
    AddHeld(sequence == 900 ? 2000 : sequence, 0, {kOutlier, 1}, list);
  }
  EXPECT_EQ(list->held_size(), Quarantine::kHeldMax);
  EXPECT_EQ(list->displaced(), 3);
  EXPECT_EQ(list->held(0).sequence(), 4u);
  EXPECT_EQ(list->held(999).sequence(), 2000u);
  EXPECT_EQ(list->held(998).sequence(), 1003u);
  EXPECT_EQ(DropHeld({5, 7, 900, 2000}, &state), 3);
  EXPECT_EQ(list->held_size(), 997);
  EXPECT_EQ(list->held(1).sequence(), 6u);
  internal::StreamState without;
  EXPECT_EQ(DropHeld({1}, &without), 0);
  EXPECT_FALSE(without.has_quarantine());
}

}  // namespace
}  // namespace engram::server
