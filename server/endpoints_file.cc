#include "server/endpoints_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace engram::server {
namespace {

constexpr char kName[] = "/endpoints.json";

absl::Status Failed(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat("endpoints.json: ", what, ": ", strerror(errno)));
}

absl::Status WriteSynced(const std::string& path, const std::string& text) {
  const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return Failed("open");
  const bool written = write(file, text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                       fsync(file) == 0;
  const absl::Status status = written ? absl::OkStatus() : Failed("write");
  close(file);
  return status;
}

}  // namespace

EndpointsFile::EndpointsFile(const std::string& folder, const std::string& grpc,
                             const std::string& http)
    : folder_(folder) {
  const std::string part = absl::StrCat(folder, kName, ".part");
  status_ =
      WriteSynced(part, absl::StrCat("{\"grpc\": \"", grpc, "\", \"http\": \"", http, "\"}\n"));
  if (status_.ok() && rename(part.c_str(), absl::StrCat(folder, kName).c_str()) != 0) {
    status_ = Failed("rename");
  }
}

EndpointsFile::~EndpointsFile() { RemoveEndpointsFile(folder_); }

void RemoveEndpointsFile(const std::string& folder) { unlink(absl::StrCat(folder, kName).c_str()); }

}  // namespace engram::server
