#include "server/audit_log.h"

#include <errno.h>
#include <sys/stat.h>

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "google/protobuf/util/json_util.h"
#include "server/clock.h"
#include "server/errors.h"
#include "server/logging.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr size_t kRefusalsWaitingMax = 256;
constexpr size_t kTextMax = 512;

std::string ToLine(const v1::AuditEntry& entry) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string line;
  if (!google::protobuf::util::MessageToJsonString(entry, &line, options).ok()) return "";
  return absl::StrCat(line, "\n");
}

bool FromLine(absl::string_view line, v1::AuditEntry* entry) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;  // of a newer server
  return google::protobuf::util::JsonStringToMessage({line.data(), line.size()}, entry, options)
      .ok();
}

uint64_t LastNumber(const RotatingFile& file) {
  uint64_t last = 0;
  file.ReadBack([&last](absl::string_view line) {
    v1::AuditEntry entry;
    if (!FromLine(line, &entry)) return true;
    last = entry.number();
    return false;
  });
  return last;
}

std::vector<v1::AuditEntry> Newest(const RotatingFile& file, int limit, uint64_t before) {
  std::vector<v1::AuditEntry> entries;
  file.ReadBack([&](absl::string_view line) {
    v1::AuditEntry entry;
    if (FromLine(line, &entry) && (before == 0 || entry.number() < before)) {
      entries.push_back(std::move(entry));
    }
    return static_cast<int>(entries.size()) < limit;
  });
  return entries;
}

std::string TextOf(const google::protobuf::Message& message, const char* name) {
  const auto* field = message.GetDescriptor()->FindFieldByName(name);
  if (field == nullptr || field->is_repeated() ||
      field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_STRING) {
    return "";
  }
  return Echo(message.GetReflection()->GetString(message, field));
}

}  // namespace

absl::StatusOr<std::unique_ptr<AuditLog>> AuditLog::Open(const std::string& data_dir,
                                                         const v1::Audit& options) {
  RotatingFileOptions files;
  files.folder = absl::StrCat(data_dir, "/", kFolder);
  files.file_bytes = options.file_bytes();
  files.files = options.files();
  if (mkdir(files.folder.c_str(), 0700) != 0 && errno != EEXIST) {
    return absl::UnavailableError(
        absl::StrCat("cannot make the folder \"", kFolder, "\" in --data_dir"));
  }
  std::unique_ptr<AuditLog> made(new AuditLog());
  {
    base::MutexLock lock(&made->files_mutex_);
    files.stem = "actions";
    ENGRAM_ASSIGN_OR_RETURN(made->actions_, RotatingFile::Open(files));
    files.stem = "refusals";
    ENGRAM_ASSIGN_OR_RETURN(made->refusals_, RotatingFile::Open(files));
    made->next_number_ =
        std::max(LastNumber(*made->actions_), LastNumber(*made->refusals_)) + 1;
  }
  made->thread_ = std::thread([log = made.get()] { log->Run(); });
  return made;
}

AuditLog::~AuditLog() {
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.NotifyOne();
  }
  if (thread_.joinable()) thread_.join();
}

void AuditLog::Append(v1::AuditEntry entry, std::function<void()> done) {
  entry.set_time(absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", SystemClock()->Now(),
                                  absl::UTCTimeZone()));
  {
    base::MutexLock lock(&mutex_);
    const bool room = !entry.refused() || refusals_waiting_ < kRefusalsWaitingMax;
    if (room) {
      refusals_waiting_ += entry.refused() ? 1 : 0;
      queue_.push_back({std::move(entry), std::move(done)});
      wake_.NotifyOne();
      return;
    }
  }
  ++lost_;
  if (done != nullptr) done();
}

void AuditLog::Run() {
  while (true) {
    std::vector<Waiting> batch;
    {
      base::MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) wake_.Wait(&mutex_);
      if (queue_.empty()) return;
      batch.swap(queue_);
      refusals_waiting_ = 0;
    }
    Write(&batch);
    for (Waiting& each : batch) {
      if (each.done != nullptr) each.done();
    }
  }
}

void AuditLog::Write(std::vector<Waiting>* batch) {
  base::MutexLock lock(&files_mutex_);
  std::string actions;
  std::string refusals;
  for (Waiting& each : *batch) {
    each.entry.set_number(next_number_++);
    (each.entry.refused() ? refusals : actions) += ToLine(each.entry);
  }
  WriteTo(actions_.get(), actions);
  WriteTo(refusals_.get(), refusals);
}

void AuditLog::WriteTo(RotatingFile* file, const std::string& lines) {
  if (lines.empty()) return;
  const absl::Status written = file->Append(lines);
  if (written.ok()) return;
  lost_ += static_cast<uint64_t>(std::count(lines.begin(), lines.end(), '\n'));
  Log(LogLevel::kError, "audit_lost", {{"reason", written}, {"lines", lines}});
}

std::vector<v1::AuditEntry> AuditLog::List(int limit, uint64_t before) const {
  base::MutexLock lock(&files_mutex_);
  const std::vector<v1::AuditEntry> actions = Newest(*actions_, limit, before);
  const std::vector<v1::AuditEntry> refusals = Newest(*refusals_, limit, before);
  std::vector<v1::AuditEntry> entries;
  std::merge(actions.begin(), actions.end(), refusals.begin(), refusals.end(),
             std::back_inserter(entries),
             [](const auto& a, const auto& b) { return a.number() > b.number(); });
  if (static_cast<int>(entries.size()) > limit) entries.resize(limit);
  return entries;
}

v1::AuditEntry MakeAuditEntry(absl::string_view method, const Identity* caller,
                              const std::string& peer, const absl::Status& outcome) {
  v1::AuditEntry entry;
  entry.set_method(std::string(method));
  if (caller != nullptr) {
    entry.set_role(std::string(RoleName(caller->role)));
    entry.set_name(caller->name);
  }
  entry.set_peer(Echo(peer));
  SetOutcome(outcome, &entry);
  return entry;
}

void SetOutcome(const absl::Status& outcome, v1::AuditEntry* entry) {
  entry->set_outcome(absl::StatusCodeToString(outcome.code()));
  entry->set_message(absl::CHexEscape(outcome.message().substr(0, kTextMax)));
}

void NameSubject(const google::protobuf::Message& request, v1::AuditEntry* entry) {
  entry->set_model(TextOf(request, "model"));
  if (entry->model().empty()) entry->set_model(TextOf(request, "name"));
  for (const char* field : {"checkpoint", "label", "producer"}) {
    if (entry->subject().empty()) entry->set_subject(TextOf(request, field));
  }
  // An `id` elsewhere may be that of an example: personal, and not for the records.
  if (request.GetDescriptor()->name() == "DeleteCheckpointRequest") {
    entry->set_subject(TextOf(request, "id"));
  }
  using google::protobuf::FieldDescriptor;
  const FieldDescriptor* dry_run = request.GetDescriptor()->FindFieldByName("dry_run");
  if (dry_run != nullptr && dry_run->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
    entry->set_dry_run(request.GetReflection()->GetBool(request, dry_run));
  }
}

}  // namespace engram::server
