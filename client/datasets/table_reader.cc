#include "client/datasets/table_reader.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "client/datasets/byte_file.h"
#include "storage/base/status_macros.h"

namespace engram::datasets {
namespace {

constexpr int64_t kMaxBytes = int64_t{256} << 20;
constexpr size_t kMaxClasses = 256;

using Cells = std::vector<absl::string_view>;

Cells SplitCells(absl::string_view line) {
  Cells cells = absl::StrSplit(line, ',');
  for (absl::string_view& cell : cells) cell = absl::StripAsciiWhitespace(cell);
  return cells;
}

// A column of the file. Without values it is numeric.
struct Column {
  std::string name;
  std::vector<std::string> values;

  // How many numbers it becomes.
  size_t Width() const { return values.size() <= 2 ? 1 : values.size(); }
};

absl::Status AppendNumber(const Column& column, absl::string_view cell,
                          std::vector<float>* numbers) {
  float value = 0;
  if (!absl::SimpleAtof(cell, &value) || !std::isfinite(value)) {
    return absl::InvalidArgumentError(
        absl::StrCat(column.name, ": expected a finite number, got \"", cell, "\""));
  }
  numbers->push_back(value);
  return absl::OkStatus();
}

absl::StatusOr<size_t> PositionOf(const Column& column, absl::string_view cell) {
  const auto found = std::find(column.values.begin(), column.values.end(), cell);
  if (found != column.values.end()) return static_cast<size_t>(found - column.values.begin());
  return absl::InvalidArgumentError(absl::StrCat(column.name, ": expected one of ",
                                                 absl::StrJoin(column.values, ", "), "; got \"",
                                                 cell, "\""));
}

absl::Status AppendFeature(const Column& column, absl::string_view cell,
                           std::vector<float>* numbers) {
  if (column.values.empty()) return AppendNumber(column, cell, numbers);
  ENGRAM_ASSIGN_OR_RETURN(const size_t position, PositionOf(column, cell));
  if (column.Width() == 1) {
    numbers->push_back(static_cast<float>(position));
    return absl::OkStatus();
  }
  for (size_t i = 0; i < column.values.size(); ++i) numbers->push_back(i == position ? 1.0f : 0.0f);
  return absl::OkStatus();
}

absl::StatusOr<uint8_t> ClassOf(const Column& column, absl::string_view cell) {
  int label = 0;
  if (!column.values.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(const size_t position, PositionOf(column, cell));
    return static_cast<uint8_t>(position);
  }
  if (!absl::SimpleAtoi(cell, &label) || label < 0 || label >= static_cast<int>(kMaxClasses)) {
    return absl::InvalidArgumentError(
        absl::StrCat(column.name, ": expected a class 0 to 255, got \"", cell, "\""));
  }
  return static_cast<uint8_t>(label);
}

// Walks the lines of a file and says where in it a failure is.
class Table {
 public:
  explicit Table(std::string path) : path_(std::move(path)) {}

  absl::Status Load() {
    ENGRAM_ASSIGN_OR_RETURN(text_, ReadWhole(path_, kMaxBytes));
    rest_ = text_;
    return absl::OkStatus();
  }

  // The next line that is not empty, without its end; false at the end.
  bool NextLine(absl::string_view* line) {
    while (!rest_.empty()) {
      const size_t end = std::min(rest_.find('\n'), rest_.size());
      *line = absl::StripAsciiWhitespace(rest_.substr(0, end));
      rest_.remove_prefix(std::min(end + 1, rest_.size()));
      ++line_number_;
      if (!line->empty()) return true;
    }
    return false;
  }

  absl::Status At(absl::string_view message) const {
    return absl::InvalidArgumentError(
        absl::StrCat(path_, ": line ", line_number_, ": ", message));
  }
  absl::Status At(const absl::Status& status) const {
    return status.ok() ? status : At(status.message());
  }

  absl::Status AddColumn(Column column) {
    if (column.name.empty()) return At("expected the name of a column, got none");
    columns_.push_back(std::move(column));
    return absl::OkStatus();
  }
  const std::vector<Column>& columns() const { return columns_; }

  // Every line left is a row, unless it begins as comments do.
  absl::StatusOr<RowSet> ReadRows(absl::string_view comment) {
    if (columns_.size() < 2) return At("expected a feature and a class at least");
    RowSet set;
    for (size_t i = 0; i + 1 < columns_.size(); ++i) {
      set.columns += static_cast<int64_t>(columns_[i].Width());
    }
    for (absl::string_view line; NextLine(&line);) {
      if (!comment.empty() && absl::StartsWith(line, comment)) continue;
      ENGRAM_RETURN_IF_ERROR(At(AppendRow(SplitCells(line), &set)));
    }
    if (set.rows == 0) return At("expected rows, found none");
    return set;
  }

