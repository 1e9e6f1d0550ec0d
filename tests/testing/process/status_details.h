// google.rpc details of a status that came over the wire.
//
// Threading: free functions. Failure: absent details read as nullopt.
#pragma once

#include <string>

#include "absl/types/optional.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace engram::testing {

inline google::rpc::Status RpcStatus(const grpc::Status& status) {
  google::rpc::Status out;
  if (!out.ParseFromString(status.error_details())) out.Clear();
  return out;
}

// The first detail of this type.
template <typename Detail>
absl::optional<Detail> FindDetail(const google::rpc::Status& status) {
  for (const auto& any : status.details()) {
    Detail detail;
    if (any.UnpackTo(&detail)) return detail;
  }
  return absl::nullopt;
}
template <typename Detail>
absl::optional<Detail> FindDetail(const grpc::Status& status) {
  return FindDetail<Detail>(RpcStatus(status));
}

// ErrorInfo's reason, or "".
inline std::string Reason(const grpc::Status& status) {
  const auto info_detail = FindDetail<google::rpc::ErrorInfo>(status);
  return info_detail.has_value() ? info_detail->reason() : "";
}

}  // namespace engram::testing
