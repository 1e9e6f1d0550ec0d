// TLS of a real server: certificates of both sides, their reload, tokens given out and taken back,
// and configurations that are refused before anybody listens.
#include <sys/stat.h>

#include <csignal>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "grpcpp/client_context.h"
#include "tests/integration/credentials.h"
#include "tests/integration/server_test.h"
#include "tests/testing/process/raw_call.h"

namespace engram::integration {
namespace {

class TlsTest : public ServerTest {
 protected:
  // Each test starts the server that it is about.
  void SetUp() override {
    options_.data_dir = scratch_.Subfolder("store");
    credentials_ = std::make_unique<Credentials>(scratch_.Subfolder("credentials"));
  }
  void StartWithTokens() {
    options_.config = credentials_->Config();
    options_.credentials = credentials_->Channel("", credentials_->Token("admin"));
    StartServer();
  }
  void StartMutual() {
    options_.config = credentials_->Config(/*mutual=*/true);
    options_.credentials = credentials_->Channel("admin", "");
    StartServer();
  }

  grpc::Status ListModels(const std::shared_ptr<grpc::ChannelCredentials>& credentials) const {
    return testing::CallRaw(server_->NewChannel(credentials), "/engram.v1.Models/ListModels", "",
                            absl::Seconds(5))
        .status;
  }
  grpc::Status ListModelsBy(const std::string& token) const {
    return ListModels(credentials_->Channel("", token));
  }
  // A reload is seen within two seconds; a loaded machine gets more.
  template <typename Condition>
  static bool Eventually(Condition condition) {
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (absl::Now() < end) {
      if (condition()) return true;
      absl::SleepFor(absl::Milliseconds(50));
    }
    return false;
  }
  // The certificate that the server shows to a new connection.
  std::string ServerCertificate() const {
    const auto stub = v1::Models::NewStub(server_->NewChannel());
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(5)));
    v1::ListModelsResponse response;
    if (!stub->ListModels(&context, {}, &response).ok()) return "";
    const auto found = context.auth_context()->FindPropertyValues("x509_pem_cert");
    return found.empty() ? "" : std::string(found[0].data(), found[0].size());
  }
  void WriteTokens(const std::string& text, mode_t mode = 0600) const {
    const std::string next = credentials_->File("tokens.new");
    std::ofstream(next) << text;
    ASSERT_EQ(chmod(next.c_str(), mode), 0);
    ASSERT_EQ(rename(next.c_str(), credentials_->File("tokens").c_str()), 0);
  }
  // A start that must fail at once with 78 and these words.
  void ExpectRefusedStart(const std::string& config, const std::string& words,
                          const std::vector<std::string>& flags = {}) {
    testing::ServerOptions options;
    options.data_dir = scratch_.Subfolder(absl::StrCat("refused", ++starts_));
    options.config = config;
    options.flags = flags;
    const auto finished = testing::RunToEnd(testing::ServerCommand(options), absl::Seconds(20),
                                            options.data_dir + ".log");
    ASSERT_TRUE(finished.ok()) << finished.status() << " " << words;
    EXPECT_EQ(finished->code, 78) << finished->output;
    EXPECT_NE(finished->output.find(words), std::string::npos) << finished->output;
  }

  std::unique_ptr<Credentials> credentials_;
  int starts_ = 0;
};

constexpr char kReaderTwo[] = "a second token of the reader";
// Its SHA-256.
constexpr char kReaderTwoLine[] =
    "reader reader 702501240282884eacc52f39b9611ad25bdf68df6ecd34c711908a9be83a5e2b\n";

