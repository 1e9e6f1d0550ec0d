#include "server/process_usage.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/testing/process/scratch_folder.h"

namespace engram::testing {
namespace {

TEST(ProcessUsageTest, OfThisProcessIsPlausible) {
  const auto usage = server::MeasureProcess();
  ASSERT_TRUE(usage.has_value());
  const double now = absl::ToDoubleSeconds(absl::Now() - absl::UnixEpoch());
  EXPECT_GT(usage->start_unix_seconds, now - 3600);
  EXPECT_LT(usage->start_unix_seconds, now + 5);
  EXPECT_GT(usage->resident_bytes, 1 << 20);
  EXPECT_GE(usage->threads, 1);
  EXPECT_GE(usage->open_files, 3);
  EXPECT_GE(usage->open_files_max, usage->open_files);
}

class PlantedProcTest : public ::testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(scratch_.path() + "/self/fd"); }
  void Plant(const std::string& name, const std::string& text) {
    std::ofstream(scratch_.path() + "/" + name) << text;
  }

  ScratchFolder scratch_;
};

TEST_F(PlantedProcTest, EachNumberIsItsOwnFieldAlsoBehindAStrangeName) {
  Plant("stat", "cpu 1 2 3\nbtime 1700000000\nprocesses 7\n");
  // pid (comm) state ppid pgrp session tty tpgid flags minflt cminflt majflt cmajflt utime stime
  // cutime cstime priority nice threads itrealvalue starttime vsize rss rsslim
  Plant("self/stat",
        "42 (a ) b) S 1 2 3 4 5 6 7 8 9 10 300 200 13 14 20 0 17 0 5000 999 31 18446\n");
  Plant("self/fd/0", "");
  Plant("self/fd/1", "");
  const auto usage = server::MeasureProcess(scratch_.path());
  ASSERT_TRUE(usage.has_value());
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  EXPECT_DOUBLE_EQ(usage->start_unix_seconds, 1700000000 + 5000 / ticks);
  EXPECT_DOUBLE_EQ(usage->cpu_seconds, 500 / ticks);
  EXPECT_EQ(usage->resident_bytes, 31 * sysconf(_SC_PAGESIZE));
  EXPECT_EQ(usage->threads, 17);
  EXPECT_EQ(usage->open_files, 2);
}

TEST_F(PlantedProcTest, WhatIsNotUnderstoodIsNoNumber) {
  EXPECT_FALSE(server::MeasureProcess(scratch_.path()).has_value());
  Plant("stat", "btime 1700000000\n");
  for (const char* text : {"", "42 (x) S", "42 (x) S 1 2 3\n", "42 (x) S 1 2 x 4 5\n"}) {
    Plant("self/stat", text);
    EXPECT_FALSE(server::MeasureProcess(scratch_.path()).has_value()) << text;
  }
}

}  // namespace
}  // namespace engram::testing
