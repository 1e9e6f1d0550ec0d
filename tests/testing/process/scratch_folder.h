// A private folder for one test, removed with everything in it.
//
// Ownership: the destructor removes the folder, unless Keep() was called (to look at a failure).
// Failure: CHECK-fails when no folder can be made: a test can do nothing without one.
#pragma once

#include <string>

namespace engram::testing {

class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::string& path() const { return path_; }
  // A folder inside, made with mode 0700.
  std::string Subfolder(const std::string& name) const;
  void Keep() { keep_ = true; }

 private:
  std::string path_;
  bool keep_ = false;
};

}  // namespace engram::testing
