#include "client/flags.h"

#include "absl/types/optional.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Parsed {
  std::string name;
  std::string label;
  std::string text = "default";
  int64_t count = 3;
  absl::optional<double> rate;
  absl::optional<uint64_t> seed;
  bool json = false;
  std::vector<std::string> strategies;
  std::vector<int64_t> hidden;

  FlagSet Flags() {
    FlagSet flags("model create", "Creates a model.");
    flags.Positional("NAME", &name, "of the model")
        .OptionalPositional("LABEL", &label, "for people")
        .String("text", &text, "some text")
        .Int64("count", &count, "how many")
        .Double("rate", &rate, "how fast")
        .Uint64("seed", &seed, "of draws")
        .Bool("json", &json, "for scripts")
        .Strings("strategy", &strategies, "one or more")
        .Int64s("hidden", &hidden, "layers");
    return flags;
  }
};

std::string ErrorOf(const std::vector<std::string>& args) {
  Parsed parsed;
  const absl::Status status = parsed.Flags().Parse(args);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(FlagSetTest, TakesValuesBehindASpaceOrAnEqualsSign) {
  Parsed parsed;
  ASSERT_TRUE(parsed.Flags()
                  .Parse({"--text", "a=b", "digits", "--count=-7", "--rate", "1e-3",
                          "--seed=18446744073709551615", "--hidden", "256,128"})
                  .ok());
  EXPECT_EQ(parsed.name, "digits");
  EXPECT_EQ(parsed.text, "a=b");
  EXPECT_EQ(parsed.count, -7);
  EXPECT_EQ(*parsed.rate, 1e-3);
  EXPECT_EQ(*parsed.seed, 18446744073709551615u);
  EXPECT_THAT(parsed.hidden, ElementsAre(256, 128));
}

TEST(FlagSetTest, TheRestIsAnyNumberButNone) {
  std::string model;
  std::vector<std::string> sequences;
  FlagSet flags("quarantine release", "Releases.");
  flags.Positional("MODEL", &model, "of them").Rest("SEQUENCE...", &sequences, "some");
  EXPECT_EQ(flags.Parse({"digits"}).message(), "missing argument SEQUENCE...");
  ASSERT_TRUE(flags.Parse({"digits", "7", "8", "9"}).ok());
  EXPECT_EQ(model, "digits");
  EXPECT_THAT(sequences, ElementsAre("7", "8", "9"));
  EXPECT_NE(flags.Usage().find("MODEL SEQUENCE..."), std::string::npos);
}

TEST(FlagSetTest, KeepsDefaultsOfWhatIsNotGiven) {
  Parsed parsed;
  ASSERT_TRUE(parsed.Flags().Parse({"digits"}).ok());
  EXPECT_EQ(parsed.text, "default");
  EXPECT_EQ(parsed.count, 3);
  EXPECT_FALSE(parsed.rate.has_value());
  EXPECT_EQ(parsed.label, "");
}

TEST(FlagSetTest, SwitchesTakeNoWordAfterThem) {
  Parsed parsed;
  ASSERT_TRUE(parsed.Flags().Parse({"--json", "digits", "first"}).ok());
  EXPECT_TRUE(parsed.json);
  EXPECT_EQ(parsed.name, "digits");
  EXPECT_EQ(parsed.label, "first");
  ASSERT_TRUE(parsed.Flags().Parse({"--json=false", "digits"}).ok());
  EXPECT_FALSE(parsed.json);
}

TEST(FlagSetTest, CollectsRepeatedFlagsInOrder) {
  Parsed parsed;
  ASSERT_TRUE(parsed.Flags().Parse({"n", "--strategy", "b", "--strategy=a"}).ok());
  EXPECT_THAT(parsed.strategies, ElementsAre("b", "a"));
}

TEST(FlagSetTest, TwoDashesEndTheFlags) {
  Parsed parsed;
  ASSERT_TRUE(parsed.Flags().Parse({"--", "--odd-name"}).ok());
  EXPECT_EQ(parsed.name, "--odd-name");
}

TEST(FlagSetTest, SaysWhatIsWrong) {
  EXPECT_EQ(ErrorOf({"n", "--colour", "red"}), "unknown flag --colour");
  EXPECT_EQ(ErrorOf({"n", "--count"}), "--count needs a value");
  EXPECT_EQ(ErrorOf({"n", "--count", "3x"}), "--count: expected a whole number, got \"3x\"");
  EXPECT_EQ(ErrorOf({"n", "--rate=fast"}), "--rate: expected a number, got \"fast\"");
  EXPECT_EQ(ErrorOf({"n", "--seed=-1"}), "--seed: expected a whole number from 0, got \"-1\"");
  EXPECT_EQ(ErrorOf({"n", "--json=maybe"}), "--json: expected true or false, got \"maybe\"");
  EXPECT_THAT(ErrorOf({"n", "--hidden", "1,x"}), HasSubstr("joined by commas"));
  EXPECT_EQ(ErrorOf({}), "missing argument NAME");
  EXPECT_EQ(ErrorOf({"a", "b", "c"}), "unexpected argument \"c\"");
}

TEST(FlagSetTest, UsageNamesArgumentsFlagsAndDefaults) {
  Parsed parsed;
  const std::string usage = parsed.Flags().Usage();
  EXPECT_THAT(usage, HasSubstr("usage: engram model create NAME [LABEL] [FLAGS]\n"));
  EXPECT_THAT(usage, HasSubstr("Creates a model."));
  EXPECT_THAT(usage, HasSubstr("how many (default 3)"));
  EXPECT_THAT(usage, HasSubstr("--hidden N,N,..."));
}

}  // namespace
}  // namespace engram::client
