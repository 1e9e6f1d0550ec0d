#include "client/advice.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

enum class Caller { kPlain, kWithToken, kWithTls };

// What the library or the server said, and what the user reads.
struct Case {
  const char* name;
  Caller caller;
  absl::StatusCode code;
  const char* said;
  const char* what;
  const char* fix;
};

constexpr absl::StatusCode kUnavailable = absl::StatusCode::kUnavailable;

// The texts of UNAVAILABLE are those of gRPC 1.51, word for word.
const Case kCases[] = {
    {"NoServer", Caller::kPlain, kUnavailable,
     "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:9: Failed to connect "
     "to remote host: Connection refused",
     "UNAVAILABLE: no server answers at host:1", "engramd --data_dir"},
    {"NoHost", Caller::kPlain, kUnavailable,
     "DNS resolution failed for host:1: C-ares status is not ARES_SUCCESS qtype=A name=host",
     "UNAVAILABLE: the host of host:1 has no address", "$ENGRAM_SERVER"},
    {"NoRoute", Caller::kPlain, kUnavailable,
     "failed to connect to all addresses; last error: UNKNOWN: Network is unreachable",
     "UNAVAILABLE: host:1 cannot be reached", "--server HOST:PORT"},
    {"WrongName", Caller::kWithTls, kUnavailable,
     "failed to connect to all addresses; last error: UNKNOWN: Peer name host is not in peer "
     "certificate",
     "the certificate of host:1 was made for other names", "--server NAME:PORT"},
    {"WrongAuthority", Caller::kWithTls, kUnavailable,
     "failed to connect to all addresses; last error: UNKNOWN: Ssl handshake failed: "
     "SSL_ERROR_SSL: error:0A000086:SSL routines::certificate verify failed",
     "is not from the authority in --tls_ca", "ca.pem"},
    {"NoTlsThere", Caller::kWithTls, kUnavailable,
     "failed to connect to all addresses; last error: UNKNOWN: Ssl handshake failed: "
     "SSL_ERROR_SSL: error:0A00010B:SSL routines::wrong version number",
     "host:1 does not speak TLS", "leave out --tls_ca"},
    {"TlsExpected", Caller::kPlain, kUnavailable,
     "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:9: Socket closed",
     "UNAVAILABLE: host:1 closes the connection", "--tls_ca FILE"},
    {"GoneMeanwhile", Caller::kPlain, kUnavailable, "Socket closed",
     "UNAVAILABLE: host:1 went away during the call", "engram doctor"},
    {"NoToken", Caller::kPlain, absl::StatusCode::kUnauthenticated, "no credentials",
     "UNAUTHENTICATED: no credentials", "--token_file FILE"},
    {"UnknownToken", Caller::kWithToken, absl::StatusCode::kUnauthenticated, "unknown token",
     "UNAUTHENTICATED: unknown token", "engram reload"},
    {"OtherProducer", Caller::kWithToken, absl::StatusCode::kPermissionDenied,
     "writer \"w\" may not learn as producer \"p\" [PRODUCER_NOT_BOUND producer=p]",
     "may not learn as producer", "--producer NAME"},
    {"SmallRole", Caller::kWithToken, absl::StatusCode::kPermissionDenied, "a reader may not",
     "PERMISSION_DENIED: a reader may not", "writer or an admin"},
    {"NoModel", Caller::kPlain, absl::StatusCode::kNotFound, "model \"x\" is not here",
     "NOT_FOUND: model \"x\" is not here", "engram model list"},
    {"NoCheckpoint", Caller::kPlain, absl::StatusCode::kNotFound,
     "checkpoint \"x\" of model \"m\" is not here", "NOT_FOUND: checkpoint",
     "engram checkpoint list MODEL"},
    {"NameTaken", Caller::kPlain, absl::StatusCode::kAlreadyExists, "model \"x\" is there",
     "ALREADY_EXISTS: model", "engram model delete NAME"},
    {"Late", Caller::kPlain, absl::StatusCode::kDeadlineExceeded, "Deadline Exceeded",
     "DEADLINE_EXCEEDED: host:1 did not answer in time", "--deadline SECONDS"},
    {"HeaderLine", Caller::kPlain, absl::StatusCode::kInvalidArgument,
     "rows.csv: line 1: column 2: expected a number, got \"age\"", "rows.csv: line 1: column 2",
     "--header"},
    {"MessageTooLarge", Caller::kPlain, absl::StatusCode::kInvalidArgument,
     "message of 9000000 bytes exceeds 4194304", "exceeds 4194304", "--batch N"},
};

class AdviceTest : public ::testing::TestWithParam<Case> {};

TEST_P(AdviceTest, SaysWhatItIsAndWhatToDo) {
  const Case& one = GetParam();
  ConnectionOptions connection;
  connection.target = "host:1";
  if (one.caller == Caller::kWithToken) connection.token = "secret";
  if (one.caller == Caller::kWithTls) connection.tls_ca_file = "ca.pem";
  const Explanation explained = Explain(connection, absl::Status(one.code, one.said));
  EXPECT_THAT(explained.what, HasSubstr(one.what));
  EXPECT_THAT(explained.fix, HasSubstr(one.fix));
  EXPECT_THAT(explained.what + explained.fix, Not(HasSubstr("secret")));
}

INSTANTIATE_TEST_SUITE_P(Failures, AdviceTest, ::testing::ValuesIn(kCases),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(AdviceOfTheUnknownTest, IsTheStatusAsItIs) {
  const Explanation explained = Explain({}, absl::InternalError("a bug"));
  EXPECT_EQ(explained.what, "INTERNAL: a bug");
  EXPECT_THAT(explained.fix, IsEmpty());
}

}  // namespace
}  // namespace engram::client
