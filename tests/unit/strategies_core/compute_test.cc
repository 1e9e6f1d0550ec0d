#include "strategies/api/compute.h"

#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <thread>

namespace engram::strategies {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// The BLAS decides everything: with the reference BLAS training is ten times slower.
TEST(ComputeTest, TheBlasReallyLoadedIsOpenBlasWithOpenMp) {
  const ComputeIdentity identity = DescribeCompute();
  EXPECT_THAT(identity.blas_path, StartsWith("/"));
  EXPECT_THAT(identity.blas_path, HasSubstr("openblas-openmp"));
  EXPECT_TRUE(identity.blas_is_fast);
}

TEST(ComputeTest, IdentityNamesVersionAndCapability) {
  const ComputeIdentity identity = DescribeCompute();
  EXPECT_FALSE(identity.libtorch.empty());
  EXPECT_FALSE(identity.capability.empty());
  EXPECT_THAT(identity.Fingerprint(), HasSubstr(identity.blas_path));
  EXPECT_THAT(identity.Fingerprint(), HasSubstr(identity.capability));
}

TEST(ComputeTest, ThreadCountReachesThreadsThatEnter) {
  SetComputeThreads(1);
  EXPECT_EQ(DescribeCompute().threads, 1);
  int seen = 0;
  std::thread worker([&seen] {
    EnterComputeThread();
    seen = at::get_num_threads();
  });
  worker.join();
  EXPECT_EQ(seen, 1);
}

TEST(ComputeTest, FingerprintDependsOnThreads) {
  ComputeIdentity one = DescribeCompute(), two = one;
  two.threads = one.threads + 1;
  EXPECT_NE(one.Fingerprint(), two.Fingerprint());
}

}  // namespace
}  // namespace engram::strategies
