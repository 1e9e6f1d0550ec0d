#include "client/row_files.h"

#include <istream>
#include <streambuf>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "client/datasets/byte_file.h"
#include "client/datasets/fingerprint.h"
#include "client/datasets/idx_reader.h"
#include "client/examples.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

using datasets::ByteFile;
using datasets::Fingerprint;

constexpr int64_t kChunkBytes = 1 << 16;

// Lets a RowReader read what may be gzip'd. A damaged file looks like its end; `status` tells.
// What was read is added to `sum`, where there is one.
class ByteFileBuffer : public std::streambuf {
 public:
  explicit ByteFileBuffer(ByteFile file, Fingerprint* sum = nullptr)
      : file_(std::move(file)), sum_(sum), chunk_(kChunkBytes) {}

  const absl::Status& status() const { return status_; }

 protected:
  int_type underflow() override {
    const auto got = file_.ReadSome(reinterpret_cast<uint8_t*>(chunk_.data()),
                                    static_cast<int64_t>(chunk_.size()));
    if (!got.ok()) status_ = got.status();
    if (!got.ok() || *got == 0) return traits_type::eof();
    if (sum_ != nullptr) sum_->Add({chunk_.data(), static_cast<size_t>(*got)});
    setg(chunk_.data(), chunk_.data(), chunk_.data() + *got);
    return traits_type::to_int_type(chunk_.front());
  }

 private:
  ByteFile file_;
  Fingerprint* const sum_;
  std::vector<char> chunk_;
  absl::Status status_;
};

class TextFile : public RowFile {
 public:
  // `options` name the file.
  TextFile(RowReaderOptions options, ByteFile file)
      : path_(options.name),
        buffer_(std::move(file)),
        in_(&buffer_),
        reader_(std::move(options), &in_) {}

  // Reads the file once to its end, parsing it: a mended file is another file, so a line that
  // cannot be read must come up before any row is sent.
  absl::Status Survey(const RowReaderOptions& options) {
    ENGRAM_ASSIGN_OR_RETURN(ByteFile file, ByteFile::Open(path_));
    Fingerprint sum;
    ByteFileBuffer buffer(std::move(file), &sum);
    std::istream in(&buffer);
    RowReader reader(options, &in);
    engram::v1::Example example;
    for (;;) {
      const auto more = reader.Next(&example);
      ENGRAM_RETURN_IF_ERROR(buffer.status());
      ENGRAM_RETURN_IF_ERROR(more.status());
      if (!*more) break;
      ++rows_;
    }
    const bool csv = options.format == RowReaderOptions::Format::kCsv;
    const bool header = csv && (options.header || !options.label_column.empty());
    sum.Add(absl::StrCat(";", csv, ";", header, ";", options.label_column, ";", options.divide_by));
    fingerprint_ = sum.Hex();
    return absl::OkStatus();
  }

  const std::string& name() const override { return path_; }
  int64_t rows() const override { return rows_; }
  const std::string& fingerprint() const override { return fingerprint_; }

  absl::StatusOr<bool> Next(engram::v1::Example* example) override {
    auto more = reader_.Next(example);
    ENGRAM_RETURN_IF_ERROR(buffer_.status());
    return more;
  }

 private:
  const std::string path_;
  ByteFileBuffer buffer_;
  std::istream in_;
  RowReader reader_;
  int64_t rows_ = 0;
  std::string fingerprint_;
};

class IdxFiles : public RowFile {
 public:
  IdxFiles(std::string path, datasets::RowSet set) : path_(std::move(path)), set_(std::move(set)) {
    Fingerprint sum;
    sum.Add(absl::StrCat("idx;", set_.width, ";", set_.height, ";"));
    sum.AddAll(set_.pixels);
    sum.AddAll(set_.labels);
    fingerprint_ = sum.Hex();
  }

  const std::string& name() const override { return path_; }
  int64_t rows() const override { return set_.rows; }
  const std::string& fingerprint() const override { return fingerprint_; }

  absl::StatusOr<bool> Next(engram::v1::Example* example) override {
    if (next_ == set_.rows) return false;
    example->Clear();
    const auto pixels = static_cast<size_t>(set_.PixelsPerImage());
    SetBytes(absl::MakeConstSpan(set_.Pixels(next_), pixels), example->mutable_features());
    *example->mutable_label() = NumberLabel(set_.labels[static_cast<size_t>(next_)]);
    ++next_;
    return true;
  }

 private:
  const std::string path_;
  const datasets::RowSet set_;
  std::string fingerprint_;
  int64_t next_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RowFile>> OpenTextFile(const std::string& path,
                                                      const RowReaderOptions& options) {
  ENGRAM_ASSIGN_OR_RETURN(ByteFile file, ByteFile::Open(path));
  RowReaderOptions named = options;
  named.name = path;
  auto text = std::make_unique<TextFile>(named, std::move(file));
  ENGRAM_RETURN_IF_ERROR(text->Survey(named));
  return std::unique_ptr<RowFile>(std::move(text));
}

absl::StatusOr<std::unique_ptr<RowFile>> OpenIdxFiles(const std::string& images_path,
                                                      const std::string& labels_path) {
  ENGRAM_ASSIGN_OR_RETURN(datasets::RowSet set, datasets::ReadIdxImages(images_path));
  ENGRAM_ASSIGN_OR_RETURN(set.labels, datasets::ReadIdxLabels(labels_path));
  if (static_cast<int64_t>(set.labels.size()) != set.rows) {
    return absl::InvalidArgumentError(absl::StrCat(labels_path, ": expected ", set.rows,
                                                   " labels, one for each image of ", images_path,
                                                   ", got ", set.labels.size()));
  }
  return std::unique_ptr<RowFile>(std::make_unique<IdxFiles>(images_path, std::move(set)));
}

}  // namespace engram::client
