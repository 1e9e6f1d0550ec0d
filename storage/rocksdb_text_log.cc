#include "storage/rocksdb_text_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <ctime>

#include "storage/base/mutex.h"

namespace engram::storage {
namespace {

constexpr mode_t kLogFolderMode = 0700;
constexpr mode_t kLogFileMode = 0600;
constexpr size_t kLineBytes = 4096;

class TextLog final : public rocksdb::Logger {
 public:
  TextLog(const std::string& folder, int64_t bytes_max)
      : path_(folder + "/LOG"), bytes_max_(bytes_max) {
    ::mkdir(folder.c_str(), kLogFolderMode);
    base::MutexLock lock(&mutex_);
    Begin();
  }
  ~TextLog() override {
    if (file_ >= 0) ::close(file_);
  }

  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    std::array<char, kLineBytes> line;
    std::timespec now{};
    std::timespec_get(&now, TIME_UTC);
    std::tm utc{};
    ::gmtime_r(&now.tv_sec, &utc);
    size_t used = std::strftime(line.data(), line.size(), "%Y-%m-%dT%H:%M:%S", &utc);
    used += std::snprintf(line.data() + used, line.size() - used, ".%06ldZ ", now.tv_nsec / 1000);
    const int text = std::vsnprintf(line.data() + used, line.size() - used, format, arguments);
    used = std::min(used + std::max(text, 0), line.size() - 1);
    if (line[used - 1] != '\n') line[used++] = '\n';
    base::MutexLock lock(&mutex_);
    if (file_ < 0 || bytes_ >= bytes_max_) Begin();
    if (file_ < 0) return;
    const ssize_t written = ::write(file_, line.data(), used);
    bytes_ += std::max<ssize_t>(written, 0);
  }

 private:
  void Begin() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (file_ >= 0) ::close(file_);
    ::rename(path_.c_str(), (path_ + ".old").c_str());
    file_ = ::open(path_.c_str(),
                   O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC | O_NOFOLLOW, kLogFileMode);
    bytes_ = 0;
  }

  const std::string path_;
  const int64_t bytes_max_;
  base::Mutex mutex_;
  int file_ ABSL_GUARDED_BY(mutex_) = -1;
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace

std::shared_ptr<rocksdb::Logger> OpenTextLog(const std::string& folder, int64_t bytes_max) {
  return std::make_shared<TextLog>(folder, bytes_max);
}

}  // namespace engram::storage
