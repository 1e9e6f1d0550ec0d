// Who writes while a harness does its worst to the server: two producers a model of CrashModels,
// and somebody who takes checkpoints and rolls back. They go on by themselves, wherever it is.
//
// Threading: one thread; producers and operator have their own.
// Ownership: ledgers lie in the folder that was given, which outlives the party.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "tests/crash/operator.h"
#include "tests/crash/oracle.h"
#include "tests/crash/producer.h"
#include "tests/testing/process/server_process.h"

namespace engram::crash {

class Party {
 public:
  Party(std::string folder, uint64_t seed, double examples_per_second)
      : folder_(std::move(folder)), seed_(seed), examples_per_second_(examples_per_second) {}

  // Once the models are there. Nobody finds a server before one is announced.
  void Begin();
  // Where everybody finds the server from now on; null: nowhere.
  void Announce(const testing::ServerProcess* server);
  // Everything is resent and acked, by the server announced last; then nobody writes any more.
  absl::Status Finish();

  const std::vector<std::unique_ptr<Producer>>& producers() const { return producers_; }
  Operator& somebody() { return *somebody_; }
  const Operator& somebody() const { return *somebody_; }
  // What producers were told that must never be told; empty when nothing.
  std::vector<std::string> Violations() const;
  // What the producers of a model know, from their ledgers.
  std::vector<Testimony> Testimonies(const std::string& model) const;

 private:
  const std::string folder_;
  const uint64_t seed_;
  const double examples_per_second_;
  AddressBook addresses_;
  std::vector<std::unique_ptr<Producer>> producers_;
  std::unique_ptr<Operator> somebody_;
};

}  // namespace engram::crash
