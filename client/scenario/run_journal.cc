#include "client/scenario/run_journal.h"

#include <filesystem>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "client/datasets/fingerprint.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

using client::Json;

using datasets::Fingerprint;

void AddRows(const datasets::RowSet& set, Fingerprint* hash) {
  hash->Add(absl::StrCat(set.rows, "x", set.planes, "x", set.height, "x", set.width, "x",
                         set.columns, ";"));
  hash->AddAll(set.pixels);
  hash->AddAll(set.values);
  hash->AddAll(set.labels);
  for (const std::string& text : set.texts) hash->Add(text);
}

void AddTask(const Task& task, Fingerprint* hash) {
  hash->Add(absl::StrCat(task.name, ";", task.train.size(), ";", task.held_out.size(), ";"));
  hash->AddAll(task.train);
  hash->AddAll(task.held_out);
  hash->AddAll(task.map);
}

}  // namespace

absl::StatusOr<std::unique_ptr<RunJournal>> RunJournal::Open(const std::string& path) {
  std::unique_ptr<RunJournal> journal(new RunJournal(path));
  ENGRAM_RETURN_IF_ERROR(journal->Load());
  journal->file_.open(path, std::ios::binary | std::ios::app);
  if (!journal->file_) {
    return absl::PermissionDeniedError(absl::StrCat("resume: cannot write ", path));
  }
  return journal;
}

absl::Status RunJournal::Load() {
  std::ifstream file(path_, std::ios::binary);
  if (!file) return absl::OkStatus();
  std::ostringstream contents;
  contents << file.rdbuf();
  std::string text = contents.str();
  const size_t whole = text.rfind('\n') + 1;
  if (whole < text.size()) {
    std::error_code error;
    std::filesystem::resize_file(path_, whole, error);
    if (error) return absl::PermissionDeniedError(absl::StrCat("resume: cannot write ", path_));
    text.resize(whole);
  }
  int64_t number = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    if (line.empty()) continue;
    const Json json = Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false);
    const bool result = json.is_object() && json.contains("result") && json.contains("run") &&
                        json["run"].is_string() && json["result"].is_object();
    if (!result) {
      return absl::DataLossError(
          absl::StrCat("resume: ", path_, ":", number, " is no result of a run"));
    }
    results_[json["run"].get<std::string>()] = json["result"];
  }
  return absl::OkStatus();
}

const Json* RunJournal::Find(const std::string& fingerprint) const {
  const auto found = results_.find(fingerprint);
  return found == results_.end() ? nullptr : &found->second;
}

absl::Status RunJournal::Append(const std::string& fingerprint, const Json& result) {
  Json line;
  line["run"] = fingerprint;
  line["result"] = result;
  file_ << line.dump() << std::endl;
  if (!file_) return absl::DataLossError(absl::StrCat("resume: cannot write ", path_));
  results_[fingerprint] = result;
  return absl::OkStatus();
}

std::string RowsFingerprint(const datasets::RowSplit& source) {
  Fingerprint hash;
  AddRows(source.train, &hash);
  AddRows(source.test, &hash);
  return hash.Hex();
}

absl::StatusOr<std::string> RunFingerprint(const RunOptions& options, const Scenario& scenario,
                                           const std::string& rows_fingerprint) {
  ENGRAM_ASSIGN_OR_RETURN(const v1::ModelSpec spec, BuildSpec(options, scenario));
  const Schedule& schedule = options.schedule;
  Fingerprint hash;
  hash.Add(spec.SerializeAsString());
  hash.Add(absl::StrCat(schedule.batch_size, ";", schedule.epochs, ";", schedule.iterations, ";",
                        schedule.drop_last, ";", IncrementalName(scenario.incremental), ";",
                        options.protocol, ";"));
  for (const Task& task : scenario.tasks) AddTask(task, &hash);
  hash.Add(rows_fingerprint);
  return hash.Hex();
}

}  // namespace engram::scenario
