#include "client/datasets/idx_reader.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "client/datasets/byte_file.h"
#include "storage/base/status_macros.h"

namespace engram::datasets {
namespace {

constexpr uint32_t kImagesMagic = 2051;
constexpr uint32_t kLabelsMagic = 2049;
constexpr int64_t kMaxSide = 4096;
constexpr int64_t kMaxBytes = int64_t{1} << 30;

// The idx words of a file.
absl::StatusOr<int64_t> ReadNumber(absl::string_view what, ByteFile* file) {
  uint8_t bytes[4];
  ENGRAM_RETURN_IF_ERROR(file->Read(what, bytes, 4));
  return (int64_t{bytes[0]} << 24) | (int64_t{bytes[1]} << 16) | (int64_t{bytes[2]} << 8) |
         int64_t{bytes[3]};
}

absl::Status ExpectMagic(uint32_t expected, ByteFile* file) {
  ENGRAM_ASSIGN_OR_RETURN(const int64_t magic, ReadNumber("magic number", file));
  if (magic == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(file->path(), ": expected the idx magic number ", expected, ", got ", magic));
}

absl::StatusOr<int64_t> ReadDimension(absl::string_view what, int64_t max, ByteFile* file) {
  ENGRAM_ASSIGN_OR_RETURN(const int64_t size, ReadNumber(what, file));
  if (size >= 1 && size <= max) return size;
  return absl::InvalidArgumentError(
      absl::StrCat(file->path(), ": ", what, ": expected 1 to ", max, ", got ", size));
}

}  // namespace

absl::StatusOr<RowSet> ReadIdxImages(const std::string& path) {
  ENGRAM_ASSIGN_OR_RETURN(ByteFile file, ByteFile::Open(path));
  ENGRAM_RETURN_IF_ERROR(ExpectMagic(kImagesMagic, &file));
  RowSet images;
  ENGRAM_ASSIGN_OR_RETURN(images.rows, ReadDimension("number of images", kMaxBytes, &file));
  ENGRAM_ASSIGN_OR_RETURN(images.height, ReadDimension("image height", kMaxSide, &file));
  ENGRAM_ASSIGN_OR_RETURN(images.width, ReadDimension("image width", kMaxSide, &file));
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
  ENGRAM_ASSIGN_OR_RETURN(ByteFile file, ByteFile::Open(path));
  ENGRAM_RETURN_IF_ERROR(ExpectMagic(kLabelsMagic, &file));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t rows, ReadDimension("number of labels", kMaxBytes, &file));
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
  const auto read = [&folder](absl::string_view images, absl::string_view labels)
      -> absl::StatusOr<RowSet> {
    ENGRAM_ASSIGN_OR_RETURN(const std::string images_path, FindFile(folder, {images}));
    ENGRAM_ASSIGN_OR_RETURN(const std::string labels_path, FindFile(folder, {labels}));
    return ReadIdxSet(images_path, labels_path);
  };
  RowSplit split;
  ENGRAM_ASSIGN_OR_RETURN(split.train, read("train-images-idx3-ubyte", "train-labels-idx1-ubyte"));
  ENGRAM_ASSIGN_OR_RETURN(split.test, read("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"));
  if (split.train.PixelsPerImage() != split.test.PixelsPerImage()) {
    return absl::InvalidArgumentError(
        absl::StrCat(folder, ": test images: expected ", split.train.PixelsPerImage(),
                     " pixels as in the training images, got ", split.test.PixelsPerImage()));
  }
  return split;
}

}  // namespace engram::datasets
