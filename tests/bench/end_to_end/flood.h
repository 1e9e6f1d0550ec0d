// A flood, in a process of its own at the lowest priority: clients that send far more than they may
// learn, and clients that send and never read.
//
// Threading: a thread a client. Failure: calls that fail are the point; they are counted.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/testing/process/subprocess.h"

namespace engram::bench {

constexpr int kFlooders = 64;
constexpr int kDeafClients = 64;
constexpr char kFlooded[] = "flooded";  // the model

// The role: floods `address` until killed, each client on a connection of its own. `count_file`
// says how many calls of the flooders were answered; it is there once all clients are connected.
void Flood(const std::string& address, const std::string& count_file);

class FloodProcess {
 public:
  // Returns once all clients are connected.
  static absl::StatusOr<std::unique_ptr<FloodProcess>> Start(const std::string& self,
                                                             const std::string& address,
                                                             const std::string& count_file);
  // Answered so far.
  double Calls() const;

 private:
  std::string count_file_;
  std::unique_ptr<testing::Subprocess> process_;
};

}  // namespace engram::bench
