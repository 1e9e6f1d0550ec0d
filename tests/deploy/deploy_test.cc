// What deploy/ gives an operator, used as an operator would.
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/deploy/deploy_rig.h"
#include "tests/testing/process/server_process.h"

namespace engram::deploy {
namespace {

using ::testing::HasSubstr;

TEST_F(DeployTest, TheExampleConfigServesAndBacksUpForAnAdmin) {
  const std::string etc = scratch_.path() + "/etc";
  ASSERT_EQ(Run({Deploy() + "/development_credentials", etc}).code, 0);
  testing::ServerOptions options;
  options.data_dir = scratch_.path() + "/data";
  options.config = absl::StrReplaceAll(
      testing::ReadWholeFile(Deploy() + "/engramd.textproto"),
      {{"/etc/engram", etc}, {"/var/backups/engram", scratch_.path() + "/backups"}});
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = testing::ReadWholeFile(etc + "/ca.pem");
  options.credentials = grpc::CompositeChannelCredentials(
      grpc::SslCredentials(tls),
      grpc::AccessTokenCredentials(std::string(absl::StripAsciiWhitespace(
          testing::ReadWholeFile(etc + "/reader.token")))));
  const auto server = testing::ServerProcess::Start(options);
  ASSERT_TRUE(server.ok()) << server.status();
  const auto as = [&](const std::string& role, std::vector<std::string> words) {
    std::vector<std::string> command = {testing::CommandBinary(), "--server",
                                        (*server)->grpc_address(), "--tls_ca", etc + "/ca.pem",
                                        "--token_file", absl::StrCat(etc, "/", role, ".token")};
    command.insert(command.end(), words.begin(), words.end());
    return Run(std::move(command));
  };
  const auto refused = as("writer", {"backup", "create", "a"});
  EXPECT_EQ(refused.code, 1);
  EXPECT_THAT(refused.output, HasSubstr("needs admin"));
  EXPECT_EQ(as("admin", {"model", "create", "digits", "--features", "4", "--hidden", "8"}).code, 0);
  const auto made = as("admin", {"backup", "create", "a"});
  EXPECT_EQ(made.code, 0) << made.output;
  EXPECT_THAT(made.output, HasSubstr("digits up to sequence"));
  EXPECT_THAT(as("admin", {"backup", "create", "../b"}).output, HasSubstr("must match"));
  EXPECT_THAT(as("reader", {"doctor"}).output, HasSubstr("backups_kept"));

  const std::string backup = scratch_.path() + "/backups/a";
  EXPECT_EQ(Run({testing::CommandBinary(), "backup", "verify", backup}).code, 0);
  const std::string restored = scratch_.path() + "/restored";
  const std::string command = testing::CommandBinary();
  const auto done = Run({command, "--json", "backup", "restore", backup, restored});
  EXPECT_EQ(done.code, 0);
  EXPECT_THAT(done.output, HasSubstr("\"backup\":\"a\""));
  const auto again = Run({testing::CommandBinary(), "backup", "restore", backup, restored});
  EXPECT_EQ(again.code, 1);
  EXPECT_THAT(again.output, HasSubstr("not empty"));
  EXPECT_TRUE(std::filesystem::exists(restored + "/FORMAT"));
  EXPECT_THAT(testing::ReadWholeFile(restored + "/audit/actions.jsonl"), HasSubstr("CreateModel"));
}

}  // namespace
}  // namespace engram::deploy
