#include "client/datasets/idx_reader.h"

#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "storage/base/status_macros.h"

namespace engram::datasets {
namespace {

constexpr uint32_t kImagesMagic = 2051;
constexpr uint32_t kLabelsMagic = 2049;
constexpr int64_t kMaxSide = 4096;
constexpr int64_t kMaxBytes = int64_t{1} << 30;
constexpr int64_t kReadBytes = 1 << 20;

// One idx file; gzip or plain, zlib tells them apart.
class IdxFile {
 public:
  static absl::StatusOr<IdxFile> Open(const std::string& path) {
    // zlib would read a folder as an empty file.
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) {
      return absl::NotFoundError(absl::StrCat(path, ": no such file"));
    }
    gzFile file = gzopen(path.c_str(), "rb");
    if (file == nullptr) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
    return IdxFile(path, file);
  }
  IdxFile(IdxFile&& other) noexcept
      : path_(std::move(other.path_)), file_(std::exchange(other.file_, nullptr)) {}
  IdxFile& operator=(IdxFile&&) = delete;
  ~IdxFile() {
    if (file_ != nullptr) gzclose(file_);
  }

  absl::Status Read(absl::string_view what, uint8_t* out, int64_t bytes) {
    int64_t done = 0;
    while (done < bytes) {
      const auto want = static_cast<unsigned>(std::min(kReadBytes, bytes - done));
      const int got = gzread(file_, out + done, want);
      if (got < 0) return Damaged();
      if (got == 0) {
        return absl::DataLossError(absl::StrCat(path_, ": truncated: expected ", bytes,
                                                " bytes of ", what, ", found ", done));
      }
      done += got;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<int64_t> ReadNumber(absl::string_view what) {
    uint8_t bytes[4];
    ENGRAM_RETURN_IF_ERROR(Read(what, bytes, 4));
    return (int64_t{bytes[0]} << 24) | (int64_t{bytes[1]} << 16) | (int64_t{bytes[2]} << 8) |
           int64_t{bytes[3]};
  }

  absl::Status ExpectMagic(uint32_t expected) {
    ENGRAM_ASSIGN_OR_RETURN(const int64_t magic, ReadNumber("magic number"));
    if (magic == expected) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": expected the idx magic number ", expected, ", got ", magic));
  }

  absl::StatusOr<int64_t> ReadDimension(absl::string_view what, int64_t max) {
    ENGRAM_ASSIGN_OR_RETURN(const int64_t size, ReadNumber(what));
    if (size >= 1 && size <= max) return size;
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": ", what, ": expected 1 to ", max, ", got ", size));
  }

  // Reading past the last row also makes zlib compare the gzip checksum.
  absl::Status ExpectEnd() {
    uint8_t extra;
    const int got = gzread(file_, &extra, 1);
    int code = Z_OK;
    gzerror(file_, &code);
    if (got < 0 || code != Z_OK) return Damaged();
    if (got == 0) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat(path_, ": goes on after the last row its header announces"));
  }

 private:
  IdxFile(std::string path, gzFile file) : path_(std::move(path)), file_(file) {}

  absl::Status Damaged() {
    int code = 0;
    return absl::DataLossError(absl::StrCat(path_, ": damaged: ", gzerror(file_, &code)));
  }

  std::string path_;
  gzFile file_;
};

// "NAME.gz" when it is there, else "NAME".
std::string Present(const std::string& folder, absl::string_view name) {
  const std::string plain = absl::StrCat(folder, "/", name);
  const std::string zipped = absl::StrCat(plain, ".gz");
  std::error_code ignored;
  return std::filesystem::exists(zipped, ignored) ? zipped : plain;
}

}  // namespace

absl::StatusOr<RowSet> ReadIdxImages(const std::string& path) {
  ENGRAM_ASSIGN_OR_RETURN(IdxFile file, IdxFile::Open(path));
  ENGRAM_RETURN_IF_ERROR(file.ExpectMagic(kImagesMagic));
  RowSet images;
  ENGRAM_ASSIGN_OR_RETURN(images.rows, file.ReadDimension("number of images", kMaxBytes));
  ENGRAM_ASSIGN_OR_RETURN(images.height, file.ReadDimension("image height", kMaxSide));
  ENGRAM_ASSIGN_OR_RETURN(images.width, file.ReadDimension("image width", kMaxSide));
  if (images.rows > kMaxBytes / images.PixelsPerImage()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", images.rows, " images of ",
                                                   images.PixelsPerImage(),
                                                   " pixels: expected at most 1 GiB of them"));
  }
  images.pixels.resize(static_cast<size_t>(images.rows * images.PixelsPerImage()));
  ENGRAM_RETURN_IF_ERROR(
      file.Read("pixels", images.pixels.data(), static_cast<int64_t>(images.pixels.size())));
  ENGRAM_RETURN_IF_ERROR(file.ExpectEnd());
  return images;
}

absl::StatusOr<std::vector<uint8_t>> ReadIdxLabels(const std::string& path) {
  ENGRAM_ASSIGN_OR_RETURN(IdxFile file, IdxFile::Open(path));
  ENGRAM_RETURN_IF_ERROR(file.ExpectMagic(kLabelsMagic));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t rows, file.ReadDimension("number of labels", kMaxBytes));
  std::vector<uint8_t> labels(static_cast<size_t>(rows));
  ENGRAM_RETURN_IF_ERROR(file.Read("labels", labels.data(), rows));
  ENGRAM_RETURN_IF_ERROR(file.ExpectEnd());
  return labels;
}

absl::StatusOr<RowSet> ReadIdxSet(const std::string& images_path,
                                  const std::string& labels_path) {
  ENGRAM_ASSIGN_OR_RETURN(RowSet images, ReadIdxImages(images_path));
  ENGRAM_ASSIGN_OR_RETURN(images.labels, ReadIdxLabels(labels_path));
  const auto labels = static_cast<int64_t>(images.labels.size());
  if (labels != images.rows) {
    return absl::InvalidArgumentError(absl::StrCat(labels_path, ": expected ", images.rows,
                                                   " labels, one for each image of ", images_path,
                                                   ", got ", labels));
  }
  for (int64_t row = 0; row < labels; ++row) {
    const int label = images.labels[static_cast<size_t>(row)];
    if (label > 9) {
      return absl::InvalidArgumentError(
          absl::StrCat(labels_path, ": label ", row, ": expected a digit 0 to 9, got ", label));
    }
  }
  return images;
}

absl::StatusOr<RowSplit> LoadDigitFolder(const std::string& folder) {
  RowSplit split;
  ENGRAM_ASSIGN_OR_RETURN(split.train, ReadIdxSet(Present(folder, "train-images-idx3-ubyte"),
                                                  Present(folder, "train-labels-idx1-ubyte")));
  ENGRAM_ASSIGN_OR_RETURN(split.test, ReadIdxSet(Present(folder, "t10k-images-idx3-ubyte"),
                                                 Present(folder, "t10k-labels-idx1-ubyte")));
  if (split.train.PixelsPerImage() != split.test.PixelsPerImage()) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, ": test images: expected ", split.train.PixelsPerImage(),
                     " pixels as in the training images, got ", split.test.PixelsPerImage()));
  }
  return split;
}

}  // namespace engram::datasets
