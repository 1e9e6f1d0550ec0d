#include "server/config.h"

#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;

TEST(ConfigTest, EmptyConfigurationHasTheDocumentedDefaults) {
  const auto config = LoadConfig("");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->limits().message_bytes(), 4 << 20);
  EXPECT_EQ(config->limits().examples_per_message(), 1024);
  EXPECT_EQ(config->limits().checkpoints(), 64);
  EXPECT_EQ(config->retention().log_seconds(), 86400);
  EXPECT_EQ(config->trainer_threads(), 1);
  EXPECT_EQ(config->compute_threads(), 1);
  EXPECT_DOUBLE_EQ(config->live_evaluation_share(), 0.05);
}

TEST(ConfigTest, GivenValuesStand) {
  auto config = ParseConfig("limits { tasks: 7 } models { name: \"digits\" }");
  ASSERT_TRUE(config.ok()) << config.status();
  config = CompleteConfig(*config);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->limits().tasks(), 7);
  EXPECT_EQ(config->models(0).name(), "digits");
}

TEST(ConfigTest, SyntaxErrorsNameLineAndColumn) {
  const auto config = ParseConfig("limits {\n  tasks: many\n}\n");
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("line 2, column 10"));
}

TEST(ConfigTest, UnknownFieldsAreRefusedByName) {
  const auto config = ParseConfig("speed: 11\n");
  EXPECT_THAT(std::string(config.status().message()), HasSubstr("speed"));
}

struct BadConfig {
  const char* text;
  const char* field;
};

class ConfigRangeTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(ConfigRangeTest, OutOfRangeValuesNameFieldAndRange) {
  auto config = ParseConfig(GetParam().text);
  ASSERT_TRUE(config.ok()) << config.status();
  config = CompleteConfig(*config);
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(config.status().message()), HasSubstr(GetParam().field));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, ConfigRangeTest,
    ::testing::Values(BadConfig{"limits { examples_per_message: 1025 }", "examples_per_message"},
                      BadConfig{"limits { features: -1 }", "limits.features"},
                      BadConfig{"trainer_threads: 65", "trainer_threads"},
                      BadConfig{"live_evaluation_share: 1.5", "live_evaluation_share"},
                      BadConfig{"live_evaluation_share: nan", "live_evaluation_share"},
                      BadConfig{"retention { log_bytes: 1 }", "retention.log_bytes"},
                      BadConfig{"models { }", "models[0].name"},
                      BadConfig{"models { name: 'a' } models { name: 'a' }", "models[1].name"}));

TEST(ConfigTest, FileErrorsNameTheFile) {
  EXPECT_EQ(LoadConfig("/nowhere/engram.textproto").status().code(), absl::StatusCode::kNotFound);
  const std::string path = ::testing::TempDir() + "/bad_config.textproto";
  std::ofstream(path) << "limits { tasks: }";
  EXPECT_THAT(std::string(LoadConfig(path).status().message()),
              HasSubstr("bad_config.textproto: line 1"));
}

TEST(ListenAddressTest, OnlyLoopbackAndUnixAreLocal) {
  EXPECT_TRUE(ParseListenAddress("--listen", "127.0.0.1:0")->local_only);
  EXPECT_TRUE(ParseListenAddress("--listen", "[::1]:7401")->local_only);
  EXPECT_TRUE(ParseListenAddress("--listen", "unix:/run/engram")->local_only);
  EXPECT_FALSE(ParseListenAddress("--listen", "0.0.0.0:7401")->local_only);
  EXPECT_EQ(ParseListenAddress("--listen", "localhost:7401")->port, 7401);
}

TEST(ListenAddressTest, MalformedAddressesAreRefused) {
  for (const char* text : {"7401", "host", "127.0.0.1:", "127.0.0.1:70000", "[::1:80", ":80"}) {
    EXPECT_FALSE(ParseListenAddress("--listen", text).ok()) << text;
  }
}

}  // namespace
}  // namespace engram::server
