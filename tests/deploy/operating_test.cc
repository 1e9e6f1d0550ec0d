// The operator's page against the code, and the alerts against the exporter.
#include <sysexits.h>

#include <algorithm>
#include <filesystem>
#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/audit_log.h"
#include "server/backup_job.h"
#include "server/exporter.h"
#include "tests/deploy/operating_page.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/subprocess.h"
#include "tests/testing/server_edge/edge_rig.h"
#include "tests/testing/storage/fake_store.h"

namespace engram::deploy {
namespace {

using ::testing::Contains;
using ::testing::IsEmpty;
using Words = std::set<std::string>;

const std::string& Source() {
  static const auto* const folder = new std::string(ENGRAM_SOURCE_FOLDER);
  return *folder;
}
std::string Page() { return testing::ReadWholeFile(Source() + "/deploy/OPERATING.md"); }
std::string Rules(const std::string& name) {
  return testing::ReadWholeFile(Source() + "/deploy/prometheus/" + name);
}

Words Without(const Words& all, const Words& some) {
  Words rest;
  std::set_difference(all.begin(), all.end(), some.begin(), some.end(),
                      std::inserter(rest, rest.end()));
  return rest;
}

void ExpectSame(const Words& in_code, const Words& on_page, size_t at_least) {
  EXPECT_GE(in_code.size(), at_least) << "the pattern finds too little";
  EXPECT_THAT(Without(in_code, on_page), IsEmpty()) << "have no row in deploy/OPERATING.md";
  EXPECT_THAT(Without(on_page, in_code), IsEmpty()) << "have a row there, and are gone";
}

TEST(OperatingPageTest, ReadsTablesByTheirHeading) {
  const std::string page = "| one | x |\n|---|---|\n| a, b | y |\n\ntext\n| two |\n|---|\n| c |\n";
  EXPECT_EQ(TableColumn(page, "one", 0), (Words{"a", "b"}));
  EXPECT_EQ(TableColumn(page, "one", 1), (Words{"y"}));
  EXPECT_EQ(TableColumn(page, "two", 0), (Words{"c"}));
  EXPECT_THAT(TableColumn(page, "three", 0), IsEmpty());
}

TEST(OperatingPageTest, HasARowForEveryErrorReason) {
  ExpectSame(WordsInSources(Source() + "/server", "WithReason\\([^\"]*\"([A-Z_]+)\""),
             TableColumn(Page(), "reason", 0), 12);
}

TEST(OperatingPageTest, HasARowForEveryExhaustedLimit) {
  ExpectSame(WordsInSources(Source() + "/server", "OverLimit\\(\\s*\"([a-z_.]+)\""),
             TableColumn(Page(), "exhausted", 0), 10);
}

TEST(OperatingPageTest, HasARowForEveryEventThatIsNotGoodNews) {
  ExpectSame(WordsInSources(Source() + "/server",
                            "Log\\(\\s*LogLevel::k(?:Error|Warning),\\s*\"([a-z_]+)\""),
             TableColumn(Page(), "event", 0), 20);
}

TEST(OperatingPageTest, HasARowForEveryExitCode) {
  const std::map<std::string, int> numbers = {
      {"EX_OK", EX_OK},         {"EX_USAGE", EX_USAGE},
      {"EX_DATAERR", EX_DATAERR}, {"EX_NOINPUT", EX_NOINPUT},
      {"EX_UNAVAILABLE", EX_UNAVAILABLE}, {"EX_SOFTWARE", EX_SOFTWARE},
      {"EX_OSERR", EX_OSERR},   {"EX_CANTCREAT", EX_CANTCREAT},
      {"EX_IOERR", EX_IOERR},   {"EX_TEMPFAIL", EX_TEMPFAIL},
      {"EX_NOPERM", EX_NOPERM}, {"EX_CONFIG", EX_CONFIG}};
  const Words codes = TableColumn(Page(), "exit code", 0);
  const Words names = TableColumn(Page(), "exit code", 1);
  const Words used = WordsInSources(Source() + "/server", "\\b(EX_[A-Z]+)\\b");
  EXPECT_GE(used.size(), 6u);
  for (const std::string& name : used) {
    ASSERT_TRUE(numbers.count(name) > 0) << name;
    EXPECT_THAT(names, Contains(name == "EX_OK" ? "OK" : name));
    EXPECT_THAT(codes, Contains(absl::StrCat(numbers.at(name)))) << name;
  }
}

TEST(AlertsTest, EveryAlertHasARow) {
  ExpectSame(WordsIn(Rules("engram_rules.yml"), "- alert: ([A-Za-z]+)"),
             TableColumn(Page(), "alert", 0), 10);
}

TEST(AlertsTest, EveryMetricIsOneThatTheServerHas) {
  testing::EdgeRig rig;
  rig.AddDigits();
  testing::ScratchFolder scratch;
  testing::FakeStore store;
  v1::ServerConfig config;
  config.mutable_backups()->set_folder(scratch.path() + "/backups");
  const auto backups = server::BackupJob::Make(config, scratch.path() + "/data", &store);
  ASSERT_TRUE(backups.ok()) << backups.status();
  rig.edge().backups = backups->get();
  config.mutable_audit()->set_file_bytes(1 << 20);
  config.mutable_audit()->set_files(2);
  std::filesystem::create_directory(scratch.path() + "/data");
  const auto audit = server::AuditLog::Open(scratch.path() + "/data", config.audit());
  ASSERT_TRUE(audit.ok()) << audit.status();
  rig.edge().audit = audit->get();
  Words exported;
  for (const auto& family : server::Exporter(rig.edge()).Collect()) {
    exported.insert(family.name);
    if (family.type != prometheus::MetricType::Histogram) continue;
    for (const char* part : {"_bucket", "_sum", "_count"}) exported.insert(family.name + part);
  }
  rig.edge().backups = nullptr;
  rig.edge().audit = nullptr;
  // Names with colons are made by the recording rules themselves.
  const Words used =
      WordsIn(Rules("engram_rules.yml") + Rules("engram_recording_rules.yml"),
              "(?:^|[^:\\w])((?:engram|process)_[a-z_]+)\\b(?![:.])");
  EXPECT_GE(used.size(), 12u);
  EXPECT_THAT(Without(used, exported), IsEmpty()) << "are in a rule and not in /metrics";
}

}  // namespace
}  // namespace engram::deploy
