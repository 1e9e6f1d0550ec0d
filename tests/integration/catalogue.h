// The catalogue of bad inputs by its numbers (1-83 of the design's list): for each an entry that
// sends the input to a real engramd and says which code and words must come back, or names the
// tests that do, or says why it cannot be sent.
//
// Threading: the main thread. Ownership: the rig owns its servers. Failure: gtest expectations.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/integration/credentials.h"
#include "tests/integration/toy_model.h"
#include "tests/testing/faults/fault_box.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"
#include "tests/testing/process/stubs.h"

namespace engram::integration {

class CatalogueRig;

struct Entry {
  int number = 0;
  std::string input;
  std::function<void(CatalogueRig*)> act = nullptr;
  // "Suite.Name", or a harness by its ctest name.
  std::vector<std::string> tests = {};
  std::string why = {};  // there is nothing to send
};

std::vector<Entry> CallEntries();        // 1-20
std::vector<Entry> LearnEntries();       // 21-58
std::vector<Entry> ModelEntries();       // 59-77
std::vector<Entry> OperationsEntries();  // 78-83

// Servers that start when they are first asked for, and what is printed and expected of answers.
class CatalogueRig {
 public:
  // Settles the environment that a server would else settle by starting a second time.
  CatalogueRig();

  // In the clear; limits: 3 tasks, 4 checkpoints, 1 MiB of weights. "toy" has learned 0 and 1, is
  // at its second task, "b", and has a checkpoint, "kept".
  testing::ServerProcess& server();
  const testing::Stubs& stubs();
  ToyModel& toy();
  // One more model on it.
  ToyModel Model(const std::string& name, const std::function<void(v1::ModelSpec*)>& edit =
                                              [](v1::ModelSpec*) {});

  const Credentials& credentials();
  testing::ServerProcess& secured();  // TLS and tokens
  testing::ServerProcess& mutual();   // and client certificates
  // Under the shim of faults(), which FailNothing() before this starts it.
  testing::ServerProcess& faulty();
  testing::FaultBox& faults();
  void StopFaulty() { faulty_.reset(); }
  // A folder that a server left in order: a model "toy" with examples and checkpoints.
  const std::string& stopped_store();

  // Made when it is not there.
  std::string Folder(const std::string& name) const;
  std::string NewProducer();
  std::unique_ptr<testing::ServerProcess> Start(testing::ServerOptions options);

  // Prints the answer and compares; all of `words` are in its text.
  void Expect(const std::string& what, const grpc::Status& status, grpc::StatusCode code,
              const std::vector<std::string>& words);
  void ExpectOk(const std::string& what, const grpc::Status& status);
  // Of pages and of exit codes.
  void Expect(const std::string& what, int got, int code, const std::string& text,
              const std::vector<std::string>& words);
  // A prediction and a learned example of a model that is there for this.
  void ExpectServes();

 private:
  testing::ScratchFolder scratch_;
  std::unique_ptr<testing::ServerProcess> server_;
  std::unique_ptr<testing::Stubs> stubs_;
  std::unique_ptr<ToyModel> toy_;
  std::unique_ptr<ToyModel> witness_;
  std::unique_ptr<Credentials> credentials_;
  std::unique_ptr<testing::ServerProcess> secured_;
  std::unique_ptr<testing::ServerProcess> mutual_;
  std::unique_ptr<testing::FaultBox> faults_;
  std::unique_ptr<testing::ServerProcess> faulty_;
  std::string faulty_store_;
  std::string stopped_store_;
  int producers_ = 0;
};

const char* CodeName(grpc::StatusCode code);

// What an HTTP listener answers to these bytes, until it closes or `patience` is over.
std::string ExchangeBytes(const std::string& address, const std::string& bytes,
                          absl::Duration patience = absl::Seconds(10));

// Every file below it but LOCK, by path.
std::map<std::string, std::string> FilesOf(const std::string& folder);

// The names that the sources of tests define, as Entry::tests spells them.
std::vector<std::string> TestNames(const std::string& folder);

}  // namespace engram::integration
