// One short life of a server, the same every time: two models come, one goes, examples are learned
// one message at a time, a checkpoint, a rollback, predictions after every step, a drain. Somewhere
// in it something fails. Then the stored state is judged against what was answered.
//
// Threading: one thread. Ownership: the folder outlives it.
// Failure: statuses for what made the session impossible; broken promises are in the outcome.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "grpcpp/support/status.h"
#include "tests/crash/message_plan.h"
#include "tests/crash/oracle.h"
#include "tests/testing/process/server_process.h"
#include "tests/testing/process/stubs.h"

namespace engram::crash {

// The exit code of a server that was killed in place of a call.
inline constexpr int kKilled = 128 + 9;

struct SessionOptions {
  std::string folder;
  std::string binary;
  std::vector<std::string> environment;
  // Also fills a log that is trimmed, and lets the witness come by: takes three seconds more.
  bool with_trim = false;
};

struct SessionOutcome {
  bool ended_by_itself = false;
  int exit_code = 0;
  bool read_only = false;
  int refused = 0;      // calls that were answered with an error
  std::string refusal;  // the first of these errors
  std::string broken;   // the first promise that was broken; empty: none
};

class ScriptedSession {
 public:
  explicit ScriptedSession(SessionOptions options);

  absl::StatusOr<SessionOutcome> Run();
  // Opens the folder that it left, without any fault, and looks for what was answered. Empty when
  // it is all there, else what is not.
  std::string JudgeStored() const;
  // A server opens it, knows the producer's last ack, and predicts. Empty when it does.
  std::string JudgeReopened() const;
  // The judge itself: would it miss one of the acked examples?
  bool JudgeNotices() const;

 private:
  void Steps(testing::ServerProcess* server);
  void Create(const std::string& model, const std::string& weights);
  void Learn(int messages);
  void Checkpoint();
  void DeleteCheckpoint();
  void RollBack();
  void Delete(const std::string& model);
  void Trim();
  // Counts a refusal. True when the call was answered well.
  bool Note(const grpc::Status& status);
  // Whatever failed before: while the server lives, it predicts.
  void MustPredict(testing::ServerProcess* server);
  void Break(const std::string& what);
  std::string JudgeRecords(const std::vector<storage::LogRecord>& records) const;

  const SessionOptions options_;
  std::unique_ptr<testing::Stubs> stubs_;
  SessionOutcome outcome_;
  MessagePlan plan_;
  uint64_t sent_ = 0;
  uint64_t acked_ = 0;
  bool learned_ = false;           // there is a class to predict
  std::set<std::string> created_;  // answered
  std::set<std::string> deleting_;
  std::set<std::string> deleted_;
  std::string checkpoint_;  // answered, and not asked to go
  std::vector<AnsweredRollback> rollbacks_;
};

}  // namespace engram::crash
