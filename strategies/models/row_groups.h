// Rows of a prediction, taken together where neighbours are answered by the same part of a model.
//
// Threading: free function. Failure: none.
#pragma once

#include <cstdint>

namespace engram::strategies {

// Calls body(begin, count, key) for each run of neighbouring rows whose key_of(row) is equal.
template <typename KeyOf, typename Body>
void ForEachRowGroup(int64_t rows, KeyOf key_of, Body body) {
  for (int64_t begin = 0, end = 0; begin < rows; begin = end) {
    const auto key = key_of(begin);
    for (end = begin + 1; end < rows && key_of(end) == key;) ++end;
    body(begin, end - begin, key);
  }
}

}  // namespace engram::strategies
