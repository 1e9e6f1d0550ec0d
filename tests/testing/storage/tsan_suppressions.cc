// Compiled into the tests that ThreadSanitizer runs: RocksDB's package is not instrumented, so what
// its own threads exchange looks like a race wherever it calls memcpy or memcmp.

extern "C" const char* __tsan_default_suppressions();

const char* __tsan_default_suppressions() { return "called_from_lib:librocksdb.so\n"; }
