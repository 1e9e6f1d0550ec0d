#include "tests/integration/credentials.h"

#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/testing/process/subprocess.h"

namespace engram::integration {

void Credentials::Renew(const std::string& server) const {
  std::vector<std::string> command = {ENGRAM_CREDENTIALS_SCRIPT, folder_};
  if (!server.empty()) command.push_back(server);
  const auto made = testing::RunToEnd(command, absl::Seconds(60), folder_ + ".script.log");
  ASSERT_TRUE(made.ok()) << made.status();
  ASSERT_EQ(made->code, 0) << made->output;
}

std::string Credentials::File(absl::string_view name) const {
  return absl::StrCat(folder_, "/", name);
}

std::string Credentials::Token(absl::string_view role) const {
  return std::string(absl::StripAsciiWhitespace(
      testing::ReadWholeFile(File(absl::StrCat(role, ".token")))));
}

std::string Credentials::Config(bool mutual) const {
  const std::string config = testing::ReadWholeFile(File("engramd.textproto"));
  if (!mutual) return config;
  return absl::StrReplaceAll(
      config, {{"\ntls {", absl::StrCat("\ntls { client_ca_file: \"", File("ca.pem"), "\"")}});
}

std::shared_ptr<grpc::ChannelCredentials> Credentials::Channel(absl::string_view role,
                                                               const std::string& token) const {
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = testing::ReadWholeFile(File("ca.pem"));
  if (!role.empty()) {
    tls.pem_cert_chain = testing::ReadWholeFile(File(absl::StrCat(role, ".pem")));
    tls.pem_private_key = testing::ReadWholeFile(File(absl::StrCat(role, ".key")));
  }
  const auto channel = grpc::SslCredentials(tls);
  if (token.empty()) return channel;
  return grpc::CompositeChannelCredentials(channel, grpc::AccessTokenCredentials(token));
}

}  // namespace engram::integration
