#include "tests/net/witness.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "storage/base/status_macros.h"
#include "tests/net/net_run.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/process/toy_examples.h"

ABSL_FLAG(std::string, witness_address, "", "of the server; a process that has it is a witness");
ABSL_FLAG(std::string, witness_model, "", "what it asks");
ABSL_FLAG(int64_t, witness_features, 0, "of a row");
ABSL_FLAG(std::string, witness_stop_file, "", "once it is there, no call begins any more");

namespace engram::net {
namespace {

// One that fails to come this long was not answered.
constexpr absl::Duration kPatience = absl::Seconds(10);
constexpr absl::Duration kPause = absl::Milliseconds(5);

}  // namespace

absl::StatusOr<Witness> Witness::Start(const std::string& address, const std::string& model,
                                       int64_t features, const std::string& output_file) {
  const std::string stop_file = output_file + ".stop";
  ENGRAM_ASSIGN_OR_RETURN(
      auto process,
      testing::Subprocess::Start({"/proc/self/exe", "--witness_address=" + address,
                                  "--witness_model=" + model,
                                  absl::StrCat("--witness_features=", features),
                                  "--witness_stop_file=" + stop_file},
                                 output_file));
  return Witness(std::move(process), stop_file);
}

absl::StatusOr<WitnessAccount> Witness::Stop() {
  std::ofstream(stop_file_).put('\n');
  ENGRAM_ASSIGN_OR_RETURN(const auto ended, process_->Wait(3 * kPatience));
  if (ended.code != 0) return absl::InternalError(absl::StrCat("witness: ", process_->Output()));
  WitnessAccount account;
  const std::string output = process_->Output();
  for (const absl::string_view line : absl::StrSplit(output, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 1));
    int64_t microseconds = 0;
    if (words.size() != 2 || !absl::SimpleAtoi(words[0], &microseconds)) {
      return absl::InternalError(absl::StrCat("witness: ", line));
    }
    account.longest = std::max(account.longest, absl::Microseconds(microseconds));
    const bool answered = words[1] == "answered";
    ++(answered ? account.answered : account.refused);
    if (!answered && account.first_error.empty()) account.first_error = words[1];
  }
  return account;
}

bool ActAsWitness() {
  const std::string address = absl::GetFlag(FLAGS_witness_address);
  if (address.empty()) return false;
  const testing::Stubs stubs(Connect(address));
  v1::PredictRequest request;
  request.set_model(absl::GetFlag(FLAGS_witness_model));
  request.mutable_features()->set_dense(
      testing::ToyRows({absl::GetFlag(FLAGS_witness_features), 7, 1.5F}, {1}, 1));
  const std::string stop_file = absl::GetFlag(FLAGS_witness_stop_file);
  while (access(stop_file.c_str(), F_OK) != 0) {
    const absl::Time began = absl::Now();
    const auto answer =
        testing::Call(*stubs.prediction, &v1::Prediction::Stub::Predict, request, kPatience);
    const std::string outcome =
        answer.ok() ? "answered"
                    : absl::StrCat(answer.status.error_code(), " ", answer.status.error_message());
    std::printf("%ld %s\n", absl::ToInt64Microseconds(absl::Now() - began),
                absl::StrReplaceAll(outcome, {{"\n", " "}}).c_str());
    std::fflush(stdout);
    absl::SleepFor(kPause);
  }
  return true;
}

}  // namespace engram::net
