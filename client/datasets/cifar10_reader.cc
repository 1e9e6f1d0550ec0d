#include "client/datasets/cifar10_reader.h"

#include <algorithm>
#include <cstddef>
#include <filesystem>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/datasets/byte_file.h"
#include "storage/base/status_macros.h"

namespace engram::datasets {
namespace {

constexpr int64_t kSide = 32;
constexpr int64_t kPlanes = 3;
constexpr size_t kPixels = kPlanes * kSide * kSide;
constexpr size_t kRecord = 1 + kPixels;
constexpr int64_t kMaxBytes = int64_t{1} << 30;
constexpr int kClasses = 10;

// Files of `folder` named PREFIX*.bin for one of the prefixes, by name.
std::vector<std::string> BinaryFiles(const std::string& folder,
                                     const std::vector<std::string>& prefixes) {
  std::vector<std::string> paths;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();
    const bool wanted = std::any_of(prefixes.begin(), prefixes.end(), [&](const auto& prefix) {
      return absl::StartsWith(name, prefix);
    });
    if (wanted && absl::EndsWith(name, ".bin")) paths.push_back(entry.path().string());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

absl::StatusOr<RowSet> ReadFiles(const std::string& folder,
                                 const std::vector<std::string>& prefixes) {
  const std::vector<std::string> paths = BinaryFiles(folder, prefixes);
  if (paths.empty()) {
    return absl::NotFoundError(absl::StrCat(folder, ": expected a folder with ",
                                            absl::StrJoin(prefixes, "*.bin or "), "*.bin"));
  }
  RowSet set;
  for (const std::string& path : paths) ENGRAM_RETURN_IF_ERROR(AppendCifar10(path, &set));
  return set;
}

}  // namespace

absl::Status AppendCifar10(const std::string& path, RowSet* set) {
  ENGRAM_ASSIGN_OR_RETURN(
      const std::string bytes,
      ReadWhole(path, kMaxBytes - static_cast<int64_t>(set->pixels.size())));
  if (bytes.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": expected records of ", kRecord, " bytes, found none"));
  }
  if (bytes.size() % kRecord != 0) {
    return absl::DataLossError(absl::StrCat(path, ": expected records of ", kRecord,
                                            " bytes, found ", bytes.size() % kRecord,
                                            " after record ", bytes.size() / kRecord));
  }
  set->width = kSide;
  set->height = kSide;
  set->planes = kPlanes;
  for (size_t at = 0; at < bytes.size(); at += kRecord) {
    const auto label = static_cast<uint8_t>(bytes[at]);
    if (label >= kClasses) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": record ", at / kRecord,
                                                     ": expected a label 0 to 9, got ", label));
    }
    set->labels.push_back(label);
    set->pixels.insert(set->pixels.end(), bytes.begin() + static_cast<ptrdiff_t>(at) + 1,
                       bytes.begin() + static_cast<ptrdiff_t>(at + kRecord));
  }
  set->rows = static_cast<int64_t>(set->labels.size());
  return absl::OkStatus();
}

absl::StatusOr<RowSplit> LoadCifar10Folder(const std::string& folder) {
  RowSplit split;
  ENGRAM_ASSIGN_OR_RETURN(split.train, ReadFiles(folder, {"data_batch", "train"}));
  ENGRAM_ASSIGN_OR_RETURN(split.test, ReadFiles(folder, {"test"}));
  return split;
}

}  // namespace engram::datasets
