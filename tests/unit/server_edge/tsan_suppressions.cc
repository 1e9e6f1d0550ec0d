// Compiled into the test that ThreadSanitizer runs. Debian's gRPC, Abseil and CivetWeb are not
// instrumented: it sees none of what they order, and reports every hand-over from one of their
// threads to another. What stays watched is what our own threads share: the call pool, acks, gate.

extern "C" const char* __tsan_default_suppressions();

const char* __tsan_default_suppressions() {
  return "race:libgrpc\nrace:libgpr\nrace:libabsl\nrace:libcivetweb\nrace:^grpc\n"
         "mutex:libgrpc\nmutex:libabsl\ndeadlock:libgrpc\ndeadlock:libabsl\n"
         "thread:libgrpc\nthread:libcivetweb\n";
}
