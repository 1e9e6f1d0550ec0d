// The quarantine on digits: of ten producers' worth of messages one lies. What is set aside, what
// that does to the accuracy, and what an administrator does about it from a shell.
#include "absl/strings/str_cat.h"
#include "tests/integration/digits.h"
#include "tests/integration/server_test.h"
#include "tests/testing/process/http_get.h"

namespace engram::integration {
namespace {

constexpr int kPerMessage = 100;
constexpr int kMessages = 100;
constexpr double kMinLabelScore = 0.03;

v1::ModelSpec JudgingSpec(double min_label_score) {
  v1::ModelSpec spec = DigitSpec();
  // The average judges, and is judged: it moves less than what the last messages left.
  spec.set_ema_decay(0.99);
  if (min_label_score == 0) return spec;
  spec.mutable_quarantine()->set_min_label_score(min_label_score);
  spec.mutable_quarantine()->set_after_examples(100);
  return spec;
}

class QuarantineTest : public ServerTest {
 protected:
  // One message in ten is the liar's, if there is one. Returns the accuracy on other rows.
  double Teach(const std::string& name, bool lies, double min_label_score) {
    ToyModel honest(stubs_.get(), name, "honest");
    ToyModel liar(stubs_.get(), name, "liar");
    honest.Create(JudgingSpec(min_label_score));
    for (int i = 0; i < kMessages; ++i) {
      const bool lie = lies && i % 10 == 7;
      const auto sent = (lie ? &liar : &honest)
                            ->Send(DigitRows(Digits().train, i * kPerMessage, kPerMessage, lie));
      EXPECT_TRUE(sent.ok()) << sent.status.error_message();
    }
    honest.WaitApplied();
    return DigitAccuracy(*stubs_, name);
  }

  v1::ListQuarantinedResponse List(const std::string& name) {
    v1::ListQuarantinedRequest request;
    request.set_model(name);
    request.set_limit(1000);
    const auto listed = testing::Call(*stubs_->admin, &v1::Admin::Stub::ListQuarantined, request);
    EXPECT_TRUE(listed.ok()) << listed.status.error_message();
    return listed.reply;
  }

  testing::Finished Command(const std::string& arguments) {
    const auto finished =
        testing::RunToEnd({"/bin/sh", "-c",
                           absl::StrCat("exec ", testing::CommandBinary(), " --server ",
                                        server_->grpc_address(), " ", arguments)},
                          absl::Seconds(30), absl::StrCat(scratch_.path(), "/output"));
    EXPECT_TRUE(finished.ok()) << finished.status();
    return finished.ok() ? *finished : testing::Finished{};
  }
};

TEST_F(QuarantineTest, OneProducerInTenThatLiesIsSetAsideAndTheHonestAreNot) {
  const double without = Teach("honest", /*lies=*/false, 0);
  const double unguarded = Teach("unguarded", /*lies=*/true, 0);
  const double with = Teach("guarded", /*lies=*/true, kMinLabelScore);
  const v1::ListQuarantinedResponse listed = List("guarded");
  int lies = 0;
  for (const v1::QuarantinedExample& example : listed.examples()) {
    lies += example.producer() == "liar" ? 1 : 0;
    EXPECT_EQ(example.reason(), v1::QuarantinedExample::LABEL_DISAGREES);
    EXPECT_LT(example.score(), kMinLabelScore);
  }
  const int honest = listed.examples_size() - lies;
  std::cout << "10 000 examples, 1 000 of them lies: " << lies << " lies and " << honest
            << " honest ones set aside; accuracy " << without << " without lies, " << unguarded
            << " with lies, " << with << " with lies and quarantine" << std::endl;
  EXPECT_EQ(listed.displaced(), 0);
  EXPECT_GE(lies, kMessages * kPerMessage / 20) << "half of them";
  EXPECT_LE(honest, kMessages * kPerMessage * 9 / 10 / 50) << "2 % of them";
  // What is set aside is hard as well as wrong: here it costs more than the lies do. So no bound
  // beside what a model that learns reaches.
  EXPECT_GT(without, 0.8);
  EXPECT_GT(with, 0.8);
  const auto page = testing::HttpGet(server_->http_address(), "/metrics");
  ASSERT_TRUE(page.ok()) << page.status();
  EXPECT_NE(page->body.find(absl::StrCat("engram_quarantined_examples{model=\"guarded\"} ",
                                         listed.held())),
            std::string::npos);
  EXPECT_NE(page->body.find(absl::StrCat("engram_quarantined_examples_total{model=\"guarded\","
                                         "reason=\"label_disagrees\"} ",
                                         listed.held())),
            std::string::npos);

  // A kill finds the same; then an administrator lets one through.
  const std::string before = listed.SerializeAsString();
  ToyModel model(stubs_.get(), "guarded", "honest");
  Restart(/*kill=*/true, &model);
  EXPECT_EQ(List("guarded").SerializeAsString(), before);
  const uint64_t sequence = listed.examples(0).sequence();
  EXPECT_NE(Command("quarantine list guarded --limit 3").output.find("label_disagrees"),
            std::string::npos);
  const testing::Finished released =
      Command(absl::StrCat("quarantine release guarded ", sequence));
  EXPECT_EQ(released.code, 0) << released.output;
  EXPECT_NE(released.output.find(absl::StrCat("released: ", sequence, " as 10001")),
            std::string::npos)
      << released.output;
  model.WaitApplied();
  EXPECT_EQ(List("guarded").held(), listed.held() - 1);
  const testing::Finished again = Command(absl::StrCat("quarantine release guarded ", sequence));
  EXPECT_NE(again.code, 0);
  EXPECT_NE(again.output.find(absl::StrCat(sequence)), std::string::npos) << again.output;
  EXPECT_NE(Command("quarantine rejected guarded").output.find("0 messages rejected"),
            std::string::npos);
}

}  // namespace
}  // namespace engram::integration
