// What `cmake --install` puts where, and that the program it installs still computes with the fast
// BLAS: an installation that drops the run path costs tenfold and says nothing.
#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "tests/deploy/deploy_rig.h"

namespace engram::deploy {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class InstallTest : public DeployTest {
 protected:
  void SetUp() override {
    const auto installed =
        Run({ENGRAM_CMAKE, "--install", ENGRAM_BINARY_FOLDER, "--prefix", prefix_});
    ASSERT_EQ(installed.code, 0) << installed.output;
  }
  std::string Installed(const std::string& file) {
    return testing::ReadWholeFile(absl::StrCat(prefix_, "/", file));
  }

  const std::string prefix_ = absl::StrCat(scratch_.path(), "/prefix");
};

TEST_F(InstallTest, TheProgramsRunFromThereWithTheFastBlas) {
  EXPECT_EQ(Run({prefix_ + "/bin/engram", "--help"}).code, 0);
  EXPECT_THAT(Run({prefix_ + "/bin/engramd"}).output, HasSubstr("--data_dir: required"));
  const auto dynamic = Run({ENGRAM_READELF, "--dynamic", prefix_ + "/bin/engramd"});
  ASSERT_EQ(dynamic.code, 0) << dynamic.output;
  // DT_RUNPATH would not reach what LibTorch loads.
  EXPECT_THAT(dynamic.output, HasSubstr("(RPATH)"));
  EXPECT_THAT(dynamic.output, HasSubstr("/openblas-openmp]"));
  EXPECT_THAT(dynamic.output, Not(HasSubstr("(RUNPATH)")));
}

TEST_F(InstallTest, TheUnitsStartWhatWasInstalled) {
  for (const char* unit : {"engramd.service", "engram-backup.service"}) {
    const std::string text = Installed(absl::StrCat("lib/systemd/system/", unit));
    EXPECT_THAT(text, HasSubstr(absl::StrCat("ExecStart=", prefix_, "/bin/"))) << unit;
    EXPECT_THAT(text, Not(HasSubstr("/usr/local"))) << unit;
  }
  EXPECT_THAT(Installed("lib/systemd/system/engram-backup.timer"), HasSubstr("OnCalendar"));
  EXPECT_THAT(Installed("lib/sysusers.d/engram.conf"), HasSubstr("u engram"));
}

TEST_F(InstallTest, WhatAnOperatorReadsIsThere) {
  EXPECT_THAT(Installed("share/doc/engram/OPERATING.md"), HasSubstr("## Alerts"));
  EXPECT_THAT(Installed("share/doc/engram/engramd.textproto"), HasSubstr("authentication {"));
  EXPECT_THAT(Installed("share/engram/etc/engram/engramd.textproto"), HasSubstr("backups {"));
  EXPECT_THAT(Installed("share/engram/etc/default/engramd"), HasSubstr("ENGRAM_LISTEN="));
  EXPECT_THAT(Installed("share/engram/prometheus/engram_rules.yml"), HasSubstr("EngramDown"));
  EXPECT_THAT(Installed("share/engram/proto/engram/v1/config.proto"), HasSubstr("ServerConfig"));
  EXPECT_FALSE(std::filesystem::exists(prefix_ + "/share/engram/proto/engram/internal"));
}

}  // namespace
}  // namespace engram::deploy
