// Compiled into the tests that ThreadSanitizer runs. Debian's Abseil is not instrumented, so it
// does not see the reference count by which the last absl::Status of a message frees it.

extern "C" const char* __tsan_default_suppressions();

const char* __tsan_default_suppressions() { return "race:absl::*Status::Unref\n"; }
