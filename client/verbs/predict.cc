#include <cstdint>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/optional.h"
#include "client/clients.h"
#include "client/examples.h"
#include "client/json.h"
#include "client/row_reader.h"
#include "client/verbs/row_flags.h"
#include "client/verbs/verbs.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

constexpr int64_t kRowsPerCallMax = 1024;

// Packs up to `rows_max` rows into one request. Returns their number.
absl::StatusOr<int64_t> FillRequest(int64_t rows_max, RowReader* rows,
                                    v1::PredictRequest* request) {
  v1::Features* features = request->mutable_features();
  features->Clear();
  v1::Example row;
  size_t row_bytes = 0;
  for (int64_t count = 0; count < rows_max; ++count) {
    ENGRAM_ASSIGN_OR_RETURN(const bool more, rows->Next(&row));
    if (!more) return count;
    const std::string& dense = row.features().dense();
    if (count == 0) row_bytes = dense.size();
    if (dense.size() != row_bytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("rows differ in length: ", row_bytes / sizeof(float), " values, then ",
                       dense.size() / sizeof(float)));
    }
    features->mutable_dense()->append(dense);
  }
  return rows_max;
}

std::string RowText(const v1::RowPrediction& row) {
  std::string text = LabelText(row.label());
  for (const v1::RankedLabel& ranked : row.top()) {
    absl::StrAppendFormat(&text, "\t%s=%.4f", LabelText(ranked.label()), ranked.score());
  }
  if (row.has_inferred_task()) {
    absl::StrAppendFormat(&text, "\ttask %s (%.2f)", row.inferred_task(), row.task_confidence());
  }
  return text;
}

void PrintResponse(const VerbContext& context, const v1::PredictResponse& response) {
  for (const v1::RowPrediction& row : response.predictions()) {
    if (context.json) {
      Json object = ToJson(row);
      object["model_version"] = response.model_version();
      *context.out << object.dump() << "\n";
    } else {
      *context.out << RowText(row) << "\n";
    }
  }
}

}  // namespace

int Predict(const VerbContext& context, const Arguments& args) {
  v1::PredictRequest request;
  std::string model;
  std::string task;
  uint64_t min_applied_sequence = 0;
  uint64_t version = 0;
  absl::optional<int64_t> top_k;
  int64_t batch = 256;
  bool omit_scores = false;
  RowFlags row_flags;
  FlagSet flags("predict", "Predicts the label of rows of features: CSV or JSON lines.");
  flags.Positional("MODEL", &model, "to ask");
  row_flags.Declare(&flags);
  flags.String("task", &task, "task id; needed where heads are per task and none is inferred")
      .Uint64("min_applied_sequence", &min_applied_sequence, "wait until this is applied")
      .Uint64("version", &version, "a model version that is kept; 0 = the live one")
      .Int64("top_k", &top_k, "also the k best labels of each row")
      .Bool("omit_scores", &omit_scores, "--json without the scores of all classes")
      .Int64("batch", &batch, "rows a call, 1 to 1024");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  if (batch < 1 || batch > kRowsPerCallMax) {
    return WrongUsage(context, absl::InvalidArgumentError("--batch: expected 1 to 1024"), flags);
  }
  RowReaderOptions options;
  options.unlabelled = true;
  std::ifstream file;
  std::istream* in = nullptr;
  const absl::Status opened = row_flags.Open(context, &options, &file, &in);
  if (!opened.ok()) return WrongUsage(context, opened, flags);
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  request.set_model(model);
  request.set_task(task);
  request.set_min_applied_sequence(min_applied_sequence);
  request.set_version(version);
  request.set_omit_scores(omit_scores || !context.json);
  if (top_k) request.set_top_k(static_cast<int32_t>(*top_k));
  const PredictionClient prediction(*connection);
  RowReader rows(options, in);
  for (;;) {
    const auto count = FillRequest(batch, &rows, &request);
    if (!count.ok()) return Fail(context, count.status());
    if (*count == 0) return kExitOk;
    const auto response = prediction.Predict(request);
    if (!response.ok()) return Fail(context, response.status());
    PrintResponse(context, *response);
  }
}

}  // namespace engram::client
