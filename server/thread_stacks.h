// Room for thread-locals on small stacks.
//
// CivetWeb asks for stacks of 100 KiB. glibc takes a thread's static thread-locals from its stack,
// and OpenBLAS with glog behind LibTorch needs more than that alone: pthread_create answers EINVAL
// and no HTTP server starts. Debian's CivetWeb has no option for it, so this file replaces
// pthread_attr_setstacksize for the whole process by one with a floor.
//
// Threading: any thread.
#pragma once

#include <cstddef>

namespace engram::server {

// The least stack that a thread of this process gets. Calling it links the replacement in.
size_t LeastThreadStack();

}  // namespace engram::server
