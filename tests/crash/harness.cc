#include "tests/crash/harness.h"

#include <cstdio>
#include <iostream>
#include <string>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/random/random.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

ABSL_FLAG(uint64_t, seed, 0, "repeats what is sent and when something happens; 0 = draw one");
ABSL_FLAG(bool, keep, false, "keep the folders, to look at a failure");

namespace engram::crash {
namespace {

uint64_t DrawSeed() {
  absl::BitGen random;
  return absl::Uniform<uint64_t>(random, 1, 1u << 31);
}

// What was asked for beside the seed.
std::string OtherArguments(int argc, char** argv) {
  std::string all;
  for (int i = 1; i < argc; ++i) {
    if (!absl::StartsWith(argv[i], "--seed")) absl::StrAppend(&all, " ", argv[i]);
  }
  return all;
}

}  // namespace

int RunHarness(int argc, char** argv, const char* name, const Harness& run) {
  const std::string others = OtherArguments(argc, argv);
  absl::ParseCommandLine(argc, argv);
  const uint64_t asked = absl::GetFlag(FLAGS_seed);
  const uint64_t seed = asked != 0 ? asked : DrawSeed();
  testing::ScratchFolder scratch;
  if (absl::GetFlag(FLAGS_keep)) scratch.Keep();
  std::printf("%s --seed=%lu%s, folders in %s\n", name, seed, others.c_str(),
              scratch.path().c_str());
  std::fflush(stdout);
  const absl::StatusOr<bool> good = run(scratch, seed);
  if (!good.ok()) std::cout << good.status() << "\n";
  const bool passed = good.ok() && *good;
  std::printf("%s %s (seed %lu)\n", name, passed ? "PASSED" : "FAILED", seed);
  std::fflush(stdout);
  return passed ? 0 : 1;
}

}  // namespace engram::crash
