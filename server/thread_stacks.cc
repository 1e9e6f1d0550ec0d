#include "server/thread_stacks.h"

#include <dlfcn.h>
#include <pthread.h>

#include <algorithm>

namespace engram::server {

size_t LeastThreadStack() { return size_t{1} << 20; }

}  // namespace engram::server

// The name is libc's: the dynamic linker finds the program's own definition first.
extern "C" int pthread_attr_setstacksize(pthread_attr_t* attributes, size_t size) noexcept {
  using SetStackSize = int (*)(pthread_attr_t*, size_t);
  static const auto libc =
      reinterpret_cast<SetStackSize>(dlsym(RTLD_NEXT, "pthread_attr_setstacksize"));
  return libc(attributes, std::max(size, engram::server::LeastThreadStack()));
}
