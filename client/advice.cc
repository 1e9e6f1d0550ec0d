#include "client/advice.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/status.h"

namespace engram::client {
namespace {

// What the connection must look like for a symptom to mean this.
enum class When { kAlways, kWithToken, kWithoutToken, kWithTls, kWithoutTls };

// The first that fits counts. "$server" is the address that was called.
struct Symptom {
  absl::StatusCode code;
  // Part of the status's text.
  const char* text;
  When when;
  // Instead of the status's text; empty: as it is.
  const char* what;
  const char* fix;
};

constexpr absl::StatusCode kUnavailable = absl::StatusCode::kUnavailable;
constexpr absl::StatusCode kInvalid = absl::StatusCode::kInvalidArgument;

constexpr Symptom kSymptoms[] = {
    {kUnavailable, "is not in peer certificate", When::kAlways,
     "the certificate of $server was made for other names than that",
     "call the server by a name of its certificate (--server NAME:PORT), or have one made for "
     "this name (deploy/development_credentials FOLDER NAME)"},
    {kUnavailable, "wrong version number", When::kWithTls, "$server does not speak TLS",
     "leave out --tls_ca, or check the port"},
    {kUnavailable, "certificate verify failed", When::kWithTls,
     "the certificate of $server is not from the authority in --tls_ca",
     "give the ca.pem that this server's certificate was signed with; an expired certificate "
     "fails the same way"},
    {kUnavailable, "certificate required", When::kWithTls,
     "$server wants a certificate of this client", "give --tls_certificate and --tls_key"},
    {kUnavailable, "Ssl handshake failed", When::kWithTls, "TLS with $server failed",
     "check --tls_ca, and --tls_certificate with --tls_key where the server asks for them"},
    {kUnavailable, "DNS resolution failed", When::kAlways, "the host of $server has no address",
     "check the name in --server or $ENGRAM_SERVER"},
    {kUnavailable, "Connection refused", When::kAlways, "no server answers at $server",
     "start one (engramd --data_dir FOLDER), or name another with --server HOST:PORT or "
     "$ENGRAM_SERVER"},
    {kUnavailable, ": Socket closed", When::kWithoutTls, "$server closes the connection",
     "it may want TLS: --tls_ca FILE"},
    {kUnavailable, "onnection reset", When::kWithoutTls, "$server closes the connection",
     "it may want TLS: --tls_ca FILE"},
    {kUnavailable, "failed to connect", When::kAlways, "$server cannot be reached",
     "check --server HOST:PORT and the network between"},
    {kUnavailable, "Socket closed", When::kAlways, "$server went away during the call",
     "\"engram doctor\" says whether it is back"},
    {absl::StatusCode::kUnauthenticated, "", When::kWithoutToken, "",
     "this server wants to know who calls: --token_file FILE, or a client certificate"},
    {absl::StatusCode::kUnauthenticated, "", When::kWithToken, "",
     "the server does not know this token: check --token_file; a token that was just added is "
     "known after \"engram reload\""},
    {absl::StatusCode::kPermissionDenied, "PRODUCER_NOT_BOUND", When::kAlways, "",
     "learn under a name that the server's config binds to this writer: --producer NAME"},
    {absl::StatusCode::kPermissionDenied, "BOUNDARIES_NOT_ALLOWED", When::kAlways, "",
     "have another writer end the task, or no_boundaries taken out of the server's config"},
    {absl::StatusCode::kPermissionDenied, "", When::kAlways, "",
     "the call needs a role that this caller has not: use the token of a writer or an admin"},
    {absl::StatusCode::kNotFound, "checkpoint", When::kAlways, "",
     "\"engram checkpoint list MODEL\" shows the ids and labels"},
    {absl::StatusCode::kNotFound, "strategy", When::kAlways, "",
     "\"engram strategy list\" shows the names"},
    {absl::StatusCode::kNotFound, "model", When::kAlways, "",
     "\"engram model list\" shows the models, \"engram model create\" makes one"},
    {absl::StatusCode::kAlreadyExists, "model", When::kAlways, "",
     "choose another name, or delete that one first: \"engram model delete NAME\""},
    {absl::StatusCode::kDeadlineExceeded, "Deadline Exceeded", When::kAlways,
     "$server did not answer in time", "wait longer with --deadline SECONDS"},
    {absl::StatusCode::kAborted, "STALE_EPOCH", When::kAlways, "",
     "another stream with this producer's name has begun: give each its own --producer"},
    {absl::StatusCode::kDataLoss, "ACK_AHEAD", When::kAlways, "",
     "the server lost what it had acked; once you have looked into it, \"engram loss acknowledge "
     "MODEL\" lets the model learn again"},
    {kInvalid, "line 1: column", When::kAlways, "",
     "if the first line is a header: --header, or --label NAME for the label's column"},
    {kInvalid, "bytes exceeds", When::kAlways, "", "send fewer rows a message: --batch N"},
};

bool Fits(When when, const ConnectionOptions& connection) {
  switch (when) {
    case When::kAlways:
      return true;
    case When::kWithToken:
      return !connection.token.empty();
    case When::kWithoutToken:
      return connection.token.empty();
    case When::kWithTls:
      return !connection.tls_ca_file.empty();
    case When::kWithoutTls:
      return connection.tls_ca_file.empty();
  }
  return false;
}

}  // namespace

Explanation Explain(const ConnectionOptions& connection, const absl::Status& status) {
  for (const Symptom& symptom : kSymptoms) {
    if (symptom.code != status.code() || !Fits(symptom.when, connection)) continue;
    if (!absl::StrContains(status.message(), symptom.text)) continue;
    const absl::string_view said = *symptom.what == '\0' ? status.message() : symptom.what;
    return {absl::StrCat(absl::StatusCodeToString(status.code()), ": ",
                         absl::StrReplaceAll(said, {{"$server", connection.target}})),
            symptom.fix};
  }
  return {Describe(status), ""};
}

}  // namespace engram::client
