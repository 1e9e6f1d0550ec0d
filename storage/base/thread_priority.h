// Who goes first when the cores are full: predictions run at the process's own priority, everything
// that makes a model learn below it, in the order in which a delay hurts.
//
// Threading: about the calling thread only; a thread's own niceness is a Linux extension.
#pragma once

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace engram::base {

enum class ThreadPriority : int {
  kCommit = 4,  // acks wait for it
  kTrain = 12,  // training, evaluation, checkpoint files
};

// False when the kernel refused: then the thread goes on as it was.
inline bool LowerThreadPriority(ThreadPriority priority) {
  const auto thread = static_cast<id_t>(syscall(SYS_gettid));
  return setpriority(PRIO_PROCESS, thread, static_cast<int>(priority)) == 0;
}

}  // namespace engram::base
