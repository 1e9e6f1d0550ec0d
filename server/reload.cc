#include "server/reload.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/text_format.h"
#include "server/config.h"
#include "server/errors.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using Change = v1::ReloadConfigResponse::Change;

// Everything else is read once: by the store, the listeners, or the threads that were made.
constexpr absl::string_view kLive[] = {
    "limits.tasks",
    "limits.producers",
    "limits.models",
    "limits.weights_bytes",
    "retention.log_seconds",
    "retention.log_bytes",
    "retention.producer_idle_seconds",
    "live_evaluation_share",
    "authentication.bindings",
};

std::string Text(const google::protobuf::Message& message,
                 const google::protobuf::FieldDescriptor* field) {
  google::protobuf::TextFormat::Printer printer;
  printer.SetSingleLineMode(true);
  std::string text;
  if (!field->is_repeated()) {
    if (field->has_presence() && !message.GetReflection()->HasField(message, field)) return "";
    printer.PrintFieldValueToString(message, field, -1, &text);
    return text;
  }
  std::vector<std::string> parts;
  for (int i = 0; i < message.GetReflection()->FieldSize(message, field); ++i) {
    printer.PrintFieldValueToString(message, field, i, &text);
    parts.push_back(text);
  }
  return absl::StrJoin(parts, ", ");
}

void Compare(const google::protobuf::Message& before, const google::protobuf::Message& after,
             const std::string& prefix, std::vector<Change>* changes) {
  const auto* descriptor = before.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const auto* field = descriptor->field(i);
    const std::string name = absl::StrCat(prefix, field->name());
    const bool message = field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE;
    if (message && !field->is_repeated()) {
      // Whether a listener has TLS or a caller needs a token hangs on the message's being there.
      if (before.GetReflection()->HasField(before, field) !=
          after.GetReflection()->HasField(after, field)) {
        Change* change = &changes->emplace_back();
        change->set_field(name);
        change->set_before(Text(before, field));
        change->set_after(Text(after, field));
        continue;
      }
      Compare(before.GetReflection()->GetMessage(before, field),
              after.GetReflection()->GetMessage(after, field), absl::StrCat(name, "."), changes);
      continue;
    }
    const std::string was = Text(before, field);
    const std::string is = Text(after, field);
    if (was == is) continue;
    Change* change = &changes->emplace_back();
    change->set_field(name);
    change->set_before(was);
    change->set_after(is);
  }
}

absl::StatusOr<v1::ServerConfig> ReadConfig(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file) return absl::NotFoundError("the file of --config cannot be read");
  ENGRAM_ASSIGN_OR_RETURN(v1::ServerConfig config, ParseConfig(text));
  return CompleteConfig(std::move(config));
}

absl::Status CheckLive(const std::vector<Change>& changes) {
  std::vector<std::string> fixed;
  for (const Change& change : changes) {
    if (!MayChangeLive(change.field())) fixed.push_back(change.field());
  }
  if (fixed.empty()) return absl::OkStatus();
  const std::string names = absl::StrJoin(fixed, ", ");
  return WrongState("CONFIG", names,
                    absl::StrCat(names, ": cannot change while the server runs; nothing was "
                                 "changed; restart engramd, or take the change back"));
}

}  // namespace

std::vector<Change> CompareConfigs(const v1::ServerConfig& before, const v1::ServerConfig& after) {
  std::vector<Change> changes;
  Compare(before, after, "", &changes);
  return changes;
}

bool MayChangeLive(absl::string_view field) {
  return std::find(std::begin(kLive), std::end(kLive), field) != std::end(kLive);
}

ConfigReloader::ConfigReloader(std::string path, v1::ServerConfig started, Authority* authority,
                               std::vector<Apply> apply)
    : path_(std::move(path)),
      authority_(authority),
      apply_(std::move(apply)),
      current_(std::move(started)) {}

absl::StatusOr<v1::ReloadConfigResponse> ConfigReloader::Reload() {
  base::MutexLock lock(&mutex_);
  if (path_.empty()) {
    return WrongState("CONFIG", "--config", "engramd was started without --config");
  }
  ENGRAM_ASSIGN_OR_RETURN(v1::ServerConfig next, ReadConfig(path_));
  const std::vector<Change> changes = CompareConfigs(*current(), next);
  ENGRAM_RETURN_IF_ERROR(CheckLive(changes));
  ENGRAM_ASSIGN_OR_RETURN(ProducerBindings bindings,
                          ProducerBindings::Make(next.authentication()));
  if (authority_ != nullptr) {
    const absl::Status read = authority_->Reload();
    if (!read.ok()) return BadField("authentication.token_file", read.message());
    authority_->SetBindings(std::move(bindings));
  }
  for (const Apply& apply : apply_) apply(next);
  current_.Set(std::move(next));
  v1::ReloadConfigResponse response;
  for (const Change& change : changes) *response.add_changes() = change;
  return response;
}

}  // namespace engram::server