TEST_F(TlsTest, InTheClearNobodyGetsThrough) {
  StartWithTokens();
  EXPECT_TRUE(ListModelsBy(credentials_->Token("reader")).ok());
  EXPECT_EQ(ListModels(grpc::InsecureChannelCredentials()).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  const Credentials strangers(scratch_.Subfolder("strangers"));
  EXPECT_EQ(ListModels(strangers.Channel("", "")).error_code(), grpc::StatusCode::UNAVAILABLE)
      << "a client does not take a server of another authority";
}

TEST_F(TlsTest, TokensAreGivenOutAndTakenBackWithoutARestart) {
  StartWithTokens();
  const std::string first = credentials_->Token("reader");
  const std::string before = testing::ReadWholeFile(credentials_->File("tokens"));
  EXPECT_FALSE(ListModelsBy(kReaderTwo).ok());
  WriteTokens(before + kReaderTwoLine);
  EXPECT_TRUE(Eventually([&] { return ListModelsBy(kReaderTwo).ok(); }));
  EXPECT_TRUE(ListModelsBy(first).ok()) << "both live while clients change over";
  WriteTokens("not a token at all\n");
  ASSERT_TRUE(server_->Signal(SIGHUP).ok());
  EXPECT_TRUE(Eventually(
      [&] { return absl::StrContains(server_->Output(), "event=tokens_not_reloaded"); }));
  EXPECT_TRUE(ListModelsBy(kReaderTwo).ok()) << "a broken file takes nothing back";
  WriteTokens(kReaderTwoLine);
  ASSERT_TRUE(server_->Signal(SIGHUP).ok());
  EXPECT_TRUE(Eventually([&] {
    return ListModelsBy(first).error_code() == grpc::StatusCode::UNAUTHENTICATED;
  }));
  EXPECT_TRUE(ListModelsBy(kReaderTwo).ok());
  EXPECT_EQ(server_->Output().find("not a token"), std::string::npos);
}

TEST_F(TlsTest, CertificatesAreReloadedUnderOpenConnections) {
  StartWithTokens();
  const std::string before = ServerCertificate();
  ASSERT_FALSE(before.empty());
  credentials_->Renew();
  EXPECT_TRUE(Eventually([&] {
    const std::string now = ServerCertificate();
    return !now.empty() && now != before;
  }));
  const auto still =
      testing::Call(*stubs_->models, &v1::Models::Stub::ListModels, v1::ListModelsRequest());
  EXPECT_TRUE(still.ok()) << still.status.error_message();
}

TEST_F(TlsTest, ACertificateSaysWhoItIs) {
  StartMutual();
  EXPECT_TRUE(ListModels(credentials_->Channel("reader", "")).ok());
  const auto create = [this](const std::shared_ptr<grpc::ChannelCredentials>& credentials) {
    return testing::CallRaw(server_->NewChannel(credentials), "/engram.v1.Models/CreateModel", "")
        .status.error_code();
  };
  EXPECT_EQ(create(credentials_->Channel("writer", "")), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(create(credentials_->Channel("admin", "")), grpc::StatusCode::INVALID_ARGUMENT);
  // A token speaks for the call, and a bad one is not made good by the certificate.
  EXPECT_EQ(create(credentials_->Channel("reader", credentials_->Token("admin"))),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(create(credentials_->Channel("admin", "wrong")), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(create(credentials_->Channel("admin", credentials_->Token("reader"))),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(TlsTest, WithoutAGoodCertificateThereIsNoConnection) {
  StartMutual();
  EXPECT_EQ(ListModels(credentials_->Channel("", credentials_->Token("admin"))).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  const Credentials strangers(scratch_.Subfolder("strangers"));
  grpc::SslCredentialsOptions foreign;
  foreign.pem_root_certs = testing::ReadWholeFile(credentials_->File("ca.pem"));
  foreign.pem_cert_chain = testing::ReadWholeFile(strangers.File("admin.pem"));
  foreign.pem_private_key = testing::ReadWholeFile(strangers.File("admin.key"));
  EXPECT_EQ(ListModels(grpc::SslCredentials(foreign)).error_code(),
            grpc::StatusCode::UNAVAILABLE);
}

TEST_F(TlsTest, TheCommandShowsItsCertificate) {
  StartMutual();
  const auto finished = testing::RunToEnd(
      {testing::CommandBinary(), "--server", server_->grpc_address(), "--tls_ca",
       credentials_->File("ca.pem"), "--tls_certificate", credentials_->File("reader.pem"),
       "--tls_key", credentials_->File("reader.key"), "model", "list"},
      absl::Seconds(30), scratch_.path() + "/command");
  ASSERT_TRUE(finished.ok()) << finished.status();
  EXPECT_EQ(finished->code, 0) << finished->output;
}

TEST_F(TlsTest, WithTlsAndTokensTheServerListensToTheNetwork) {
  credentials_->Renew("0.0.0.0");  // what the test connects to
  options_.flags = {"--listen=0.0.0.0:0"};
  StartWithTokens();
  EXPECT_TRUE(ListModelsBy(credentials_->Token("reader")).ok());
}

TEST_F(TlsTest, WhatCouldNotProtectIsRefusedAtStart) {
  const std::string config = credentials_->Config();
  const std::string tls_only = config.substr(0, config.find("http_tls"));
  const std::string tokens_only = config.substr(config.find("authentication"));
  const std::vector<std::string> anywhere = {"--listen=0.0.0.0:0"};
  ExpectRefusedStart("", "configure tls and authentication", anywhere);
  ExpectRefusedStart(tls_only, "anybody could do anything", anywhere);
  ExpectRefusedStart(tokens_only, "tokens would cross the network in the clear", anywhere);
  const auto with = [&config](const std::string& from, const std::string& to) {
    return absl::StrReplaceAll(config, {{from, to}});
  };
  ExpectRefusedStart(with("server.key", "reader.key"), "is not the key of");
  ExpectRefusedStart(with("server.pem", "none.pem"), "tls.certificate_file: cannot read");
  ExpectRefusedStart(with("server.pem", "tokens"), "is not a PEM certificate");
  ExpectRefusedStart(with("server.key", "tokens"), "is not a PEM key");
  ExpectRefusedStart(with("/tokens", "/none"), "authentication.token_file: cannot read");
  WriteTokens(testing::ReadWholeFile(credentials_->File("tokens")), 0640);
  ExpectRefusedStart(config, "mode 0600");
  WriteTokens(testing::ReadWholeFile(credentials_->File("tokens")));
  ExpectRefusedStart(with("http_tls {", "http_tls { client_ca_file: \"" +
                                            credentials_->File("ca.pem") + "\""),
                     "http_tls.client_ca_file");
  ASSERT_EQ(chmod(credentials_->File("server.key").c_str(), 0644), 0);
  ExpectRefusedStart(config, "open to everybody");
}

}  // namespace
}  // namespace engram::integration
