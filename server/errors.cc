#include "server/errors.h"

#include <algorithm>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/message.h"
#include "google/rpc/error_details.pb.h"
#include "server/names.h"

namespace engram::server {
namespace {

constexpr absl::string_view kTypePrefix = "type.googleapis.com/";
constexpr size_t kEchoCharacters = 64;
// Status messages travel in HTTP/2 headers, and peers refuse headers above 8 KiB.
constexpr size_t kMessageBytes = 1024;

void Attach(const google::protobuf::Message& detail, absl::Status* status) {
  status->SetPayload(absl::StrCat(kTypePrefix, detail.GetDescriptor()->full_name()),
                     absl::Cord(detail.SerializeAsString()));
}

void AttachRetry(std::chrono::milliseconds retry_after, absl::Status* status) {
  if (retry_after.count() <= 0) return;
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(retry_after.count() / 1000);
  retry.mutable_retry_delay()->set_nanos(
      static_cast<int32_t>(retry_after.count() % 1000 * 1'000'000));
  Attach(retry, status);
}

void AttachResource(absl::string_view type, absl::string_view name, absl::string_view description,
                    absl::Status* status) {
  google::rpc::ResourceInfo resource;
  resource.set_resource_type(std::string(type));
  resource.set_resource_name(Echo(name));
  resource.set_description(std::string(description));
  Attach(resource, status);
}

}  // namespace

absl::Status BadField(absl::string_view field, absl::string_view reason) {
  absl::Status status = absl::InvalidArgumentError(absl::StrCat(field, ": ", reason));
  google::rpc::BadRequest request;
  auto* violation = request.add_field_violations();
  violation->set_field(std::string(field));
  violation->set_description(std::string(reason));
  Attach(request, &status);
  return status;
}

absl::Status NotFound(absl::string_view resource_type, absl::string_view name,
                      absl::string_view known) {
  std::string message = absl::StrCat(resource_type, " \"", Echo(name), "\" not found");
  if (!known.empty()) absl::StrAppend(&message, "; there is: ", known);
  absl::Status status = absl::NotFoundError(message);
  AttachResource(resource_type, name, known, &status);
  return status;
}

absl::Status AlreadyExists(absl::string_view resource_type, absl::string_view name) {
  absl::Status status =
      absl::AlreadyExistsError(absl::StrCat(resource_type, " \"", Echo(name), "\" already exists"));
  AttachResource(resource_type, name, "", &status);
  return status;
}

absl::Status WrongState(absl::string_view type, absl::string_view subject,
                        absl::string_view description) {
  absl::Status status = absl::FailedPreconditionError(description);
  google::rpc::PreconditionFailure failure;
  auto* violation = failure.add_violations();
  violation->set_type(std::string(type));
  violation->set_subject(std::string(subject));
  violation->set_description(std::string(description));
  Attach(failure, &status);
  return status;
}

absl::Status OverLimit(absl::string_view subject, absl::string_view description,
                       std::chrono::milliseconds retry_after) {
  absl::Status status = absl::ResourceExhaustedError(description);
  google::rpc::QuotaFailure failure;
  auto* violation = failure.add_violations();
  violation->set_subject(std::string(subject));
  violation->set_description(std::string(description));
  Attach(failure, &status);
  AttachRetry(retry_after, &status);
  return status;
}

std::chrono::milliseconds RetryDelay(const absl::Status& status) {
  google::rpc::RetryInfo retry;
  const auto payload =
      status.GetPayload(absl::StrCat(kTypePrefix, retry.GetDescriptor()->full_name()));
  if (!payload.has_value() || !retry.ParseFromString(std::string(*payload))) return {};
  return std::chrono::milliseconds(retry.retry_delay().seconds() * 1000 +
                                   retry.retry_delay().nanos() / 1'000'000);
}

absl::Status WithRetryDelay(absl::Status status, std::chrono::milliseconds retry_after) {
  AttachRetry(retry_after, &status);
  return status;
}

absl::Status NotYet(absl::string_view message, std::chrono::milliseconds retry_after) {
  absl::Status status = absl::UnavailableError(message);
  AttachRetry(retry_after, &status);
  return status;
}

absl::Status WithReason(absl::StatusCode code, absl::string_view reason, absl::string_view message,
                        absl::string_view key, absl::string_view value) {
  absl::Status status(code, message);
  google::rpc::ErrorInfo error;
  error.set_reason(std::string(reason));
  error.set_domain("engram");
  if (!key.empty()) (*error.mutable_metadata())[std::string(key)] = std::string(value);
  Attach(error, &status);
  return status;
}

std::string Echo(absl::string_view from_request) {
  const bool cut = from_request.size() > kEchoCharacters;
  std::string shown = absl::CHexEscape(from_request.substr(0, kEchoCharacters));
  if (cut || shown.size() > kEchoCharacters) {
    shown.resize(std::min(shown.size(), kEchoCharacters - 3));
    shown += "...";
  }
  return shown;
}

std::string NotAName(absl::string_view name) {
  return absl::StrCat(kNameRule, ", got \"", Echo(name), "\"");
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status rpc;
  rpc.set_code(static_cast<int>(status.code()));
  rpc.set_message(std::string(status.message().substr(0, kMessageBytes)));
  status.ForEachPayload([&rpc](absl::string_view type_url, const absl::Cord& payload) {
    auto* detail = rpc.add_details();
    detail->set_type_url(std::string(type_url));
    detail->set_value(std::string(payload));
  });
  return rpc;
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status rpc = ToRpcStatus(status);
  return grpc::Status(static_cast<grpc::StatusCode>(rpc.code()), rpc.message(),
                      rpc.details().empty() ? std::string() : rpc.SerializeAsString());
}

}  // namespace engram::server
