// The files of a Tls message, looked at before anybody listens: gRPC itself only says that a
// handshake failed.
//
// Threading: free functions without state.
// Failure: INVALID_ARGUMENT naming the field, the file and what is wrong with it.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "engram/v1/config.pb.h"

namespace engram::server {

// Readable, PEM, the key belongs to the certificate and is not open to everybody, the certificate
// is valid today. `field`: of `tls` in the configuration.
absl::Status CheckTlsFiles(absl::string_view field, const v1::Tls& tls);

}  // namespace engram::server
