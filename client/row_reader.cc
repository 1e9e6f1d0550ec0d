#include "client/row_reader.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/examples.h"
#include "client/json.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";

engram::v1::Label LabelFromText(absl::string_view text) {
  int64_t number = 0;
  return absl::SimpleAtoi(text, &number) ? NumberLabel(number) : TextLabel(text);
}

// Takes blanks and quotes off a cell of CSV; false when a quote is not closed in the cell.
bool Unwrap(absl::string_view* cell) {
  *cell = absl::StripAsciiWhitespace(*cell);
  return !absl::ConsumePrefix(cell, "\"") || absl::ConsumeSuffix(cell, "\"");
}

// Copies the optional fields of a JSON row; throws Json::exception on a wrong type.
void CopyOptionalFields(const Json& row, engram::v1::Example* example) {
  if (row.contains("task")) example->set_task(row["task"].get<std::string>());
  if (row.contains("weight")) example->set_weight(row["weight"].get<float>());
  if (row.contains("id")) example->set_id(row["id"].get<std::string>());
  if (row.contains("subject_id")) example->set_subject_id(row["subject_id"].get<std::string>());
  if (row.contains("event_time_ms")) {
    example->set_event_time_ms(row["event_time_ms"].get<int64_t>());
  }
}

absl::Status CopySplit(const Json& row, engram::v1::Example* example) {
  if (!row.contains("split")) return absl::OkStatus();
  engram::v1::Split split;
  const std::string name = row["split"].get<std::string>();
  if (!engram::v1::Split_Parse(name, &split)) {
    return absl::InvalidArgumentError(
        absl::StrCat("split: expected TRAIN or HELD_OUT, got \"", name, "\""));
  }
  example->set_split(split);
  return absl::OkStatus();
}

}  // namespace

RowReader::RowReader(RowReaderOptions options, std::istream* in)
    : options_(std::move(options)), in_(in), label_index_(options_.unlabelled ? -1 : 0) {}

absl::Status RowReader::At(absl::string_view message) const {
  return absl::InvalidArgumentError(absl::StrCat(options_.name, options_.name.empty() ? "" : ": ",
                                                 "line ", line_number_, ": ", message));
}

absl::StatusOr<bool> RowReader::Next(engram::v1::Example* example) {
  std::string line;
  while (std::getline(*in_, line)) {
    if (++line_number_ == 1 && absl::StartsWith(line, kByteOrderMark)) {
      line.erase(0, kByteOrderMark.size());
    }
    absl::StripAsciiWhitespace(&line);
    if (line.empty()) continue;
    if (!started_) {
      ENGRAM_RETURN_IF_ERROR(Start(line));
      if (!json_ && (options_.header || !options_.label_column.empty())) continue;
    }
    example->Clear();
    ENGRAM_RETURN_IF_ERROR(json_ ? ReadJson(line, example) : ReadCsv(line, example));
    return true;
  }
  if (in_->bad())
    return absl::DataLossError(absl::StrCat("reading failed after line ", line_number_));
  return false;
}

absl::Status RowReader::Start(const std::string& line) {
  started_ = true;
  json_ = options_.format == RowReaderOptions::Format::kJsonLines ||
          (options_.format == RowReaderOptions::Format::kGuess && line[0] == '{');
  return json_ ? absl::OkStatus() : ReadHeader(line);
}

absl::Status RowReader::ReadHeader(const std::string& line) {
  if (options_.label_column.empty()) return absl::OkStatus();
  std::vector<absl::string_view> names = absl::StrSplit(line, ',');
  for (size_t i = 0; i < names.size(); ++i) {
    if (Unwrap(&names[i]) && names[i] == options_.label_column) {
      label_index_ = static_cast<int>(i);
      return absl::OkStatus();
    }
  }
  return At(absl::StrCat("no column \"", options_.label_column, "\" in the header"));
}

void RowReader::SetFeatures(engram::v1::Example* example) {
  if (options_.divide_by != 1.0) {
    for (float& value : values_) value = static_cast<float>(value / options_.divide_by);
  }
  SetDense(values_, example->mutable_features());
}

absl::Status RowReader::ReadCsv(const std::string& line, engram::v1::Example* example) {
  values_.clear();
  int column = 0;
  for (absl::string_view cell : absl::StrSplit(line, ',')) {
    ++column;
    if (!Unwrap(&cell)) {
      return At(absl::StrCat("column ", column, ": a comma between quotes is not read, got \"",
                             cell, "; write the label without one, or the file as JSON lines"));
    }
    if (column == label_index_ + 1) {
      *example->mutable_label() = LabelFromText(absl::StrReplaceAll(cell, {{"\"\"", "\""}}));
      continue;
    }
    if (!absl::SimpleAtof(cell, &values_.emplace_back())) {
      return At(absl::StrCat("column ", column, ": expected a number, got \"", cell, "\""));
    }
  }
  if (column <= label_index_) {
    return At(absl::StrCat("has ", column, " columns, the label is in column ", label_index_ + 1));
  }
  SetFeatures(example);
  return absl::OkStatus();
}

absl::Status RowReader::ReadJson(const std::string& line, engram::v1::Example* example) {
  // The JSON library reports by exceptions; this is the edge where they become statuses.
  try {
    const Json row = Json::parse(line);
    if (!row.is_object()) {
      return At(absl::StrCat("expected an object with features and label, got ", row.type_name()));
    }
    values_ = row.at("features").get<std::vector<float>>();
    SetFeatures(example);
    if (!options_.unlabelled) {
      const Json& label = row.at("label");
      if (!label.is_string() && !label.is_number_integer()) {
        return At(absl::StrCat("label: expected a whole number or text, got ",
                               label.is_structured() ? label.type_name() : label.dump()));
      }
      *example->mutable_label() = label.is_string() ? TextLabel(label.get<std::string>())
                                                    : NumberLabel(label.get<int64_t>());
    }
    CopyOptionalFields(row, example);
    const absl::Status split = CopySplit(row, example);
    return split.ok() ? split : At(split.message());
  } catch (const Json::exception& error) {
    return At(error.what());
  }
}

}  // namespace engram::client
