// The guard on digits: what one producer in ten that lies costs, and what becomes of a stream that
// lies altogether. The canary is held out by a producer of its own.
#include <algorithm>

#include "absl/time/clock.h"
#include "tests/integration/digits.h"
#include "tests/integration/server_test.h"
#include "tests/testing/process/http_get.h"

namespace engram::integration {
namespace {

constexpr int kPerMessage = 100;
constexpr int64_t kEvaluateEvery = 500;
constexpr double kAllowed = 0.05;

v1::ModelSpec GuardedSpec(v1::Guard::Action action) {
  v1::ModelSpec spec = DigitSpec();
  spec.set_held_out_max_per_task(kTestDigits);
  spec.set_evaluate_every_examples(kEvaluateEvery);
  spec.set_checkpoint_every_examples(kEvaluateEvery);
  spec.set_keep_automatic_checkpoints(60);  // the lesson makes one a message
  spec.mutable_guard()->set_canary_drop(kAllowed);
  spec.mutable_guard()->set_action(action);
  spec.mutable_guard()->set_max_rollbacks(2);
  return spec;
}

// One model and the producers that teach it.
class Lesson {
 public:
  Lesson(const testing::Stubs* stubs, const std::string& name, v1::Guard::Action action)
      : honest_(stubs, name, "honest"), liar_(stubs, name, "liar") {
    honest_.Create(GuardedSpec(action));
    ToyModel keeper(stubs, name, "keeper");
    for (int64_t i = 0; i < kTestDigits; i += kPerMessage) {
      Send(&keeper, DigitRows(Digits().test, i, kPerMessage, false, v1::HELD_OUT));
    }
  }

  // `lies` of ten messages are the liar's.
  void Learn(int messages, int lies = 0) {
    for (int i = 0; i < messages; ++i, next_ += kPerMessage) {
      const bool lie = next_ / kPerMessage % 10 < lies;
      Send(lie ? &liar_ : &honest_, DigitRows(Digits().train, next_, kPerMessage, lie));
    }
  }
  // Waits for each evaluation that is due: the guard sees the same versions on a busy machine, and
  // not one that lies low for a batch. The answer to a checkpoint comes after every evaluation
  // before it.
  void LearnMeasured(int messages, int lies = 0) {
    for (int i = 0; i < messages; i += kEvaluateEvery / kPerMessage) {
      Learn(kEvaluateEvery / kPerMessage, lies);
      model().WaitApplied();
      model().Checkpoint();
    }
  }
  ToyModel& model() { return honest_; }
  // On what is served, of all digits.
  double Accuracy() { return model().Report().tasks(0).accuracy(); }
  // Once more, on what is served now.
  double Measure() {
    model().Boundary(absl::StrCat("task-", ++boundaries_ + 1));
    model().WaitApplied(/*evaluated=*/true);
    return Accuracy();
  }
  // Lies, message by message, until the guard has fired so often; nothing is sent once it has.
  void LieUntilFired(int count) {
    for (int i = 0; i < 30 && model().Report().canaries_size() < count; ++i) {
      Learn(1, /*lies=*/10);
      model().WaitApplied();
      model().Checkpoint();
    }
    ASSERT_EQ(model().Report().canaries_size(), count);
    AwaitRollbacks(count);
  }
  void AwaitRollbacks(int count) {
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (model().Report().rollbacks_size() < count && absl::Now() < end) {
      absl::SleepFor(absl::Milliseconds(2));
    }
    ASSERT_EQ(model().Report().rollbacks_size(), count);
  }

 private:
  static void Send(ToyModel* by, v1::LearnBatchRequest request) {
    const auto sent = by->Send(std::move(request));
    ASSERT_TRUE(sent.ok()) << sent.status.error_message();
  }

