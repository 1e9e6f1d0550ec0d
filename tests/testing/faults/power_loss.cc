#include "tests/testing/faults/power_loss.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "storage/base/check.h"

namespace engram::testing {
namespace {

namespace fs = std::filesystem;

struct Record {
  int64_t number = 0;
  char what = 0;
  std::vector<std::string> fields;  // behind `what`
};

int64_t Number(const std::string& text) {
  int64_t number = 0;
  ENGRAM_CHECK(absl::SimpleAtoi(text, &number));
  return number;
}

std::vector<Record> ReadJournal(const std::string& path) {
  std::vector<Record> records;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    if (in.eof()) break;  // the process died in the middle of the line, before what it announces
    std::vector<std::string> fields = absl::StrSplit(line, '\t');
    ENGRAM_CHECK(fields.size() >= 3 && fields[1].size() == 1);
    Record record{Number(fields[0]), fields[1][0], {}};
    record.fields.assign(fields.begin() + 2, fields.end());
    records.push_back(std::move(record));
  }
  return records;
}

std::string ParentOf(const std::string& path) { return fs::path(path).parent_path().string(); }

bool IsThere(const std::string& path) {
  struct stat found {};
  return lstat(path.c_str(), &found) == 0;
}

class Player {
 public:
  explicit Player(const PowerLossInput& input)
      : input_(input), random_(static_cast<unsigned>(input.loss.seed)) {}

  PowerLossReport Play() {
    const std::vector<Record> records = ReadJournal(input_.journal);
    for (const Record& record : records) Sort(record);
    UndoNames();
    UndoBytes();
    CutFiles();
    return report_;
  }

 private:
  void Sort(const Record& record) {
    switch (record.what) {
      case 'F': {
        int64_t& upto = folder_durable_[record.fields[0]];
        upto = std::max(upto, Number(record.fields[1]));
        break;
      }
      case 'S': {
        const auto inode = static_cast<uint64_t>(Number(record.fields[0]));
        durable_[inode] = {Number(record.fields[1]), Number(record.fields[2])};
        break;
      }
      case 'W':
      case 'T':
        bytes_.push_back(record);
        break;
      default:
        names_.push_back(record);
    }
  }

  // Also the folder that a rename leads to.
  bool IsDurable(const Record& name) const {
    const size_t paths = name.what == 'R' ? 2 : 1;
    for (size_t i = 0; i < paths; ++i) {
      const auto synced = folder_durable_.find(ParentOf(name.fields[i]));
      if (synced == folder_durable_.end() || synced->second < name.number) return false;
    }
    return true;
  }

  void UndoNames() {
    names_.erase(std::remove_if(names_.begin(), names_.end(),
                                [this](const Record& name) { return IsDurable(name); }),
                 names_.end());
    const size_t survive = Draw(names_.size());
    for (size_t i = names_.size(); i > survive; --i) Undo(names_[i - 1]);
    report_.names_undone = static_cast<int>(names_.size() - survive);
  }

  // A record tells what was about to be done; the process may have died before it was.
  void Undo(const Record& name) {
    const std::string& path = name.fields[0];
    std::error_code ignored;
    switch (name.what) {
      case 'C':
        fs::remove(path, ignored);
        break;
      case 'M':
        fs::remove_all(path, ignored);
        break;
      case 'D':
        fs::create_directory(path, ignored);
        break;
      case 'U':
        if (!IsThere(path)) Restore(name.fields[1], path);
        break;
      case 'R':
        if (IsThere(path)) break;
        fs::rename(name.fields[1], path, ignored);
        Restore(name.fields[2], name.fields[1]);
        break;
      default:
        ENGRAM_CHECK(false);
    }
  }

  void Restore(const std::string& grave, const std::string& path) {
    if (grave == "-") return;
    ENGRAM_CHECK(link(absl::StrCat(input_.graves, "/", grave).c_str(), path.c_str()) == 0);
  }

  void UndoBytes() {
    const std::map<uint64_t, std::string> paths = Paths();
    for (size_t i = bytes_.size(); i > 0; --i) {
      const Record& record = bytes_[i - 1];
      const auto inode = static_cast<uint64_t>(Number(record.fields[0]));
      const auto synced = durable_.find(inode);
      if (synced != durable_.end() && synced->second.upto >= record.number) continue;
      const auto path = paths.find(inode);
      if (path == paths.end()) continue;
      const std::string bytes = FromHex(record.fields[2]);
      const int file = open(path->second.c_str(), O_WRONLY | O_CLOEXEC);
      ENGRAM_CHECK(file >= 0);
      ENGRAM_CHECK(pwrite(file, bytes.data(), bytes.size(), Number(record.fields[1])) ==
                   static_cast<ssize_t>(bytes.size()));
      close(file);
      report_.bytes_lost += static_cast<int64_t>(bytes.size());
    }
  }

  void CutFiles() {
    for (const auto& [inode, path] : Paths()) {
      int64_t keep = 0;
      const auto before = input_.durable_sizes.find(inode);
      if (before != input_.durable_sizes.end()) keep = before->second;
      const auto synced = durable_.find(inode);
      if (synced != durable_.end()) keep = synced->second.size;
      const auto size = static_cast<int64_t>(fs::file_size(path));
      if (size <= keep) continue;
      keep += static_cast<int64_t>(Draw(static_cast<size_t>(size - keep)));
      if (keep == size) continue;
      ENGRAM_CHECK(truncate(path.c_str(), keep) == 0);
      ++report_.files_cut;
      report_.bytes_lost += size - keep;
    }
  }

  // 0 in the worst case, else anything up to `most`.
  size_t Draw(size_t most) {
    if (input_.loss.seed == 0) return 0;
    return std::uniform_int_distribution<size_t>(0, most)(random_);
  }

  std::map<uint64_t, std::string> Paths() const {
    std::map<uint64_t, std::string> paths;
    for (const auto& entry : fs::recursive_directory_iterator(input_.folder)) {
      struct stat found {};
      ENGRAM_CHECK(lstat(entry.path().c_str(), &found) == 0);
      if (S_ISREG(found.st_mode)) paths[found.st_ino] = entry.path().string();
    }
    return paths;
  }

  static std::string FromHex(const std::string& hex) {
    std::string bytes;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
      bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    return bytes;
  }

  struct Durable {
    int64_t size = 0;
    int64_t upto = 0;  // records up to this one are durable in the file
  };

  const PowerLossInput& input_;
  std::minstd_rand random_;
  std::vector<Record> names_;
  std::vector<Record> bytes_;
  std::map<std::string, int64_t> folder_durable_;
  std::map<uint64_t, Durable> durable_;
  PowerLossReport report_;
};

}  // namespace

std::map<uint64_t, int64_t> FileSizes(const std::string& folder) {
  std::map<uint64_t, int64_t> sizes;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    struct stat found {};
    ENGRAM_CHECK(lstat(entry.path().c_str(), &found) == 0);
    if (S_ISREG(found.st_mode)) sizes[found.st_ino] = found.st_size;
  }
  return sizes;
}

PowerLossReport PlayPowerLoss(const PowerLossInput& input) { return Player(input).Play(); }

}  // namespace engram::testing
