// The flags that say where rows come from and how they read, shared by `learn` and `predict`.
//
// Threading: one thread. Ownership: holds the flags' values. Bounds: none.
// Failure: Open returns INVALID_ARGUMENT or NOT_FOUND with a sentence for the user.
#pragma once

#include <fstream>
#include <string>

#include "absl/status/status.h"
#include "client/flags.h"
#include "client/row_reader.h"
#include "client/verb.h"

namespace engram::client {

class RowFlags {
 public:
  void Declare(FlagSet* flags);
  void DeclareLabel(FlagSet* flags);

  // Fills `options`; `*in` is the opened `file`, or the context's standard input.
  absl::Status Open(const VerbContext& context, RowReaderOptions* options, std::ifstream* file,
                    std::istream** in) const;

 private:
  std::string file_ = "-";
  std::string format_ = "guess";
  std::string label_column_;
  bool header_ = false;
  double divide_by_ = 1.0;
};

}  // namespace engram::client
