#include "tests/net/net_run.h"

#include <algorithm>
#include <cstdio>
#include <iostream>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "server/record_kind.h"
#include "storage/base/status_macros.h"
#include "tests/crash/stored_models.h"
#include "tests/testing/process/stubs.h"

namespace engram::net {
namespace {

constexpr size_t kViolationsShown = 4;

absl::Status ToStatus(const grpc::Status& status, const std::string& what) {
  if (status.ok()) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(what, ": ", status.error_code(), " ", status.error_message()));
}

}  // namespace

absl::StatusOr<std::unique_ptr<testing::ServerProcess>> StartServer(
    const std::string& folder, const std::vector<std::string>& models, const std::string& planted) {
  testing::ServerOptions options;
  options.data_dir = folder;
  if (!planted.empty()) {
    options.binary = ENGRAM_FAILING_SERVER_BINARY;
    options.environment = {absl::StrCat("ENGRAM_FAILPOINTS=", planted, "=plant")};
  }
  options.ready_within = absl::Seconds(120);
  ENGRAM_ASSIGN_OR_RETURN(auto server, testing::ServerProcess::Start(std::move(options)));
  for (const std::string& model : models) ENGRAM_RETURN_IF_ERROR(server->WaitReady(model));
  return server;
}

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  arguments.SetInt("grpc.enable_retries", 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

absl::Status CreateModel(const std::string& address, const std::string& name,
                         const v1::ModelSpec& spec) {
  const testing::Stubs stubs(Connect(address));
  v1::CreateModelRequest request;
  request.set_name(name);
  *request.mutable_spec() = spec;
  const auto created = testing::Call(*stubs.models, &v1::Models::Stub::CreateModel, request);
  return ToStatus(created.status, "CreateModel");
}

absl::StatusOr<uint64_t> DurableSequence(const std::string& address, const std::string& model) {
  const testing::Stubs stubs(Connect(address));
  v1::GetModelRequest request;
  request.set_name(model);
  const auto found = testing::Call(*stubs.models, &v1::Models::Stub::GetModel, request);
  ENGRAM_RETURN_IF_ERROR(ToStatus(found.status, "GetModel"));
  return found->durable_sequence();
}

absl::Status DrainToZero(testing::ServerProcess* server) {
  ENGRAM_ASSIGN_OR_RETURN(const int code, server->Drain());
  if (code == 0) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("drain exited with ", code, ":\n", server->Output()));
}

absl::StatusOr<Findings> ReadAndJudge(const std::string& folder, const std::string& model,
                                      const std::vector<crash::Testimony>& testimonies) {
  ENGRAM_ASSIGN_OR_RETURN(auto stored, crash::ReadModels(folder, {}));
  const auto found = std::find_if(stored.begin(), stored.end(),
                                  [&](const auto& each) { return each.name == model; });
  if (found == stored.end()) return absl::NotFoundError(absl::StrCat("no model ", model));
  Findings findings;
  findings.records = std::move(found->records);
  findings.verdict = crash::Judge(findings.records, testimonies, {});
  findings.example_records = std::count_if(
      findings.records.begin(), findings.records.end(), [](const storage::LogRecord& record) {
        return record.kind == static_cast<uint8_t>(server::RecordKind::kExample);
      });
  for (const crash::Testimony& testimony : testimonies) {
    for (const uint64_t sequence : testimony.entries.resent) {
      findings.sent_again += testimony.plan.ExampleCount(sequence);
    }
  }
  return findings;
}

bool ReportExactlyOnce(const std::string& what, const Findings& findings) {
  const crash::Verdict& verdict = findings.verdict;
  const bool exact = findings.example_records == verdict.acked_examples;
  std::printf(
      "%s: %ld examples acked, %ld in the log (%s), %ld of them sent more than once; %ld lost, "
      "%ld twice, %ld torn, %ld altered, %ld unexpected\n",
      what.c_str(), verdict.acked_examples, findings.example_records,
      exact ? "exact" : "NOT EXACT", findings.sent_again, verdict.lost, verdict.twice,
      verdict.torn, verdict.altered, verdict.unexpected);
  for (const auto& finding : verdict.first_findings) std::printf("  %s\n", finding.c_str());
  std::fflush(stdout);
  return exact && verdict.Clean() && verdict.acked_examples > 0;
}

crash::Testimony TestimonyOf(const crash::ProducerOptions& options) {
  return {options.plan, crash::Ledger::Read(options.ledger_file)};
}

bool ReportViolations(const std::vector<std::string>& violations) {
  for (size_t i = 0; i < violations.size() && i < kViolationsShown; ++i) {
    std::printf("  %s\n", violations[i].c_str());
  }
  if (!violations.empty()) std::printf("  %zu violations\n", violations.size());
  return violations.empty();
}

absl::StatusOr<bool> JudgeProducers(const std::string& folder,
                                    const std::vector<const crash::Producer*>& producers) {
  bool good = true;
  std::map<std::string, std::vector<crash::Testimony>> by_model;
  for (const crash::Producer* producer : producers) {
    good = ReportViolations(producer->violations()) && good;
    by_model[producer->options().model].push_back(TestimonyOf(producer->options()));
  }
  for (const auto& [model, testimonies] : by_model) {
    ENGRAM_ASSIGN_OR_RETURN(const Findings findings, ReadAndJudge(folder, model, testimonies));
    good = ReportExactlyOnce(model, findings) && good;
  }
  return good;
}

}  // namespace engram::net
