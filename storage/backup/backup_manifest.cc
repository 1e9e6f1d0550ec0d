#include "storage/backup/backup_manifest.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "storage/base/status_macros.h"
#include "storage/sha256.h"

namespace engram::storage {
namespace {

constexpr absl::string_view kFormatWord = "engram-backup ";
constexpr absl::string_view kEndWord = "end ";
constexpr size_t kNameBytesMax = 64;
constexpr size_t kSha256Digits = 64;
constexpr size_t kPathPartsMax = 4;

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("the backup's manifest is damaged: ", what));
}

bool IsPart(absl::string_view part) {
  if (part.empty() || part == "." || part == "..") return false;
  for (const char c : part) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

bool IsPath(absl::string_view path) {
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  for (const absl::string_view part : parts) {
    if (!IsPart(part)) return false;
  }
  return parts.size() <= kPathPartsMax;
}

bool IsSha256(absl::string_view text) {
  for (const char c : text) {
    if (!absl::ascii_isxdigit(c)) return false;
  }
  return text.size() == kSha256Digits;
}

// The lines before the end line, which must sum them.
absl::StatusOr<absl::string_view> CheckedBody(absl::string_view text) {
  const size_t at = text.rfind(absl::StrCat("\n", kEndWord));
  if (at == absl::string_view::npos) return Damaged("it has no end");
  const absl::string_view body = text.substr(0, at + 1);
  absl::string_view sum = text.substr(at + 1);
  if (!absl::ConsumePrefix(&sum, kEndWord) || !absl::ConsumeSuffix(&sum, "\n") ||
      sum != Sha256Hex(body)) {
    return Damaged("it is not what its last line sums");
  }
  return body;
}

absl::Status ReadFact(absl::string_view line, BackupManifest* manifest) {
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  const absl::string_view kind = words[0];
  if (kind == "name" && words.size() == 2) {
    manifest->name = std::string(words[1]);
    return IsBackupName(words[1]) ? absl::OkStatus() : Damaged("a name of no backup");
  }
  if (kind == "created" && words.size() == 2 &&
      absl::SimpleAtoi(words[1], &manifest->create_time_ms)) {
    return absl::OkStatus();
  }
  if (kind == "model" && words.size() == 4) {
    BackedUpModel model;
    model.name = std::string(words[2]);
    if (!absl::SimpleAtoi(words[1], &model.uid) || !absl::SimpleAtoi(words[3], &model.durable)) {
      return Damaged("a model without numbers");
    }
    manifest->models.push_back(std::move(model));
    return absl::OkStatus();
  }
  if (kind == "file" && words.size() == 4) {
    BackedUpFile file{std::string(words[3]), 0, std::string(words[1])};
    if (!IsSha256(words[1]) || !absl::SimpleAtoi(words[2], &file.bytes) || file.bytes < 0 ||
        !IsPath(words[3])) {
      return Damaged("a file without a sum, a size or a path inside the backup");
    }
    manifest->files.push_back(std::move(file));
    return absl::OkStatus();
  }
  return Damaged("a line of no known kind");
}

}  // namespace

int64_t BackupManifest::Bytes() const {
  int64_t bytes = 0;
  for (const BackedUpFile& file : files) bytes += file.bytes;
  return bytes;
}

std::string EncodeManifest(const BackupManifest& manifest) {
  std::string text = absl::StrCat(kFormatWord, kBackupFormat, "\nname ", manifest.name,
                                  "\ncreated ", manifest.create_time_ms, "\n");
  for (const BackedUpModel& model : manifest.models) {
    absl::StrAppend(&text, "model ", model.uid, " ", model.name, " ", model.durable, "\n");
  }
  for (const BackedUpFile& file : manifest.files) {
    absl::StrAppend(&text, "file ", file.sha256, " ", file.bytes, " ", file.path, "\n");
  }
  return absl::StrCat(text, kEndWord, Sha256Hex(text), "\n");
}

absl::StatusOr<BackupManifest> ParseManifest(absl::string_view text) {
  ENGRAM_ASSIGN_OR_RETURN(absl::string_view body, CheckedBody(text));
  const size_t first = body.find('\n');
  absl::string_view number = body.substr(0, first);
  int format = 0;
  if (!absl::ConsumePrefix(&number, kFormatWord) || !absl::SimpleAtoi(number, &format)) {
    return Damaged("it does not say its format");
  }
  if (format > kBackupFormat) {
    return absl::FailedPreconditionError(absl::StrCat("the backup has format ", format,
                                                      ", newer than the supported ",
                                                      kBackupFormat));
  }
  BackupManifest manifest;
  body.remove_prefix(first + 1);
  for (const absl::string_view line : absl::StrSplit(body, '\n', absl::SkipEmpty())) {
    ENGRAM_RETURN_IF_ERROR(ReadFact(line, &manifest));
  }
  if (manifest.name.empty()) return Damaged("it has no name");
  return manifest;
}

bool IsBackupName(absl::string_view name) {
  return name.size() <= kNameBytesMax && IsPart(name) && name[0] != '.';
}

}  // namespace engram::storage
