// What the load harnesses share: how much memory a process has, what a server's /metrics say, and
// threads that leave the processor to the server.
//
// Threading: free functions. Failure: statuses.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace engram::net {

// VmRSS of /proc/PID/status.
absl::StatusOr<int64_t> ResidentBytes(pid_t pid);

// The sum of a metric over its labels; NOT_FOUND when there is none.
absl::StatusOr<double> MetricSum(const std::string& http_address, const std::string& metric);

// `count` threads that run `body` with their number, at a lower priority: a client in the harness
// must not take from the server what a client elsewhere would not.
std::vector<std::thread> StartGently(int count, const std::function<void(int)>& body);
void JoinAll(std::vector<std::thread>* threads);

// A straight line through points one `every` apart: how much it rises a second.
double RisePerSecond(const std::vector<double>& values, absl::Duration every);

// A LearnBatchRequest of `examples` examples of `features` values, from a producer.
std::string LearnBatchBody(const std::string& model, const std::string& producer,
                           uint64_t sequence, int examples, int64_t features);

}  // namespace engram::net
