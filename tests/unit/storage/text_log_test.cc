// RocksDB's text log: what it keeps, and that nothing comes of a line that it cannot write.
#include "storage/rocksdb_text_log.h"

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class TextLogTest : public ::testing::Test {
 protected:
  std::string Read(const std::string& name) const {
    std::ifstream file(folder_ + "/" + name);
    std::stringstream text;
    text << file.rdbuf();
    return text.str();
  }

  ScratchFolder scratch_;
  const std::string folder_ = scratch_.path() + "/db";
};

TEST_F(TextLogTest, KeepsLinesAndThoseOfTheProcessBefore) {
  rocksdb::Log(OpenTextLog(folder_), "first %d", 1);
  const auto log = OpenTextLog(folder_);
  rocksdb::Log(log, "second");
  EXPECT_THAT(Read("LOG.old"), HasSubstr("Z first 1\n"));
  EXPECT_THAT(Read("LOG"), HasSubstr("Z second\n"));
}

TEST_F(TextLogTest, IsBoundInBytesAndInTheBytesOfALine) {
  const auto log = OpenTextLog(folder_, 10000);
  for (int line = 0; line < 20; ++line) {
    rocksdb::Log(log, "%s", std::string(5000, static_cast<char>('a' + line)).c_str());
  }
  EXPECT_LT(std::filesystem::file_size(folder_ + "/LOG"), 10000 + 4096u);
  EXPECT_LT(std::filesystem::file_size(folder_ + "/LOG.old"), 10000 + 4096u);
  EXPECT_THAT(Read("LOG") + Read("LOG.old"), HasSubstr("ttt\n"));
}

// A limit on the size of files stands for a full disk: write() fails alike.
TEST_F(TextLogTest, ALineWithoutRoomIsLostAndTheNextIsNot) {
  const auto log = OpenTextLog(folder_);
  rocksdb::Log(log, "before");
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit files{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &files), 0);
  rlimit none = files;
  none.rlim_cur = std::filesystem::file_size(folder_ + "/LOG");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &none), 0);
  for (int line = 0; line < 3; ++line) rocksdb::Log(log, "lost");
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &files), 0);
  std::signal(SIGXFSZ, handler);
  rocksdb::Log(log, "after");
  EXPECT_THAT(Read("LOG"), AllOf(HasSubstr("before"), Not(HasSubstr("lost")), HasSubstr("after")));
}

TEST_F(TextLogTest, AFolderThatCannotBeIsNoError) {
  rocksdb::Log(OpenTextLog(scratch_.path() + "/no/such"), "lost");
}

}  // namespace
}  // namespace engram::storage
