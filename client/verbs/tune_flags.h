// The flags that say what a tune tries and when it decides, shared by `tune start` and
// `model create`.
//
// Threading: one thread. Ownership: holds the flags' values; outlive the FlagSet's Parse.
// Failure: INVALID_ARGUMENT naming the flag and the word that is wrong. Bounds: the server's.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/flags.h"
#include "engram/v1/model.pb.h"

namespace engram::client {

class TuneFlags {
 public:
  // `prefix` stands before tasks, examples and promote: "tune_" beside a model's own flags.
  void Declare(const std::string& prefix, FlagSet* flags);

  // Whether any of them was given.
  bool given() const;
  absl::Status ApplyTo(engram::v1::Tune* tune) const;

 private:
  std::vector<std::string> candidates_;
  std::vector<std::string> grid_;
  int64_t tasks_ = 0;
  int64_t examples_ = 0;
  bool promote_ = false;
};

}  // namespace engram::client
