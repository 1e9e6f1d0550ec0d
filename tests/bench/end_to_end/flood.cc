#include "tests/bench/end_to_end/flood.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engram/v1/learning.pb.h"
#include "grpcpp/impl/codegen/client_unary_call.h"
#include "grpcpp/impl/codegen/rpc_method.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "tests/bench/end_to_end/opponents.h"
#include "tests/bench/end_to_end/workload.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/raw_call.h"

namespace engram::bench {
namespace {

constexpr int kExamplesPerFloodMessage = 32;
constexpr uint64_t kDeafMessages = 2000;
constexpr absl::Duration kDeafPause = absl::Milliseconds(500);

struct Counts {
  std::atomic<int> connected{0};
  std::atomic<uint64_t> calls{0};
};

// A message like any producer's; that its sequence repeats is not looked at before its rate.
std::string FloodBody(int flooder) {
  v1::LearnBatchRequest request;
  request.set_model(kFlooded);
  request.set_producer(absl::StrCat("flooder-", flooder));
  request.set_producer_sequence(1);
  const FlatExamples flat = MakeFlat(kExamplesPerFloodMessage);
  for (int i = 0; i < kExamplesPerFloodMessage; ++i) {
    v1::Example* example = request.add_examples();
    const float* row = flat.features.data() + static_cast<int64_t>(i) * kFeatureCount;
    example->mutable_features()->set_dense(reinterpret_cast<const char*>(row),
                                           kFeatureCount * sizeof(float));
    example->mutable_label()->set_number(flat.classes[static_cast<size_t>(i)]);
  }
  return request.SerializeAsString();
}

void FloodForEver(const std::string& address, int flooder, Counts* counts) {
  const auto channel = ConnectTo(address);
  const grpc::ByteBuffer request = testing::ToBuffer(FloodBody(flooder));
  const grpc::internal::RpcMethod rpc("/engram.v1.Learning/LearnBatch",
                                      grpc::internal::RpcMethod::NORMAL_RPC, channel);
  for (bool first = true;; first = false) {
    grpc::ClientContext context;
    grpc::ByteBuffer reply;
    grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
        channel.get(), rpc, &context, request, &reply);
    counts->calls.fetch_add(1, std::memory_order_relaxed);
    if (first) counts->connected.fetch_add(1);
  }
}

// Messages that are rejected, each with an answer of its own, until nothing more is taken in.
void SendForEver(const std::string& address, int client, Counts* counts) {
  const auto channel = ConnectTo(address);
  for (bool first = true;; first = false) {
    testing::LearnSession session(channel);
    const bool open = session.Open(kFlooded, absl::StrCat("deaf-", client));
    if (first) counts->connected.fetch_add(1);
    v1::LearnMessage message;
    for (uint64_t i = 1; open && i <= kDeafMessages; ++i) {
      message.set_producer_sequence(session.welcome().last_producer_sequence() + i);
      if (!session.Write(message)) break;
    }
    // Alive as long as it takes another message in: the server ends who does not read.
    do {
      absl::SleepFor(kDeafPause);
      message.set_producer_sequence(message.producer_sequence() + 1);
    } while (open && session.Write(message));
  }
}

}  // namespace

void Flood(const std::string& address, const std::string& count_file) {
  ENGRAM_CHECK(nice(19) != -1 || errno == 0);
  Counts counts;
  std::vector<std::thread> clients;
  for (int i = 0; i < kFlooders; ++i) {
    clients.emplace_back([&, i] { FloodForEver(address, i, &counts); });
  }
  for (int i = 0; i < kDeafClients; ++i) {
    clients.emplace_back([&, i] { SendForEver(address, i, &counts); });
  }
  while (counts.connected < kFlooders + kDeafClients) absl::SleepFor(absl::Milliseconds(5));
  while (true) {
    std::ofstream(count_file + ".new") << counts.calls.load();
    ENGRAM_CHECK(rename((count_file + ".new").c_str(), count_file.c_str()) == 0);
    absl::SleepFor(absl::Milliseconds(20));
  }
}

absl::StatusOr<std::unique_ptr<FloodProcess>> FloodProcess::Start(const std::string& self,
                                                                  const std::string& address,
                                                                  const std::string& count_file) {
  auto flood = std::make_unique<FloodProcess>();
  flood->count_file_ = count_file;
  unlink(count_file.c_str());
  ENGRAM_ASSIGN_OR_RETURN(flood->process_,
                          testing::Subprocess::Start({self, "--role=flood",
                                                      "--address=" + address,
                                                      "--file=" + count_file},
                                                     count_file + ".log"));
  for (int turn = 0; turn < 6000; ++turn) {
    if (!testing::ReadWholeFile(count_file).empty()) return flood;
    absl::SleepFor(absl::Milliseconds(10));
  }
  return absl::DeadlineExceededError("the flood does not get connected");
}

double FloodProcess::Calls() const {
  double calls = 0;
  return absl::SimpleAtod(testing::ReadWholeFile(count_file_), &calls) ? calls : 0;
}

}  // namespace engram::bench
