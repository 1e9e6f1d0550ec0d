#include "client/status.h"

#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace engram::client {
namespace {

// Type URLs end in "/full.name"; the host before it carries no meaning.
template <typename Detail>
bool Holds(absl::string_view type_url) {
  return absl::EndsWith(type_url, absl::StrCat("/", Detail::descriptor()->full_name()));
}

template <typename Detail>
absl::optional<Detail> DetailOf(const absl::Status& status) {
  absl::optional<Detail> found;
  status.ForEachPayload([&found](absl::string_view type_url, const absl::Cord& payload) {
    Detail detail;
    if (!found && Holds<Detail>(type_url) && detail.ParseFromString(std::string(payload))) {
      found = std::move(detail);
    }
  });
  return found;
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

// Appends `subject: description` unless the text so far says it already.
void AddPart(absl::string_view text, absl::string_view subject, absl::string_view description,
             std::vector<std::string>* parts) {
  const bool said = description.empty() || absl::StrContains(text, description);
  if (said && (subject.empty() || absl::StrContains(text, subject))) return;
  if (said) {
    parts->push_back(std::string(subject));
  } else {
    parts->push_back(subject.empty() ? std::string(description)
                                     : absl::StrCat(subject, ": ", description));
  }
}

void AddErrorInfo(const google::rpc::ErrorInfo& why, std::vector<std::string>* parts) {
  std::string part = why.reason();
  for (const auto& [key, value] : why.metadata()) absl::StrAppend(&part, " ", key, "=", value);
  if (!part.empty()) parts->push_back(std::move(part));
}

std::string ReadableMessage(const absl::Status& status) {
  const absl::string_view text = status.message();
  std::vector<std::string> parts;
  if (const auto bad = DetailOf<google::rpc::BadRequest>(status)) {
    for (const auto& violation : bad->field_violations()) {
      AddPart(text, violation.field(), violation.description(), &parts);
    }
  }
  if (const auto missing = DetailOf<google::rpc::PreconditionFailure>(status)) {
    for (const auto& violation : missing->violations()) {
      AddPart(text, violation.subject(), violation.description(), &parts);
    }
  }
  if (const auto quota = DetailOf<google::rpc::QuotaFailure>(status)) {
    for (const auto& violation : quota->violations()) {
      AddPart(text, violation.subject(), violation.description(), &parts);
    }
  }
  if (const auto resource = DetailOf<google::rpc::ResourceInfo>(status)) {
    AddPart(text, resource->resource_name(), resource->description(), &parts);
  }
  if (const auto why = DetailOf<google::rpc::ErrorInfo>(status)) AddErrorInfo(*why, &parts);
  if (const auto delay = RetryDelayOf(status)) {
    parts.push_back(absl::StrCat("retry after ", absl::FormatDuration(*delay)));
  }
  if (parts.empty()) return std::string(text);
  return absl::StrCat(text, text.empty() ? "" : " ", "[", absl::StrJoin(parts, "; "), "]");
}

absl::StatusCode CodeOf(int code) {
  return code >= 0 && code <= 16 ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown;
}

absl::Status Readable(const absl::Status& raw) {
  absl::Status readable(raw.code(), ReadableMessage(raw));
  raw.ForEachPayload([&readable](absl::string_view type_url, const absl::Cord& payload) {
    readable.SetPayload(type_url, payload);
  });
  return readable;
}

void AddPayloads(const google::rpc::Status& rich, absl::Status* status) {
  for (const auto& detail : rich.details()) {
    status->SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
}

}  // namespace

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  absl::Status raw(CodeOf(status.error_code()), status.error_message());
  google::rpc::Status rich;
  if (!status.error_details().empty() && rich.ParseFromString(status.error_details())) {
    AddPayloads(rich, &raw);
  }
  return Readable(raw);
}

absl::Status FromRpcStatus(const google::rpc::Status& status) {
  absl::Status raw(CodeOf(status.code()), status.message());
  if (raw.ok()) return raw;
  AddPayloads(status, &raw);
  return Readable(raw);
}

absl::optional<google::rpc::ErrorInfo> ErrorInfoOf(const absl::Status& status) {
  return DetailOf<google::rpc::ErrorInfo>(status);
}

std::string ReasonOf(const absl::Status& status) {
  const auto why = ErrorInfoOf(status);
  return why ? why->reason() : std::string();
}

absl::optional<absl::Duration> RetryDelayOf(const absl::Status& status) {
  const auto retry = DetailOf<google::rpc::RetryInfo>(status);
  if (!retry) return absl::nullopt;
  return FromProto(retry->retry_delay());
}

std::string Describe(const absl::Status& status) {
  if (status.ok()) return "OK";
  return absl::StrCat(absl::StatusCodeToString(status.code()), ": ", status.message());
}

}  // namespace engram::client
