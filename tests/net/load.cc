#include "tests/net/load.h"

#include <errno.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "engram/v1/learning.pb.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "tests/testing/process/http_get.h"
#include "tests/testing/process/subprocess.h"
#include "tests/testing/process/toy_examples.h"

namespace engram::net {

absl::StatusOr<int64_t> ResidentBytes(pid_t pid) {
  const std::string status = testing::ReadWholeFile(absl::StrCat("/proc/", pid, "/status"));
  for (const absl::string_view line : absl::StrSplit(status, '\n')) {
    int64_t kilobytes = 0;
    const std::vector<absl::string_view> words =
        absl::StrSplit(line, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    if (words.size() != 3 || words[0] != "VmRSS:") continue;
    if (absl::SimpleAtoi(words[1], &kilobytes)) return kilobytes << 10;
  }
  return absl::NotFoundError(absl::StrCat("no VmRSS of process ", pid));
}

absl::StatusOr<double> MetricSum(const std::string& http_address, const std::string& metric) {
  ENGRAM_ASSIGN_OR_RETURN(const auto page, testing::HttpGet(http_address, "/metrics"));
  double sum = 0;
  bool found = false;
  for (const absl::string_view line : absl::StrSplit(page.body, '\n')) {
    double value = 0;
    if (!absl::StartsWith(line, metric + "{") && !absl::StartsWith(line, metric + " ")) continue;
    if (!absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) continue;
    sum += value;
    found = true;
  }
  if (!found) return absl::NotFoundError(absl::StrCat("no ", metric, " in /metrics"));
  return sum;
}

std::vector<std::thread> StartGently(int count, const std::function<void(int)>& body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) {
    threads.emplace_back([body, i] {
      errno = 0;
      ENGRAM_CHECK(nice(5) != -1 || errno == 0);  // of the thread alone, on Linux
      body(i);
    });
  }
  return threads;
}

void JoinAll(std::vector<std::thread>* threads) {
  for (std::thread& thread : *threads) thread.join();
  threads->clear();
}

double RisePerSecond(const std::vector<double>& values, absl::Duration every) {
  const double count = static_cast<double>(values.size());
  if (count < 2) return 0;
  const double middle = (count - 1) / 2;
  double rise = 0, width = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    const double along = static_cast<double>(i) - middle;
    rise += along * values[i];
    width += along * along;
  }
  return rise / width / absl::ToDoubleSeconds(every);
}

std::string LearnBatchBody(const std::string& model, const std::string& producer,
                           uint64_t sequence, int examples, int64_t features) {
  v1::LearnBatchRequest request;
  request.set_model(model);
  request.set_producer(producer);
  request.set_producer_sequence(sequence);
  const testing::ToyShape shape{features, 7, 1.5F};
  for (int i = 0; i < examples; ++i) {
    v1::Example* example = request.add_examples();
    *example = testing::ToyExample(shape, i % 4, static_cast<uint64_t>(i));
    example->set_id(absl::StrCat(producer, ".", sequence, ".", i));
  }
  return request.SerializeAsString();
}

}  // namespace engram::net
