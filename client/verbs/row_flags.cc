#include "client/verbs/row_flags.h"

#include "absl/strings/str_cat.h"

namespace engram::client {

void RowFlags::Declare(FlagSet* flags) {
  flags->String("file", &file_, "to read; - is standard input")
      .Takes("FILE")
      .String("format", &format_, "csv, jsonl, or guess by the first line")
      .Takes("csv|jsonl|guess")
      .Bool("header", &header_, "CSV: the first line is a header")
      .Double("divide_by", &divide_by_, "every feature is divided by this, e.g. 255");
}

void RowFlags::DeclareLabel(FlagSet* flags) {
  flags->String("label", &label_column_,
                "CSV: the label's column in the header line; empty: the first column, no header")
      .Takes("COLUMN");
}

absl::Status RowFlags::Open(const VerbContext& context, RowReaderOptions* options,
                            std::ifstream* file, std::istream** in) const {
  if (format_ == "csv") {
    options->format = RowReaderOptions::Format::kCsv;
  } else if (format_ == "jsonl") {
    options->format = RowReaderOptions::Format::kJsonLines;
  } else if (format_ != "guess") {
    return absl::InvalidArgumentError(
        absl::StrCat("--format: expected csv, jsonl or guess, got \"", format_, "\""));
  }
  if (divide_by_ == 0) return absl::InvalidArgumentError("--divide_by: expected not 0");
  options->label_column = label_column_;
  options->header = header_;
  options->divide_by = divide_by_;
  *in = context.in;
  if (file_ == "-") return absl::OkStatus();
  file->open(file_);
  if (!*file) return absl::NotFoundError(absl::StrCat("cannot read ", file_));
  options->name = file_;
  *in = file;
  return absl::OkStatus();
}

}  // namespace engram::client
