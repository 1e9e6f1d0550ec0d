// The library that does the matrix products decides the speed tenfold: what the running server has
// really loaded, not what the build meant.
#include <set>
#include <sstream>

#include "tests/integration/server_test.h"

namespace engram::integration {
namespace {

using BlasTest = ServerTest;

// Shared objects with a BLAS inside that a process has mapped.
std::set<std::string> LoadedBlas(pid_t pid) {
  std::istringstream maps(testing::ReadWholeFile("/proc/" + std::to_string(pid) + "/maps"));
  std::set<std::string> found;
  for (std::string line; std::getline(maps, line);) {
    const size_t path = line.find('/');
    if (path == std::string::npos) continue;
    const std::string file = line.substr(path);
    const std::string name = file.substr(file.rfind('/') + 1);
    if (name.find("blas") != std::string::npos) found.insert(file);
  }
  return found;
}

TEST_F(BlasTest, TheLoadedLibraryIsTheFastOneAndTheServerNamesIt) {
  ToyModel model(stubs_.get(), "toy");
  model.Create(ToySpec());
  model.Learn({0, 1}, 100);
  model.WaitApplied();
  const auto server =
      testing::Call(*stubs_->admin, &v1::Admin::Stub::GetServerInfo, v1::GetServerInfoRequest());
  ASSERT_TRUE(server.ok()) << server.status.error_message();
  const std::set<std::string> loaded = LoadedBlas(server_->pid());
  ASSERT_FALSE(loaded.empty());
  EXPECT_EQ(loaded.count(server->blas_path()), 1u) << server->blas_path();
  EXPECT_NE(server->blas_path().find("openblas-openmp"), std::string::npos) << server->blas_path();
  for (const std::string& file : loaded) {
    EXPECT_NE(file.find("openblas-openmp"), std::string::npos) << file << " is loaded too";
  }
  EXPECT_TRUE(server->blas_is_fast());
  EXPECT_FALSE(server->blas_core().empty());
  EXPECT_EQ(server->compute_threads(), 1);
}

TEST_F(BlasTest, OpenMpThreadsAreSettledBeforeItLoads) {
  const std::string environment =
      testing::ReadWholeFile("/proc/" + std::to_string(server_->pid()) + "/environ");
  EXPECT_NE(environment.find("OMP_WAIT_POLICY=passive"), std::string::npos);
  EXPECT_NE(environment.find("OMP_NUM_THREADS="), std::string::npos);
}

}  // namespace
}  // namespace engram::integration
