#include "tests/crash/damages.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "storage/base/check.h"
#include "storage/wal_check.h"
#include "tests/testing/process/subprocess.h"

namespace engram::crash {
namespace {

namespace fs = std::filesystem;
using testing::ReadWholeFile;

constexpr size_t kWalBlockBytes = 32 << 10;

void Write(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  file.close();
  ENGRAM_CHECK(file.good());
}

std::string Need(const std::vector<std::string>& files, size_t at) {
  ENGRAM_CHECK(at < files.size());
  return files[at];
}

void Cut(const std::string& path, size_t bytes) {
  const std::string whole = ReadWholeFile(path);
  ENGRAM_CHECK(whole.size() >= bytes);
  Write(path, whole.substr(0, whole.size() - bytes));
}

void Zero(const std::string& path, size_t from, size_t size) {
  std::string bytes = ReadWholeFile(path);
  ENGRAM_CHECK(from < bytes.size());
  std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(from), std::min(size, bytes.size() - from),
              '\0');
  Write(path, bytes);
}

void FlipAt(const std::string& path, double share) {
  FlipByte(path, static_cast<size_t>(share * static_cast<double>(fs::file_size(path) - 1)));
}

void Swap(const std::string& a, const std::string& b) {
  fs::rename(a, a + ".away");
  fs::rename(b, a);
  fs::rename(a + ".away", b);
}

// How a file is chosen, and how it is damaged.
using Choose = std::function<std::string(const StoreFiles&)>;
using Harm = std::function<void(const std::string& path)>;

class Table {
 public:
  Table& Kind(std::string kind, Choose choose) {
    kind_ = std::move(kind);
    choose_ = std::move(choose);
    return *this;
  }
  Table& Add(const std::string& how, Expected expected, bool in_short_form, Harm harm) {
    damages_.push_back({kind_ + " " + how, expected,
                        [choose = choose_, harm = std::move(harm)](const StoreFiles& files) {
                          harm(choose(files));
                        },
                        in_short_form});
    return *this;
  }
  Table& AddWhole(const std::string& how, Expected expected, bool in_short_form,
                  std::function<void(const StoreFiles&)> apply) {
    damages_.push_back({how, expected, std::move(apply), in_short_form});
    return *this;
  }
  // What can be done to any file.
  Table& AddCommon(Expected expected, bool in_short_form) {
    Add("deleted", expected, in_short_form, [](const std::string& path) { fs::remove(path); });
    Add("emptied", expected, in_short_form, [](const std::string& path) { Write(path, ""); });
    return *this;
  }
  std::vector<Damage> Take() { return std::move(damages_); }

