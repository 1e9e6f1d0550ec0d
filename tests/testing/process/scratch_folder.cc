#include "tests/testing/process/scratch_folder.h"

#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <system_error>

#include "storage/base/check.h"

namespace engram::testing {

ScratchFolder::ScratchFolder()
    : path_((std::filesystem::temp_directory_path() / "engram_test_XXXXXX").string()) {
  ENGRAM_CHECK(mkdtemp(path_.data()) != nullptr);
}

ScratchFolder::~ScratchFolder() {
  if (keep_) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string ScratchFolder::Subfolder(const std::string& name) const {
  const std::string folder = path_ + "/" + name;
  ENGRAM_CHECK(mkdir(folder.c_str(), 0700) == 0);
  return folder;
}

}  // namespace engram::testing
