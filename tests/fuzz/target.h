// What a fuzz target is, to libFuzzer and to standalone_main.cc alike: one function that must come
// back from any bytes. A target also CHECKs what must hold of what it was given, so that a wrong
// answer is found as a crash is.
//
// Threading: one thread. Failure: a crash, with the input in a file.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "google/protobuf/stubs/logging.h"
#include "storage/base/check.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size);

namespace engram::fuzz {

// Takes the first byte off: what a target chooses between.
inline size_t TakeChoice(absl::string_view* input, size_t choices) {
  if (input->empty()) return 0;
  const auto choice = static_cast<unsigned char>(input->front()) % choices;
  input->remove_prefix(1);
  return choice;
}

// Protobuf prints a line for each text that is no UTF-8, which here is every second input.
inline const google::protobuf::LogSilencer* const quiet = new google::protobuf::LogSilencer;

inline absl::string_view ToText(const uint8_t* bytes, size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

}  // namespace engram::fuzz