  ToyModel honest_;
  ToyModel liar_;
  int64_t next_ = 0;
  int boundaries_ = 0;
};

class CanaryTest : public ServerTest {
 protected:
  CanaryTest() { options_.config = "live_evaluation_share: 1"; }
};

TEST_F(CanaryTest, OneProducerInTenThatLiesCostsLittleOrIsNoticed) {
  Lesson honest(stubs_.get(), "honest", v1::Guard::REPORT);
  Lesson mixed(stubs_.get(), "mixed", v1::Guard::REPORT);
  honest.LearnMeasured(100);
  mixed.LearnMeasured(100, /*lies=*/1);
  const double without = honest.Measure();
  const double with = mixed.Measure();
  const int fired = mixed.model().Report().canaries_size();
  std::cout << "10 000 examples, 1 000 held out: accuracy " << without << " without lies, " << with
            << " with 10 % lies, guard fired " << fired << " times" << std::endl;
  EXPECT_EQ(honest.model().Report().canaries_size(), 0);
  EXPECT_GT(without, 0.8);
  EXPECT_TRUE(without - with <= 0.02 || fired > 0);
}

TEST_F(CanaryTest, AStreamOfLiesIsRolledBackThenPaused) {
  Lesson lesson(stubs_.get(), "guarded", v1::Guard::ROLLBACK);
  lesson.Learn(50);
  lesson.model().WaitApplied();
  const uint64_t before = lesson.model().Describe().version();
  lesson.LieUntilFired(1);
  const v1::Report report = lesson.model().Report();
  const v1::ReportEvent::Canary& fell = report.canaries(0);
  std::cout << "lies from version " << before << " on: fell from " << fell.best() << " to "
            << fell.now() << ", noticed at version " << fell.version() << ", back at "
            << report.rollbacks(0).restored_sequence() << std::endl;
  EXPECT_LE(fell.version() - before, 2 * kEvaluateEvery) << "the evaluation that was due";
  const uint64_t restored = report.rollbacks(0).restored_sequence();
  EXPECT_LE(restored, before);
  EXPECT_EQ(DigitScores(*stubs_, "guarded", 0), DigitScores(*stubs_, "guarded", restored))
      << "the good version's, bit by bit";

  // It goes on lying: the second rollback is the last.
  lesson.LieUntilFired(2);
  const absl::Time end = absl::Now() + absl::Seconds(20);
  v1::Model model = lesson.model().Describe();
  while (!model.paused() && absl::Now() < end) model = lesson.model().Describe();
  EXPECT_TRUE(model.paused());
  EXPECT_EQ(model.state(), v1::Model::SERVING);
  EXPECT_NE(model.state_reason().find("spec.guard after 2 rollbacks"), std::string::npos)
      << model.state_reason();
  const std::string served = DigitScores(*stubs_, "guarded", 0);
  std::vector<std::string> recorded;
  const auto audit =
      testing::Call(*stubs_->admin, &v1::Admin::Stub::ListAudit, v1::ListAuditRequest());
  for (const v1::AuditEntry& entry : audit->entries()) {
    if (entry.role() != "guard") continue;
    EXPECT_EQ(entry.model(), "guarded");
    EXPECT_EQ(entry.outcome(), "OK");
    recorded.push_back(absl::StrCat(entry.method(), " ", entry.subject()));
  }
  const std::string last = lesson.model().Report().canaries(1).checkpoint();
  EXPECT_EQ(recorded, std::vector<std::string>(
                          {absl::StrCat("engram.v1.Models/PauseTraining ", last),
                           absl::StrCat("engram.v1.Checkpoints/Rollback ", last),
                           absl::StrCat("engram.v1.Checkpoints/Rollback ", fell.checkpoint())}));
  const auto page = testing::HttpGet(server_->http_address(), "/metrics");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_NE(page->body.find("engram_canary_drops_total{model=\"guarded\"} 2"), std::string::npos);
  EXPECT_NE(page->body.find("engram_rollbacks_total{model=\"guarded\",trigger=\"auto\"} 2"),
            std::string::npos);
  Restart(/*kill=*/true, &lesson.model());
  EXPECT_TRUE(lesson.model().Describe().paused());
  EXPECT_EQ(DigitScores(*stubs_, "guarded", 0), served);
  EXPECT_EQ(lesson.model().Report().rollbacks_size(), 2);
}

}  // namespace
}  // namespace engram::integration
