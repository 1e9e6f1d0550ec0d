// The shim and the power loss that is played from its journal, on a program of a few calls: this
// one, run again with the name of a scenario.
#include "tests/testing/faults/fault_box.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <functional>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/subprocess.h"

namespace engram::testing {
namespace {

std::string program;  // argv[0]

// --- what the watched program does, in its folder ---

int Make(const std::string& path) { return open(path.c_str(), O_RDWR | O_CREAT, 0600); }

bool Append(int file, const std::string& bytes) {
  return write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
}

void SyncFolder(const std::string& folder) {
  const int file = open(folder.c_str(), O_RDONLY | O_DIRECTORY);
  fsync(file);
  close(file);
}

using Scenario = std::function<void(const std::string&)>;

void AppendTwice(const std::string& folder) {
  const int file = Make(folder + "/a");
  Append(file, "synced");
  fdatasync(file);
  SyncFolder(folder);
  Append(file, "lost");
}

void MakeWithoutFolder(const std::string& folder) {
  const int file = Make(folder + "/b");
  Append(file, "bytes");
  fsync(file);
}

void Replace(const std::string& folder) {
  const int file = Make(folder + "/kept.part");
  Append(file, "new");
  fsync(file);
  rename((folder + "/kept.part").c_str(), (folder + "/kept").c_str());
}

void ReplaceWell(const std::string& folder) {
  Replace(folder);
  SyncFolder(folder);
}

void Remove(const std::string& folder) { unlink((folder + "/kept").c_str()); }

void RemoveWell(const std::string& folder) {
  Remove(folder);
  SyncFolder(folder);
}

void Overwrite(const std::string& folder) {
  const int file = open((folder + "/kept").c_str(), O_RDWR);
  if (pwrite(file, "OL", 2, 0) == 2) fdatasync(file);
  if (pwrite(file, "x", 1, 0) != 1) return;
  if (ftruncate(file, 2) != 0) return;
}

void MakeFolder(const std::string& folder) {
  mkdir((folder + "/sub").c_str(), 0700);
  const int file = Make(folder + "/sub/c");
  fsync(file);
  SyncFolder(folder + "/sub");
}

void WriteThrice(const std::string& folder) {
  const int file = Make(folder + "/d");
  for (int i = 0; i < 3; ++i) {
    errno = 0;
    std::printf("%d ", Append(file, "12345") ? 0 : errno);
  }
  std::fflush(stdout);
}

const std::map<std::string, Scenario>& Scenarios() {
  static const auto* scenarios = new std::map<std::string, Scenario>{
      {"AppendTwice", AppendTwice}, {"MakeWithoutFolder", MakeWithoutFolder},
      {"Replace", Replace},         {"ReplaceWell", ReplaceWell},
      {"Remove", Remove},           {"RemoveWell", RemoveWell},
      {"Overwrite", Overwrite},     {"MakeFolder", MakeFolder},
      {"WriteThrice", WriteThrice}};
  return *scenarios;
}

// --- the tests ---

class FaultBoxTest : public ::testing::Test {
 protected:
  FaultBoxTest()
      : folder_(scratch_.Subfolder("watched")), box_(scratch_.Subfolder("box"), folder_) {
    const int file = Make(folder_ + "/kept");
    Append(file, "old");
    close(file);
  }

  // What the scenario printed.
  std::string Act(const std::string& scenario) {
    const std::string output = scratch_.path() + "/output." + scenario;
    auto child = Subprocess::Start({program, "--scenario", scenario, folder_}, output,
                                   box_.Environment());
    EXPECT_TRUE(child.ok() && (*child)->Wait(absl::Seconds(20)).ok());
    return ReadWholeFile(output);
  }
  PowerLossReport ActAndLosePower(const std::string& scenario) {
    box_.BeginJournal();
    Act(scenario);
    return box_.LosePower(PowerLoss{});
  }
  std::string Read(const std::string& name) const { return ReadWholeFile(folder_ + "/" + name); }
  bool IsThere(const std::string& name) const {
    return access((folder_ + "/" + name).c_str(), F_OK) == 0;
  }

  ScratchFolder scratch_;
  const std::string folder_;
  FaultBox box_;
};

TEST_F(FaultBoxTest, BytesBehindTheLastSyncAreLost) {
  EXPECT_EQ(ActAndLosePower("AppendTwice").bytes_lost, 4);
  EXPECT_EQ(Read("a"), "synced");
}

TEST_F(FaultBoxTest, ARandomPartOfThemSurvives) {
  box_.BeginJournal();
  Act("AppendTwice");
  box_.LosePower(PowerLoss{3});
  const std::string left = Read("a");
  EXPECT_EQ(left, std::string("syncedlost").substr(0, left.size()));
  EXPECT_GE(left.size(), 6u);
}

TEST_F(FaultBoxTest, ANameInAFolderThatWasNotSyncedIsGone) {
  EXPECT_EQ(ActAndLosePower("MakeWithoutFolder").names_undone, 1);
  EXPECT_FALSE(IsThere("b"));
}

TEST_F(FaultBoxTest, ARenameIsTakenBackUnlessItsFolderWasSynced) {
  ActAndLosePower("Replace");
  EXPECT_EQ(Read("kept"), "old");
  EXPECT_FALSE(IsThere("kept.part"));
  ActAndLosePower("ReplaceWell");
  EXPECT_EQ(Read("kept"), "new");
}

TEST_F(FaultBoxTest, WhatWasRemovedIsBackUnlessItsFolderWasSynced) {
  ActAndLosePower("Remove");
  EXPECT_EQ(Read("kept"), "old");
  ActAndLosePower("RemoveWell");
  EXPECT_FALSE(IsThere("kept"));
}

TEST_F(FaultBoxTest, OverwrittenAndCutBytesAreTheSyncedOnes) {
  ActAndLosePower("Overwrite");
  EXPECT_EQ(Read("kept"), "OLd");
}

TEST_F(FaultBoxTest, AFolderThatItsParentDoesNotKnowIsGone) {
  ActAndLosePower("MakeFolder");
  EXPECT_FALSE(IsThere("sub"));
}

TEST_F(FaultBoxTest, TheNthCallFailsAndTheNextDoesNot) {
  box_.FailCall(IoCall::kWrite, 2, EIO, false);
  EXPECT_EQ(Act("WriteThrice"), absl::StrCat("0 ", EIO, " 0 "));
  EXPECT_EQ(box_.failed(), 1);
  EXPECT_EQ(box_.calls(IoCall::kWrite), 3);
}

TEST_F(FaultBoxTest, AStickyFaultStays) {
  box_.FailCall(IoCall::kWrite, 2, ENOSPC, true);
  EXPECT_EQ(Act("WriteThrice"), absl::StrCat("0 ", ENOSPC, " ", ENOSPC, " "));
}

TEST_F(FaultBoxTest, APlayedDiskFillsUp) {
  box_.PlayFreeBytes(11);
  EXPECT_EQ(Act("WriteThrice"), absl::StrCat("0 0 ", ENOSPC, " "));
}

TEST_F(FaultBoxTest, AKillComesInPlaceOfTheCall) {
  box_.FailCall(IoCall::kWrite, 2, kKillInstead, false);
  EXPECT_EQ(Act("WriteThrice"), "");
  EXPECT_EQ(Read("d"), "12345");
}

}  // namespace
}  // namespace engram::testing

int main(int argc, char** argv) {
  engram::testing::program = argv[0];
  if (argc == 4 && std::string(argv[1]) == "--scenario") {
    engram::testing::Scenarios().at(argv[2])(argv[3]);
    _exit(0);
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
