// What was learned and forgotten: `report`.
#include <cerrno>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/report_svg.h"
#include "client/report_text.h"
#include "client/verbs/verbs.h"

namespace engram::client {
namespace {

absl::Status WriteSvg(const std::string& path, const v1::Report& report) {
  if (path.empty()) return absl::OkStatus();
  std::ofstream file(path, std::ios::binary);
  file << ReportSvg(report);
  file.close();
  if (file) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--svg: cannot write ", path, ": ", std::strerror(errno)));
}

}  // namespace

int ShowReport(const VerbContext& context, const Arguments& args) {
  std::string model;
  std::string svg;
  FlagSet flags("report", "Shows the R matrix, ACC, BWT, FWT and forgetting of a model.");
  flags.Positional("MODEL", &model, "to report on")
      .String("svg", &svg, "draw it into this file too: accuracy over time, and the matrix")
      .Takes("FILE");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto report = EvaluationClient(*connection).GetReport(model);
  if (!report.ok()) return Fail(context, report.status());
  const absl::Status drawn = WriteSvg(svg, *report);
  if (!drawn.ok()) return Fail(context, drawn);
  if (context.json) {
    *context.out << ToJson(*report).dump() << "\n";
  } else {
    *context.out << ReportText(*report);
  }
  return kExitOk;
}

}  // namespace engram::client
