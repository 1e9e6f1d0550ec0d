#include "tests/testing/faults/fault_box.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "tests/testing/faults/power_loss.h"

namespace engram::testing {

namespace fs = std::filesystem;

FaultBox::FaultBox(std::string box, const std::string& tracked)
    : box_(std::move(box)), tracked_(fs::canonical(tracked).string()) {
  ENGRAM_CHECK(mkdir((box_ + "/graves").c_str(), 0700) == 0);
  const std::string path = box_ + "/control";
  const int file = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  ENGRAM_CHECK(file >= 0 && ftruncate(file, sizeof(FaultControl)) == 0);
  void* const page =
      mmap(nullptr, sizeof(FaultControl), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  ENGRAM_CHECK(page != MAP_FAILED);
  control_ = static_cast<FaultControl*>(page);
  ENGRAM_CHECK(tracked_.size() < sizeof(control_->folder));
  std::memcpy(control_->folder, tracked_.c_str(), tracked_.size() + 1);
  control_->free_bytes.store(-1);
}

FaultBox::~FaultBox() { munmap(control_, sizeof(FaultControl)); }

std::vector<std::string> FaultBox::Environment() const {
  return {absl::StrCat("LD_PRELOAD=", ENGRAM_FAULT_SHIM), absl::StrCat("ENGRAM_FAULTS=", box_)};
}

void FaultBox::FailCall(IoCall call, int64_t at, int32_t error, bool sticky) {
  ResetCounts();
  control_->call.store(static_cast<int32_t>(call));
  control_->error.store(error);
  control_->sticky.store(sticky ? 1 : 0);
  control_->at.store(at);
}

void FaultBox::FailNothing() { control_->at.store(0); }

void FaultBox::ResetCounts() {
  control_->failed.store(0);
  for (auto& count : control_->calls) count.store(0);
}

void FaultBox::BeginJournal() {
  fs::remove_all(box_ + "/graves");
  ENGRAM_CHECK(mkdir((box_ + "/graves").c_str(), 0700) == 0);
  fs::remove(box_ + "/journal");
  control_->journal_records.store(0);
  control_->keep_journal.store(1);
  durable_sizes_ = FileSizes(tracked_);
}

PowerLossReport FaultBox::LosePower(const PowerLoss& loss) {
  return PlayPowerLoss({tracked_, box_ + "/journal", box_ + "/graves", durable_sizes_, loss});
}

}  // namespace engram::testing
