// One client that asks for a prediction again and again while others flood the server, and notes
// how each of its calls went. A process of its own: gRPC gives all the sockets of a process to
// whichever of its threads happens to wait, so beside a hundred flooding threads of lower priority
// it would measure these.
//
// Threading: one thread; Start from the main thread (see subprocess.h).
// Failure: statuses of the start; what the server did is in the account.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tests/testing/process/subprocess.h"

namespace engram::net {

struct WitnessAccount {
  uint64_t answered = 0;
  uint64_t refused = 0;  // errors, and answers that did not come in time
  absl::Duration longest;
  std::string first_error;
};

class Witness {
 public:
  // Predicts one row of `features` values of `model`, over one connection.
  static absl::StatusOr<Witness> Start(const std::string& address, const std::string& model,
                                       int64_t features, const std::string& output_file);
  // Ends it, after the call that is under way.
  absl::StatusOr<WitnessAccount> Stop();

 private:
  Witness(std::unique_ptr<testing::Subprocess> process, std::string stop_file)
      : process_(std::move(process)), stop_file_(std::move(stop_file)) {}

  std::unique_ptr<testing::Subprocess> process_;
  std::string stop_file_;
};

// In a process that was started as a witness: is one until it is stopped, and true. Else false.
bool ActAsWitness();

}  // namespace engram::net
