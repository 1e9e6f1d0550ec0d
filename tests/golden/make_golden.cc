// Writes a golden folder with an engramd of any version: tells it the golden stream, stops it, and
// keeps what a store consists of.
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "storage/base/status_macros.h"
#include "tests/golden/golden_stream.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"

ABSL_FLAG(std::string, server, "", "engramd to run; empty: this build's");
ABSL_FLAG(std::string, folder, "", "where the data folder goes; must not be there");

namespace engram::golden {
namespace {

// RocksDB's text log and its options say nothing that a store needs.
bool BelongsToTheStore(const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return name.rfind("LOG", 0) != 0 && name.rfind("OPTIONS", 0) != 0 && name != "LOCK" &&
         name != "endpoints.json";
}

absl::Status Make(const std::string& server, const std::string& folder) {
  const testing::ScratchFolder scratch;
  testing::ServerOptions options;
  options.data_dir = scratch.Subfolder("data");
  options.binary = server;
  // Two lives: the first one's tail is in a table then, the second one's in a write-ahead log.
  for (int life = 0; life < 2; ++life) {
    ENGRAM_ASSIGN_OR_RETURN(auto process, testing::ServerProcess::Start(options));
    if (life == 0) ENGRAM_RETURN_IF_ERROR(Tell(testing::Stubs(process->NewChannel())));
    ENGRAM_ASSIGN_OR_RETURN(const int code, process->Drain());
    if (code != 0) return absl::InternalError("engramd did not end well");
  }
  std::filesystem::create_directories(folder);
  namespace fs = std::filesystem;
  for (const auto& entry : fs::recursive_directory_iterator(options.data_dir)) {
    if (!entry.is_regular_file() || !BelongsToTheStore(entry.path())) continue;
    const fs::path to = folder / fs::relative(entry.path(), options.data_dir);
    fs::create_directories(to.parent_path());
    fs::copy_file(entry.path(), to);
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace engram::golden

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const std::string folder = absl::GetFlag(FLAGS_folder);
  if (folder.empty() || std::filesystem::exists(folder)) {
    std::cerr << "--folder: expected a path that is not there yet, got \"" << folder << "\"\n";
    return 1;
  }
  const absl::Status made = engram::golden::Make(absl::GetFlag(FLAGS_server), folder);
  if (!made.ok()) std::cerr << made << "\n";
  return made.ok() ? 0 : 1;
}
