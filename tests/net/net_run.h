// What the network harnesses share: a server to start, channels that hide nothing, and the verdict
// of tests/crash over the log that the server leaves behind.
//
// Threading: free functions; start servers from the main thread (see subprocess.h).
// Failure: statuses; a verdict that is not clean is printed and false.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/model.pb.h"
#include "grpcpp/channel.h"
#include "tests/crash/oracle.h"
#include "tests/crash/producer.h"
#include "tests/testing/process/server_process.h"

namespace engram::net {

// Every model of the store serves once this returns. `planted`: a bug of engramd_failing; empty:
// engramd.
absl::StatusOr<std::unique_ptr<testing::ServerProcess>> StartServer(
    const std::string& folder, const std::vector<std::string>& models,
    const std::string& planted = "");

// A connection of its own that retries nothing by itself.
std::shared_ptr<grpc::Channel> Connect(const std::string& address);

absl::Status CreateModel(const std::string& address, const std::string& name,
                         const engram::v1::ModelSpec& spec);
// As the server says it; never part of a verdict.
absl::StatusOr<uint64_t> DurableSequence(const std::string& address, const std::string& model);

// SIGTERM; an error unless it ends with 0.
absl::Status DrainToZero(testing::ServerProcess* server);

// The log of a server that has stopped, against the ledgers of all who wrote to it.
struct Findings {
  crash::Verdict verdict;
  int64_t example_records = 0;
  int64_t sent_again = 0;  // examples of messages that left more than once
  std::vector<storage::LogRecord> records;
};
absl::StatusOr<Findings> ReadAndJudge(const std::string& folder, const std::string& model,
                                      const std::vector<crash::Testimony>& testimonies);
// One line and what was found first. Clean, and as many examples as were acked, none other.
bool ReportExactlyOnce(const std::string& what, const Findings& findings);

// The logs of all models that these producers learned into, and what they were told.
absl::StatusOr<bool> JudgeProducers(const std::string& folder,
                                    const std::vector<const crash::Producer*>& producers);

// What a producer knows, from its ledger.
crash::Testimony TestimonyOf(const crash::ProducerOptions& options);
// Prints the first few; true when there are none.
bool ReportViolations(const std::vector<std::string>& violations);

}  // namespace engram::net