 private:
  std::string kind_;
  Choose choose_;
  std::vector<Damage> damages_;
};

void AddDatabase(Table* table) {
  table->Kind("WAL", [](const StoreFiles& files) { return files.wals.back(); })
      .AddCommon(Expected::kRefused, true)
      .Add("flipped at its start", Expected::kRefused, false,
           [](const std::string& path) { FlipByte(path, 20); })
      .Add("flipped in the middle", Expected::kRefused, true,
           [](const std::string& path) { FlipAt(path, 0.5); })
      .Add("cut in half", Expected::kRefused, false,
           [](const std::string& path) { Cut(path, fs::file_size(path) / 2); })
      .Add("cut at a block", Expected::kRefused, false,
           [](const std::string& path) { Cut(path, fs::file_size(path) - kWalBlockBytes); })
      .Add("zeroed in the middle", Expected::kRefused, true,
           [](const std::string& path) { Zero(path, kWalBlockBytes, kWalBlockBytes); })
      .Add("zeroed", Expected::kRefused, false,
           [](const std::string& path) { Zero(path, 0, fs::file_size(path)); })
      .AddWhole("WAL swapped with a table", Expected::kRefused, false,
                [](const StoreFiles& files) { Swap(files.wals.back(), Need(files.tables, 0)); });
  table->Kind("MANIFEST", [](const StoreFiles& files) { return files.manifest; })
      .AddCommon(Expected::kRefused, true)
      .Add("flipped", Expected::kRefused, true,
           [](const std::string& path) { FlipAt(path, 0.5); })
      .Add("cut by 3 bytes", Expected::kRefused, true,
           [](const std::string& path) { Cut(path, 3); })
      .Add("cut in half", Expected::kRefused, false,
           [](const std::string& path) { Cut(path, fs::file_size(path) / 2); })
      .Add("zeroed at its end", Expected::kRefused, true, [](const std::string& path) {
        Zero(path, fs::file_size(path) - 60, 60);
      });
  table->Kind("CURRENT", [](const StoreFiles& files) { return files.current; })
      .AddCommon(Expected::kRefused, true)
      .Add("flipped", Expected::kRefused, false,
           [](const std::string& path) { FlipByte(path, 12); })
      .Add("naming another file", Expected::kRefused, false,
           [](const std::string& path) { Write(path, "MANIFEST-000001\n"); })
      .AddWhole("CURRENT swapped with the MANIFEST", Expected::kRefused, false,
                [](const StoreFiles& files) { Swap(files.current, files.manifest); });
  table->Kind("table", [](const StoreFiles& files) { return files.tables.back(); })
      .AddCommon(Expected::kRefused, true)
      .Add("flipped in a data block", Expected::kRefused, true,
           [](const std::string& path) { FlipAt(path, 0.3); })
      .Add("flipped in its footer", Expected::kRefused, true,
           [](const std::string& path) { FlipByte(path, fs::file_size(path) - 5); })
      .Add("cut by 3 bytes", Expected::kRefused, false,
           [](const std::string& path) { Cut(path, 3); })
      .Add("zeroed in the middle", Expected::kRefused, true,
           [](const std::string& path) { Zero(path, fs::file_size(path) / 2, 4096); })
      .AddWhole("tables swapped", Expected::kRefused, true, [](const StoreFiles& files) {
        Swap(files.tables.back(), Need(files.tables, files.tables.size() - 2));
      });
}

// Neither OPTIONS nor IDENTITY holds anything that a store reads back; one whole slot of the
// witness is enough.
void AddTheRest(Table* table) {
  table->Kind("witness", [](const StoreFiles& files) { return files.witness; })
      .AddCommon(Expected::kRefused, true)
      .Add("zeroed", Expected::kRefused, true,
           [](const std::string& path) { Zero(path, 0, fs::file_size(path)); })
      .Add("flipped in one slot", Expected::kWhole, true,
           [](const std::string& path) { FlipByte(path, 4); })
      .Add("cut by 3 bytes", Expected::kWhole, false,
           [](const std::string& path) { Cut(path, 3); });
  table->Kind("FORMAT", [](const StoreFiles& files) { return files.format; })
      .AddCommon(Expected::kRefused, false)
      .Add("flipped", Expected::kRefused, true,
           [](const std::string& path) { FlipByte(path, 2); });
  table->Kind("OPTIONS", [](const StoreFiles& files) { return files.options; })
      .AddCommon(Expected::kWhole, false)
      .Add("flipped", Expected::kWhole, false,
           [](const std::string& path) { FlipAt(path, 0.5); });
  table->Kind("IDENTITY", [](const StoreFiles& files) { return files.identity; })
      .AddCommon(Expected::kEither, false)
      .Add("flipped", Expected::kEither, false,
           [](const std::string& path) { FlipByte(path, 3); });
  table->Kind("checkpoint", [](const StoreFiles& files) { return files.checkpoints.back(); })
      .AddCommon(Expected::kWhole, false)
      .Add("flipped", Expected::kWhole, true, [](const std::string& path) { FlipAt(path, 0.7); })
      .Add("cut by 3 bytes", Expected::kWhole, false,
           [](const std::string& path) { Cut(path, 3); })
      .AddWhole("checkpoints swapped", Expected::kWhole, false, [](const StoreFiles& files) {
        Swap(files.checkpoints.back(), Need(files.checkpoints, 0));
      });
}

}  // namespace

StoreFiles FindFiles(const std::string& folder) {
  StoreFiles files;
  files.folder = folder;
  files.witness = folder + "/HIGHWATER";
  files.format = folder + "/FORMAT";
  const std::string db = folder + "/db";
  files.current = db + "/CURRENT";
  files.identity = db + "/IDENTITY";
  files.manifest =
      db + "/" + std::string(absl::StripSuffix(ReadWholeFile(files.current), "\n"));
  for (const auto& entry : fs::directory_iterator(db)) {
    const std::string path = entry.path().string();
    if (absl::EndsWith(path, ".log")) files.wals.push_back(path);
    if (absl::EndsWith(path, ".sst")) files.tables.push_back(path);
    const bool newer = absl::StrContains(path, "/OPTIONS-") && path > files.options;
    if (newer) files.options = path;
  }
  for (const auto& entry : fs::directory_iterator(folder + "/checkpoints/1")) {
    files.checkpoints.push_back(entry.path().string());
  }
  std::sort(files.wals.begin(), files.wals.end());
  std::sort(files.checkpoints.begin(), files.checkpoints.end());
  std::sort(files.tables.begin(), files.tables.end(),
            [](const std::string& a, const std::string& b) {
              return fs::file_size(a) < fs::file_size(b);
            });
  ENGRAM_CHECK(!files.wals.empty() && files.tables.size() >= 2 && files.checkpoints.size() >= 2);
  ENGRAM_CHECK(!files.options.empty());
  return files;
}

std::vector<Damage> Damages() {
  Table table;
  AddDatabase(&table);
  AddTheRest(&table);
  return table.Take();
}

void CutLastRecord(const StoreFiles& files) {
  const std::string& wal = files.wals.back();
  const std::string bytes = ReadWholeFile(wal);
  const auto extent = storage::ReadWal("", bytes);
  ENGRAM_CHECK(extent.ok() && extent->first != 0);
  Write(wal, bytes.substr(0, extent->last_record));
}

void FlipByte(const std::string& path, size_t offset) {
  std::string bytes = ReadWholeFile(path);
  ENGRAM_CHECK(offset < bytes.size());
  bytes[offset] = static_cast<char>(bytes[offset] ^ 0x10);
  Write(path, bytes);
}

}  // namespace engram::crash