 private:
  absl::Status AppendRow(const Cells& cells, RowSet* set) const {
    if (cells.size() != columns_.size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("expected ", columns_.size(), " values, got ", cells.size()));
    }
    for (size_t i = 0; i + 1 < cells.size(); ++i) {
      ENGRAM_RETURN_IF_ERROR(AppendFeature(columns_[i], cells[i], &set->values));
    }
    ENGRAM_ASSIGN_OR_RETURN(const uint8_t label, ClassOf(columns_.back(), cells.back()));
    set->labels.push_back(label);
    ++set->rows;
    return absl::OkStatus();
  }

  const std::string path_;
  std::string text_;
  absl::string_view rest_;
  int64_t line_number_ = 0;
  std::vector<Column> columns_;
};

// "NAME numeric" or "NAME {a,b}".
absl::StatusOr<Column> ParseAttribute(absl::string_view text) {
  text = absl::StripAsciiWhitespace(text);
  const size_t space = std::min(text.find_first_of(" \t"), text.size());
  Column column;
  column.name = std::string(text.substr(0, space));
  absl::string_view kind = absl::StripAsciiWhitespace(text.substr(space));
  for (const absl::string_view numeric : {"numeric", "real", "integer"}) {
    if (absl::EqualsIgnoreCase(kind, numeric)) return column;
  }
  if (!absl::ConsumePrefix(&kind, "{") || !absl::ConsumeSuffix(&kind, "}")) {
    return absl::InvalidArgumentError(
        absl::StrCat(column.name, ": expected numeric, real, integer or {...}, got \"", kind,
                     "\""));
  }
  for (const absl::string_view value : SplitCells(kind)) column.values.emplace_back(value);
  if (column.values.size() < 2 || column.values.size() > kMaxClasses) {
    return absl::InvalidArgumentError(absl::StrCat(column.name, ": expected 2 to ", kMaxClasses,
                                                   " values, got ", column.values.size()));
  }
  return column;
}

// Up to and with @data.
absl::Status ReadArffHeader(Table* table) {
  for (absl::string_view line; table->NextLine(&line);) {
    if (absl::StartsWith(line, "%") || absl::StartsWithIgnoreCase(line, "@relation")) continue;
    if (absl::EqualsIgnoreCase(line, "@data")) return absl::OkStatus();
    if (!absl::StartsWithIgnoreCase(line, "@attribute")) {
      return table->At(absl::StrCat("expected @attribute or @data, got \"", line, "\""));
    }
    auto column = ParseAttribute(line.substr(absl::string_view("@attribute").size()));
    if (!column.ok()) return table->At(column.status());
    ENGRAM_RETURN_IF_ERROR(table->AddColumn(*std::move(column)));
  }
  return table->At("expected @data, found the end");
}

}  // namespace

absl::StatusOr<RowSet> ReadCsvTable(const std::string& path) {
  Table table(path);
  ENGRAM_RETURN_IF_ERROR(table.Load());
  absl::string_view header;
  if (!table.NextLine(&header)) return table.At("expected a header, found nothing");
  for (const absl::string_view name : SplitCells(header)) {
    double number = 0;
    if (absl::SimpleAtod(name, &number)) {
      return table.At(absl::StrCat("expected the names of the columns, got \"", name, "\""));
    }
    ENGRAM_RETURN_IF_ERROR(table.AddColumn({std::string(name), {}}));
  }
  return table.ReadRows(/*comment=*/"");
}

absl::StatusOr<RowSet> ReadArffTable(const std::string& path) {
  Table table(path);
  ENGRAM_RETURN_IF_ERROR(table.Load());
  ENGRAM_RETURN_IF_ERROR(ReadArffHeader(&table));
  if (!table.columns().empty() && table.columns().back().values.empty()) {
    return table.At(
        absl::StrCat(table.columns().back().name, ": expected a nominal class, got a number"));
  }
  return table.ReadRows(/*comment=*/"%");
}

absl::StatusOr<RowSet> ReadTable(const std::string& path) {
  const absl::string_view name = absl::StripSuffix(path, ".gz");
  return absl::EndsWith(name, ".arff") ? ReadArffTable(path) : ReadCsvTable(path);
}

}  // namespace engram::datasets
