// A configuration is taken over whole or not at all.
#include "server/reload.h"

#include <sys/stat.h>

#include <fstream>

#include "google/protobuf/descriptor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/config.h"
#include "tests/testing/process/scratch_folder.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class ReloadTest : public ::testing::Test {
 protected:
  ReloadTest() { Write("limits { tasks: 7 }"); }

  void Write(const std::string& text) { std::ofstream(path_, std::ios::trunc) << text; }
  void Start(Authority* authority = nullptr) {
    reloader_ = std::make_unique<ConfigReloader>(
        path_, *LoadConfig(path_), authority,
        std::vector<ConfigReloader::Apply>{
            [this](const v1::ServerConfig& config) { applied_.push_back(config); }});
  }
  absl::Status Refused() {
    const absl::Status status = reloader_->Reload().status();
    EXPECT_FALSE(status.ok());
    EXPECT_THAT(applied_, IsEmpty());
    EXPECT_EQ(reloader_->current()->limits().tasks(), 7) << "the old one stays";
    return status;
  }

  const testing::ScratchFolder folder_;
  const std::string path_ = folder_.path() + "/config";
  std::vector<v1::ServerConfig> applied_;
  std::unique_ptr<ConfigReloader> reloader_;
};

TEST_F(ReloadTest, WhatMayChangeLiveDoes) {
  Start();
  Write("limits { tasks: 9 } retention { log_seconds: 60 } live_evaluation_share: 0.5");
  const auto reloaded = reloader_->Reload();
  ASSERT_TRUE(reloaded.ok()) << reloaded.status();
  ASSERT_THAT(reloaded->changes(), SizeIs(3));
  EXPECT_EQ(reloaded->changes(0).field(), "limits.tasks");
  EXPECT_EQ(reloaded->changes(0).before(), "7");
  EXPECT_EQ(reloaded->changes(0).after(), "9");
  ASSERT_THAT(applied_, SizeIs(1));
  EXPECT_EQ(applied_[0].limits().tasks(), 9);
  EXPECT_EQ(applied_[0].retention().log_seconds(), 60);
  EXPECT_EQ(reloader_->current()->live_evaluation_share(), 0.5);
  EXPECT_THAT(reloader_->Reload()->changes(), IsEmpty()) << "the same file again";
}

TEST_F(ReloadTest, AFileWithAnythingWrongChangesNothing) {
  Start();
  Write("limits { tasks: 9 producers: -1 }");
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("limits.producers"));
  Write("limits { tasks: 9 } shoe_size: 43");
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("shoe_size"));
  Write("limits { tasks: 9 } self_probe { misses: 1000 }");
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("self_probe.misses"));
  unlink(path_.c_str());
  const absl::Status gone = Refused();
  EXPECT_TRUE(absl::IsNotFound(gone));
  EXPECT_EQ(gone.message().find(folder_.path()), absl::string_view::npos) << "no paths to callers";
}

TEST_F(ReloadTest, WhatNeedsARestartIsNamedAndRefusesTheRest) {
  Start();
  Write("limits { tasks: 9 message_bytes: 100000 } trainer_threads: 2 models { name: \"m\" }");
  const absl::Status status = Refused();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("models, limits.message_bytes, trainer_threads: cannot change"));
  Write("limits { tasks: 9 } tls { certificate_file: \"c\" key_file: \"k\" }");
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("tls"));
  Write("limits { tasks: 9 } authentication { token_file: \"t\" }");
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("authentication"));
}

TEST_F(ReloadTest, WithoutAFileThereIsNothingToRead) {
  const ConfigReloader::Apply nothing = [](const v1::ServerConfig&) {};
  ConfigReloader reloader("", *CompleteConfig({}), nullptr, {nothing});
  EXPECT_TRUE(absl::IsFailedPrecondition(reloader.Reload().status()));
}

TEST_F(ReloadTest, EveryNameInTheTableIsAFieldThatExists) {
  int live = 0;
  const auto count = [&live](const google::protobuf::Descriptor* of, const std::string& prefix) {
    for (int i = 0; i < of->field_count(); ++i) {
      live += MayChangeLive(prefix + of->field(i)->name()) ? 1 : 0;
    }
  };
  count(v1::ServerConfig::descriptor(), "");
  count(v1::Limits::descriptor(), "limits.");
  count(v1::Retention::descriptor(), "retention.");
  count(v1::Authentication::descriptor(), "authentication.");
  EXPECT_GE(live, 9);
}

TEST_F(ReloadTest, BindingsAndTokensComeWithIt) {
  const std::string tokens = folder_.path() + "/tokens";
  const auto write_tokens = [&tokens](const std::string& text) {
    std::ofstream(tokens, std::ios::trunc) << text;
    chmod(tokens.c_str(), 0600);
  };
  write_tokens("reader r " + std::string(64, 'a') + "\n");
  const std::string head = "limits { tasks: 7 } authentication { token_file: \"" + tokens + "\" ";
  Write(head + "}");
  const auto authority = *Authority::Make(*LoadConfig(path_));
  Start(authority.get());
  const Identity writer{Role::kWriter, "w"};
  ASSERT_TRUE(authority->bindings()->Admit(writer, "p").ok());
  const uint64_t generation = authority->generation();

  Write(head + "bindings { writer: \"other\" producers: \"p\" } }");
  write_tokens("nonsense\n");
  EXPECT_THAT(std::string(Refused().message()), HasSubstr("authentication.token_file"));
  EXPECT_TRUE(authority->bindings()->Admit(writer, "p").ok()) << "bad tokens: nothing changes";

  write_tokens("reader r " + std::string(64, 'a') + "\n");
  const auto reloaded = reloader_->Reload();
  ASSERT_TRUE(reloaded.ok()) << reloaded.status();
  EXPECT_FALSE(authority->bindings()->Admit(writer, "p").ok());
  EXPECT_GT(authority->generation(), generation) << "streams ask again";
}

TEST(OwnTokenTest, TheServersOwnTokenIsAReadersAndNobodyElseHasIt) {
  v1::ServerConfig config;
  config.mutable_tls()->set_client_ca_file("ca.pem");
  const auto authority = *Authority::Make(config);
  const auto own = authority->Identify("Bearer " + authority->own_token());
  ASSERT_TRUE(own.ok());
  EXPECT_EQ(own->role, Role::kReader);
  EXPECT_NE((*Authority::Make(config))->own_token(), authority->own_token());
  EXPECT_FALSE(authority->Identify("Bearer ").ok());
}

}  // namespace
}  // namespace engram::server
