// Text columns that line up, for people.
//
// Threading: one thread. Ownership: copies its cells. Failure: none. Bounds: none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace engram::client {

class Table {
 public:
  explicit Table(std::vector<std::string> header);

  // Missing cells are empty.
  void Add(std::vector<std::string> row);

  // The first column is flush left, numbers in the others flush right.
  std::string Text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// A ratio of 0 to 1 as a percentage: "97.3", "-" when absent (NaN).
std::string Percent(double ratio);

// "1.5 MiB".
std::string ByteCount(int64_t bytes);

// "2026-03-01 12:00:00", UTC.
std::string TimeText(int64_t milliseconds);

}  // namespace engram::client
