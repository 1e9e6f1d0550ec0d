// The `engram` command against a real server: what it prints for scripts, and how it exits.
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "nlohmann/json.hpp"
#include "tests/integration/server_test.h"

namespace engram::integration {
namespace {

using Json = nlohmann::json;

class CommandTest : public ServerTest {
 protected:
  testing::Finished Run(const std::string& arguments) {
    const std::string output = absl::StrCat(scratch_.path(), "/output.", ++runs_);
    const auto finished =
        testing::RunToEnd({"/bin/sh", "-c",
                           absl::StrCat("exec ", testing::CommandBinary(), " --server ",
                                        server_->grpc_address(), " ", arguments)},
                          absl::Seconds(30), output);
    EXPECT_TRUE(finished.ok()) << finished.status();
    return finished.ok() ? *finished : testing::Finished{};
  }

  // Every line is one JSON object.
  std::vector<Json> RunJson(const std::string& arguments) {
    const testing::Finished finished = Run(absl::StrCat(arguments, " --json"));
    EXPECT_EQ(finished.code, 0) << finished.output;
    std::vector<Json> lines;
    for (const absl::string_view line : absl::StrSplit(finished.output, '\n', absl::SkipEmpty())) {
      lines.push_back(Json::parse(line, nullptr, false));
      EXPECT_TRUE(lines.back().is_object()) << line;
    }
    return lines;
  }

  // The label is the first column.
  std::string WriteCsv(int rows) {
    const std::string file = scratch_.path() + "/rows.csv";
    std::ofstream out(file);
    for (int i = 0; i < rows; ++i) {
      out << i % 2;
      for (const float value : testing::ToyFeatures({}, i % 2, static_cast<uint64_t>(i))) {
        out << "," << value;
      }
      out << "\n";
    }
    return file;
  }

  int runs_ = 0;
};

TEST_F(CommandTest, TheLoopWorksFromAShell) {
  ASSERT_EQ(Run("model create toy --features 16 --hidden 32").code, 0);
  const auto models = RunJson("model list");
  ASSERT_EQ(models.size(), 1u);
  const testing::Finished learned = Run("learn toy --wait --file " + WriteCsv(400));
  ASSERT_EQ(learned.code, 0) << learned.output;
  ASSERT_EQ(Run("checkpoint create toy here").code, 0);
  EXPECT_EQ(RunJson("checkpoint list toy").size(), 1u);
  ASSERT_EQ(Run("boundary toy next --wait").code, 0);
  const auto report = RunJson("report toy");
  ASSERT_FALSE(report.empty());
  const testing::Finished rolled_back = Run("rollback toy here");
  EXPECT_EQ(rolled_back.code, 0) << rolled_back.output;
  ToyModel model(stubs_.get(), "toy");
  EXPECT_GE(model.Accuracy({0, 1}), 0.9);
  EXPECT_EQ(model.Report().rollbacks_size(), 1);
  v1::LearnBatchRequest of_ann;
  *of_ann.add_examples() = testing::ToyExample({}, 1, 9000);
  of_ann.mutable_examples(0)->set_subject_id("ann");
  ASSERT_TRUE(model.Send(of_ann).ok());
  const testing::Finished erased = Run("erase toy --subject ann");
  EXPECT_EQ(erased.code, 0) << erased.output;
  EXPECT_NE(erased.output.find("DATA_REMOVED, WEIGHTS_REBUILT\n1 examples erased"),
            std::string::npos)
      << erased.output;
  const auto receipt = RunJson("erase toy --id nobody");
  ASSERT_EQ(receipt.size(), 1u);
  EXPECT_EQ(Run("erase toy").code, 1);
  EXPECT_EQ(Run("erase toy --id one --producer p").code, 1);
  const testing::Finished blamed = Run("blame toy --since 1h");
  EXPECT_EQ(blamed.code, 0) << blamed.output;
  EXPECT_NE(blamed.output.find("accuracy %"), std::string::npos) << blamed.output;
  EXPECT_EQ(Run("blame toy --since yesterday").code, 2);
  const auto before = RunJson("blame toy");
  ASSERT_EQ(before.size(), 1u);
  ASSERT_EQ(before[0].at("producers").size(), 1u) << "a rollback left what was learned";
  const std::string producer = before[0].at("producers")[0].at("name");
  const testing::Finished unlearned = Run("erase toy --producer " + producer);
  EXPECT_EQ(unlearned.code, 0) << unlearned.output;
  EXPECT_EQ(RunJson("blame toy")[0].at("producers").size(), 0u);
  EXPECT_EQ(Run("model pause toy").code, 0);
  EXPECT_TRUE(model.Describe().paused());
  EXPECT_EQ(Run("model resume toy").code, 0);
  EXPECT_EQ(Run("model delete toy").code, 0);
  EXPECT_EQ(RunJson("model list").size(), 0u);
}

TEST_F(CommandTest, AFailedCallExitsWithOneAndSaysTheCode) {
  const testing::Finished failed = Run("model show nobody");
  EXPECT_EQ(failed.code, 1);
  EXPECT_NE(failed.output.find("NOT_FOUND"), std::string::npos) << failed.output;
}

TEST_F(CommandTest, WrongUsageExitsWithTwo) {
  EXPECT_EQ(Run("no-such-verb").code, 2);
  EXPECT_EQ(Run("model create").code, 2);
  EXPECT_EQ(Run("model create toy --no_such_flag 1").code, 2);
}

TEST_F(CommandTest, StrategiesAreListedForScripts) {
  const auto strategies = RunJson("strategy list");
  ASSERT_GE(strategies.size(), 4u);
  for (const Json& strategy : strategies) {
    for (const char* key : {"name", "family", "paper", "memory", "time"}) {
      EXPECT_TRUE(strategy.contains(key)) << key;
    }
  }
}

TEST_F(CommandTest, DoctorNamesTheBlas) {
  const testing::Finished doctor = Run("doctor");
  EXPECT_EQ(doctor.code, 0) << doctor.output;
  EXPECT_NE(doctor.output.find("openblas-openmp"), std::string::npos) << doctor.output;
}

TEST_F(CommandTest, AScenarioEndsWithItsResult) {
  const auto lines = RunJson(
      "scenario run split-mnist --strategy finetune --examples_per_task 400 --held_out_per_task "
      "100");
  ASSERT_FALSE(lines.empty());
  const Json& result = lines.back();
  EXPECT_EQ(result.at("event"), "result");
  for (const char* key : {"scenario", "protocol", "strategy", "seed", "acc", "bwt", "fwt",
                          "forgetting", "r", "examples_per_second", "seconds"}) {
    EXPECT_TRUE(result.contains(key)) << key;
  }
  EXPECT_EQ(result.at("r").size(), 5u);
}

// Every third label differs from the one before it, and a column says which.
TEST_F(CommandTest, AStreamIsScoredAsItIsLearned) {
  const std::string file = scratch_.path() + "/weather.csv";
  std::ofstream out(file);
  out << "sign,count,rain\n";
  for (int i = 0; i < 600; ++i) {
    const int rain = i / 3 % 2;
    out << (rain == 0 ? -4 : 5) << "," << i << "," << rain << "\n";
  }
  out.close();
  const auto lines = RunJson("scenario run weather --hidden 8 --data " + file);
  ASSERT_FALSE(lines.empty());
  const Json& result = lines.back();
  EXPECT_EQ(result.at("no_change"), 400.0 / 600);
  EXPECT_GT(result.at("prequential_accuracy"), 0.95);
  EXPECT_LT(result.at("prequential_accuracy"), 1.0) << "a new class is wrong";
}

}  // namespace
}  // namespace engram::integration
