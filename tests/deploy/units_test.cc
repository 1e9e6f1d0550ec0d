// The units of deploy/systemd, by systemd's own checks. Part of the suite where systemd is.
#include "absl/strings/match.h"
#include "tests/deploy/deploy_rig.h"
#include "tests/testing/process/server_process.h"

namespace engram::deploy {
namespace {

TEST_F(DeployTest, SystemdTakesTheUnitsAndFindsTheServerLittleExposed) {
  std::vector<std::string> units;
  for (const char* name : {"engramd.service", "engram-backup.service", "engram-backup.timer"}) {
    units.push_back(ReplacedCopy(absl::StrCat(Deploy(), "/systemd/", name),
                                 {{"/usr/local/bin/engramd", testing::ServerBinary()},
                                  {"/usr/local/bin/engram ", testing::CommandBinary() + " "}}));
  }
  std::vector<std::string> verify = {ENGRAM_SYSTEMD_ANALYZE, "verify"};
  verify.insert(verify.end(), units.begin(), units.end());
  const auto verified = Run(verify);
  EXPECT_EQ(verified.code, 0) << verified.output;
  EXPECT_FALSE(absl::StrContains(verified.output, "engram")) << verified.output;
  const auto exposure = Run(
      {ENGRAM_SYSTEMD_ANALYZE, "security", "--offline=true", "--threshold=20", units[0]});
  EXPECT_EQ(exposure.code, 0) << exposure.output;
}

}  // namespace
}  // namespace engram::deploy
