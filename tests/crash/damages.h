// The single-file damages of the matrix: each takes one file of a stopped store and flips, cuts,
// zeroes, empties, deletes or swaps it.
//
// Threading: free functions. Failure: CHECK-fails when the store lacks the file, for then the
//   matrix would show nothing.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace engram::crash {

// Paths of a stopped store, by what the files are. Newest last.
struct StoreFiles {
  std::string folder;
  std::string current, manifest, witness, format, options, identity;
  std::vector<std::string> wals;
  std::vector<std::string> tables;       // smallest first
  std::vector<std::string> checkpoints;  // of the model "plain"
};
StoreFiles FindFiles(const std::string& folder);

// What an open of a damaged store may do.
enum class Expected {
  kRefused,     // exit 65, nothing modified
  kWhole,       // serves, with everything that was acknowledged
  kEither,      // one of the two
};

struct Damage {
  std::string name;
  Expected expected = Expected::kRefused;
  std::function<void(const StoreFiles&)> apply;
  bool in_short_form = false;
};

std::vector<Damage> Damages();

// Cuts the last whole record of the newest write-ahead log off.
void CutLastRecord(const StoreFiles& files);
void FlipByte(const std::string& path, size_t offset);

}  // namespace engram::crash
