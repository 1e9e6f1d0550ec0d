// LD_PRELOAD: stands between a program and its calls that reach a data folder. It can fail the Nth
// call of a kind, play a small disk, and keep a journal of everything that is not yet durable, so
// that after a kill the folder can be put into a state that a power loss may have left.
//
// The journal holds one line a record, tab-separated, its number first; `upto` is the number of
// records at the moment a sync began:
//   C path | M folder | D folder | U path grave | R from to grave     came, went, moved
//   F folder upto                                                     names in it are durable
//   S inode size upto                                                 bytes of a file are durable
//   W inode offset hex | T inode size hex                             bytes overwritten, cut
// A name that goes keeps its file in the folder `graves`, so inodes are not used again.
//
// Only libc: it runs inside programs with allocators and threads of their own.
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstdarg>

#include "tests/testing/faults/fault_control.h"

namespace {

using engram::testing::FaultControl;
using engram::testing::IoCall;

constexpr int kFilesMax = 65536;
constexpr size_t kPathMax = 2048;
constexpr size_t kUndoBytesMax = 1 << 20;

FaultControl* control = nullptr;
int journal = -1;
char graves[kPathMax];
std::atomic<bool> tracked[kFilesMax];
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

// The real call.
template <typename Function>
Function Next(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}
#define REAL(name) static const auto real = Next<decltype(&name)>(#name)

__attribute__((constructor)) void Begin() {
  const char* const box = getenv("ENGRAM_FAULTS");
  if (box == nullptr) return;
  char path[kPathMax];
  snprintf(path, sizeof(path), "%s/control", box);
  const int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return;
  void* const page =
      mmap(nullptr, sizeof(FaultControl), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (page == MAP_FAILED) return;
  snprintf(graves, sizeof(graves), "%s/graves", box);
  snprintf(path, sizeof(path), "%s/journal", box);
  journal = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  control = static_cast<FaultControl*>(page);
}

class Lock {
 public:
  Lock() { pthread_mutex_lock(&mutex); }
  ~Lock() { pthread_mutex_unlock(&mutex); }
};

bool Inside(const char* path) {
  if (control == nullptr) return false;
  const size_t length = strlen(control->folder);
  return strncmp(path, control->folder, length) == 0 &&
         (path[length] == '/' || path[length] == '\0');
}

bool IsTracked(int file) {
  return control != nullptr && file >= 0 && file < kFilesMax &&
         tracked[file].load(std::memory_order_relaxed);
}

// The path that (folder, name) stands for; false when it is not in the tracked folder.
bool Resolve(int folder, const char* name, char* path) {
  if (control == nullptr) return false;
  if (name[0] == '/') {
    snprintf(path, kPathMax, "%s", name);
    return Inside(path);
  }
  if (folder == AT_FDCWD) return false;
  char link[64];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", folder);
  const ssize_t length = readlink(link, path, kPathMax / 2);
  if (length <= 0) return false;
  snprintf(path + length, kPathMax - static_cast<size_t>(length), "/%s", name);
  return Inside(path);
}

// True: the call fails, errno is set. Counts it.
bool Fails(IoCall call) {
  const int64_t number = ++control->calls[static_cast<int>(call)];
  const int64_t at = control->at.load();
  if (at == 0 || control->call.load() != static_cast<int32_t>(call)) return false;
  if (number != at && !(control->sticky.load() != 0 && number > at)) return false;
  ++control->failed;
  const int32_t error = control->error.load();
  if (error == engram::testing::kKillInstead) kill(getpid(), SIGKILL);
  errno = error;
  return true;
}

// Takes `bytes` from the disk that is played; false when it is full.
bool Spend(size_t bytes) {
  int64_t room = control->free_bytes.load();
  while (room >= 0) {
    if (room < static_cast<int64_t>(bytes)) {
      errno = ENOSPC;
      return false;
    }
    if (control->free_bytes.compare_exchange_weak(room, room - static_cast<int64_t>(bytes))) break;
  }
  return true;
}

bool KeepsJournal() { return control->keep_journal.load() != 0; }

// Appends a record; the mutex is held.
void Note(const char* format, ...) __attribute__((format(printf, 1, 2)));
void Note(const char* format, ...) {
  char line[3 * kPathMax];
  int length = snprintf(line, sizeof(line), "%ld\t", ++control->journal_records);
  va_list arguments;
  va_start(arguments, format);
  length += vsnprintf(line + length, sizeof(line) - static_cast<size_t>(length) - 1, format,
                      arguments);
  va_end(arguments);
  line[length++] = '\n';
  static const auto real = Next<decltype(&write)>("write");
  if (real(journal, line, static_cast<size_t>(length)) != length) abort();
}

// A record with the bytes that `file` holds in [begin, end).
void NoteBytes(char what, ino_t inode, off_t number, int file, off_t begin, off_t end) {
  static const auto real_read = Next<decltype(&pread)>("pread");
  static const auto real_write = Next<decltype(&write)>("write");
  const size_t size = static_cast<size_t>(end - begin);
  if (size > kUndoBytesMax) abort();
  char* const bytes = static_cast<char*>(malloc(size + 2 * size + 128));
  char* const line = bytes + size;
  // A file that is open for writing alone is read through a second opening.
  char link[64];
  snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
  static const auto real_open = Next<decltype(&open)>("open");
  const int reader = real_open(link, O_RDONLY | O_CLOEXEC);
  const ssize_t got = real_read(reader, bytes, size, begin);
  static const auto real_close = Next<decltype(&close)>("close");
  real_close(reader);
  if (got != static_cast<ssize_t>(size)) abort();
  int length = snprintf(line, 128, "%ld\t%c\t%lu\t%ld\t", ++control->journal_records, what, inode,
                        number);
  for (size_t i = 0; i < size; ++i) {
    length += sprintf(line + length, "%02x", static_cast<unsigned char>(bytes[i]));
  }
  line[length++] = '\n';
  if (real_write(journal, line, static_cast<size_t>(length)) != length) abort();
  free(bytes);
}

// Before bytes of a file are overwritten in place.
void NoteOverwrite(int file, off_t begin, size_t size) {
  struct stat found;
  if (!KeepsJournal() || fstat(file, &found) != 0 || !S_ISREG(found.st_mode)) return;
  const off_t end = begin + static_cast<off_t>(size);
  const off_t old_end = end < found.st_size ? end : found.st_size;
  if (begin >= old_end) return;
  Lock lock;
  NoteBytes('W', found.st_ino, begin, file, begin, old_end);
}

// Keeps the file behind a name that is about to go. Writes the grave's name, or "-".
void Bury(const char* path, char* grave) {
  static const auto real = Next<decltype(&link)>("link");
  snprintf(grave, 32, "%ld", control->journal_records.load() + 1);
  char target[kPathMax + 64];
  snprintf(target, sizeof(target), "%s/%s", graves, grave);
  if (real(path, target) != 0) snprintf(grave, 32, "-");
}

// RocksDB's text log: hundreds of lines that promise nothing. What fails there is text_log_test's.
bool IsTextLog(const char* path) {
  const char* const name = strrchr(path, '/');
  return name != nullptr && strcmp(name, "/LOG") == 0;
}

int OpenTracked(int folder, const char* name, const char* path, int flags, mode_t mode) {
  static const auto real = Next<decltype(&openat)>("openat");
  const bool creates = (flags & O_CREAT) != 0;
  if (Fails(IoCall::kOpen)) return -1;
  if (creates && !Spend(0)) return -1;
  struct stat found;
  const bool is_there = stat(path, &found) == 0;
  int file = -1;
  if (KeepsJournal() && creates && !is_there) {
    Lock lock;
    Note("C\t%s", path);
    file = real(folder, name, flags, mode);
  } else {
    if (KeepsJournal() && is_there && (flags & O_TRUNC) != 0 && found.st_size > 0) {
      const int old = real(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
      Lock lock;
      NoteBytes('T', found.st_ino, 0, old, 0, found.st_size);
      close(old);
    }
    file = real(folder, name, flags, mode);
  }
  if (file >= 0 && file < kFilesMax && !IsTextLog(path)) {
    tracked[file].store(true, std::memory_order_relaxed);
  }
  return file;
}

int Sync(int file, int (*real)(int)) {
  if (!IsTracked(file)) return real(file);
  if (Fails(IoCall::kSync)) return -1;
  struct stat found;
  if (!KeepsJournal() || fstat(file, &found) != 0) return real(file);
  int64_t upto = 0;
  {
    Lock lock;
    upto = control->journal_records.load();
  }
  const int result = real(file);
  if (result != 0) return result;
  char link[64];
  char path[kPathMax];
  Lock lock;
  if (!S_ISDIR(found.st_mode)) {
    Note("S\t%lu\t%ld\t%ld", found.st_ino, found.st_size, upto);
    return 0;
  }
  snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
  const ssize_t length = readlink(link, path, sizeof(path) - 1);
  if (length <= 0) return 0;
  path[length] = '\0';
  Note("F\t%s\t%ld", path, upto);
  return 0;
}

}  // namespace

extern "C" {

int open(const char* name, int flags, ...) {
  REAL(open);
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  char path[kPathMax];
  if (!Resolve(AT_FDCWD, name, path)) return real(name, flags, mode);
  return OpenTracked(AT_FDCWD, name, path, flags, mode);
}

int openat(int folder, const char* name, int flags, ...) {
  REAL(openat);
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
  va_end(arguments);
  char path[kPathMax];
  if (!Resolve(folder, name, path)) return real(folder, name, flags, mode);
  return OpenTracked(folder, name, path, flags, mode);
}

int close(int file) {
  REAL(close);
  if (IsTracked(file)) tracked[file].store(false, std::memory_order_relaxed);
  return real(file);
}

ssize_t read(int file, void* bytes, size_t size) {
  REAL(read);
  if (IsTracked(file) && Fails(IoCall::kRead)) return -1;
  return real(file, bytes, size);
}

ssize_t pread(int file, void* bytes, size_t size, off_t offset) {
  REAL(pread);
  if (IsTracked(file) && Fails(IoCall::kRead)) return -1;
  return real(file, bytes, size, offset);
}

size_t fread_unlocked(void* bytes, size_t size, size_t count, FILE* stream) {
  REAL(fread_unlocked);
  if (!IsTracked(fileno(stream)) || !Fails(IoCall::kRead)) return real(bytes, size, count, stream);
  // As libc would: nothing was read, and the stream knows.
  stream->_flags |= 0x20;
  return 0;
}

ssize_t write(int file, const void* bytes, size_t size) {
  REAL(write);
  if (!IsTracked(file)) return real(file, bytes, size);
  if (Fails(IoCall::kWrite) || !Spend(size)) return -1;
  const off_t offset = lseek(file, 0, SEEK_CUR);
  if (offset >= 0) NoteOverwrite(file, offset, size);
  return real(file, bytes, size);
}

ssize_t pwrite(int file, const void* bytes, size_t size, off_t offset) {
  REAL(pwrite);
  if (!IsTracked(file)) return real(file, bytes, size, offset);
  if (Fails(IoCall::kWrite) || !Spend(size)) return -1;
  NoteOverwrite(file, offset, size);
  return real(file, bytes, size, offset);
}

int ftruncate(int file, off_t size) {
  REAL(ftruncate);
  if (!IsTracked(file)) return real(file, size);
  if (Fails(IoCall::kWrite)) return -1;
  struct stat found;
  if (KeepsJournal() && fstat(file, &found) == 0 && size < found.st_size) {
    Lock lock;
    NoteBytes('T', found.st_ino, size, file, size, found.st_size);
  }
  return real(file, size);
}

int fallocate(int file, int mode, off_t offset, off_t size) {
  REAL(fallocate);
  if (!IsTracked(file)) return real(file, mode, offset, size);
  // Room that is only set aside is not played.
  if (control->free_bytes.load() >= 0) return 0;
  return real(file, mode, offset, size);
}

int fsync(int file) {
  REAL(fsync);
  return Sync(file, real);
}

int fdatasync(int file) {
  REAL(fdatasync);
  return Sync(file, real);
}

int renameat(int from_folder, const char* from, int to_folder, const char* to) {
  REAL(renameat);
  char old_path[kPathMax];
  char new_path[kPathMax];
  const bool inside = Resolve(from_folder, from, old_path) && Resolve(to_folder, to, new_path);
  if (!inside) return real(from_folder, from, to_folder, to);
  if (Fails(IoCall::kRename)) return -1;
  if (!KeepsJournal()) return real(from_folder, from, to_folder, to);
  Lock lock;
  char grave[32];
  Bury(new_path, grave);
  Note("R\t%s\t%s\t%s", old_path, new_path, grave);
  return real(from_folder, from, to_folder, to);
}

int rename(const char* from, const char* to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int unlinkat(int folder, const char* name, int flags) {
  REAL(unlinkat);
  char path[kPathMax];
  if (!Resolve(folder, name, path)) return real(folder, name, flags);
  if (Fails(IoCall::kUnlink)) return -1;
  struct stat found;
  if (!KeepsJournal() || lstat(path, &found) != 0) return real(folder, name, flags);
  Lock lock;
  if ((flags & AT_REMOVEDIR) != 0) {
    const int result = real(folder, name, flags);
    if (result == 0) Note("D\t%s", path);
    return result;
  }
  char grave[32];
  Bury(path, grave);
  Note("U\t%s\t%s", path, grave);
  return real(folder, name, flags);
}

int unlink(const char* name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char* name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int mkdir(const char* name, mode_t mode) {
  REAL(mkdir);
  char path[kPathMax];
  struct stat found;
  if (!Resolve(AT_FDCWD, name, path)) return real(name, mode);
  if (Fails(IoCall::kMakeFolder)) return -1;
  if (!KeepsJournal() || stat(path, &found) == 0) return real(name, mode);
  Lock lock;
  Note("M\t%s", path);
  return real(name, mode);
}

int statvfs(const char* name, struct statvfs* disk) {
  REAL(statvfs);
  const int result = real(name, disk);
  char path[kPathMax];
  if (result != 0 || !Resolve(AT_FDCWD, name, path)) return result;
  const int64_t room = control->free_bytes.load();
  if (room < 0) return 0;
  disk->f_bavail = static_cast<fsblkcnt_t>(room) / disk->f_frsize;
  disk->f_bfree = disk->f_bavail;
  return 0;
}

}  // extern "C"
