#include "tests/crash/producer.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"

namespace engram::crash {
namespace {

constexpr uint64_t kInFlightMax = 32;  // messages

// A channel of its own: no subchannel remembers the last server.
std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

void AddressBook::Set(std::string address) {
  base::MutexLock lock(&mutex_);
  address_ = std::move(address);
}

std::string AddressBook::Get() const {
  base::MutexLock lock(&mutex_);
  return address_;
}

Producer::Producer(ProducerOptions options, const AddressBook* addresses)
    : options_(std::move(options)), addresses_(addresses), ledger_(options_.ledger_file) {
  thread_ = std::thread([this] { Run(); });
}

Producer::~Producer() {
  abandon_ = true;
  if (thread_.joinable()) thread_.join();
}

void Producer::Violation(std::string what) {
  base::MutexLock lock(&mutex_);
  violations_.push_back(absl::StrCat(options_.plan.producer, ": ", what));
}

std::vector<std::string> Producer::violations() const {
  base::MutexLock lock(&mutex_);
  return violations_;
}

bool Producer::Finish() {
  finishing_ = true;
  const absl::Time deadline = absl::Now() + absl::Minutes(1);
  while (!finished_ && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(5));
  return finished_;
}

void Producer::Run() {
  while (!abandon_) {
    const std::string address = addresses_->Get();
    if (!address.empty() && RunStream(address)) {
      finished_ = true;
      return;
    }
    absl::SleepFor(absl::Milliseconds(3));
  }
}

bool Producer::RunStream(const std::string& address) {
  testing::LearnSession session(Connect(address));
  const uint64_t known = ledger_.last_acked();
  if (!session.Open(options_.model, options_.plan.producer, known)) {
    JudgeEnd(session.Finish());
    return false;
  }
  ++streams_;
  if (session.welcome().last_producer_sequence() < known) {
    Violation(absl::StrCat("acked up to ", known, ", the server knows ",
                           session.welcome().last_producer_sequence()));
  }
  std::thread reader([&] { ReadAcks(&session); });
  const bool all_sent = WriteAll(&session) && session.End();
  if (!all_sent) session.Cancel();
  reader.join();
  const grpc::Status status = session.Finish();
  JudgeEnd(status);
  return all_sent && status.ok() && ledger_.last_acked() == last_sent_;
}

// A server that dies takes its streams along; any other end of a stream is a broken promise.
void Producer::JudgeEnd(const grpc::Status& status) {
  const auto code = status.error_code();
  const bool expected = code == grpc::OK || code == grpc::UNAVAILABLE || code == grpc::CANCELLED;
  if (!expected) Violation(absl::StrCat("stream ended: ", code, " ", status.error_message()));
}

bool Producer::WriteAll(testing::LearnSession* session) {
  uint64_t next = ledger_.last_acked() + 1;
  while (!abandon_ && addresses_->Get() != "") {
    if (next > last_sent_ && finishing_) return true;
    if (next > ledger_.last_acked() + kInFlightMax) {
      absl::SleepFor(absl::Microseconds(200));
      continue;
    }
    const v1::LearnMessage message = options_.plan.Message(next);
    ledger_.Sent(next);
    if (next > last_sent_) {
      absl::SleepFor(absl::Seconds(message.examples_size() / options_.examples_per_second));
      last_sent_ = next;
    }
    if (!session->Write(message)) return false;
    ++next;
  }
  return false;
}

void Producer::ReadAcks(testing::LearnSession* session) {
  v1::LearnAck ack;
  while (session->ReadAck(&ack)) {
    for (const v1::Rejection& rejection : ack.rejections()) {
      ledger_.Rejected(rejection.producer_sequence());
      // A rollback may leave a boundary without examples; examples are always good.
      if (options_.plan.IsBoundary(rejection.producer_sequence())) continue;
      Violation(absl::StrCat("message ", rejection.producer_sequence(),
                             " rejected: ", rejection.status().message()));
    }
    duplicates_ += ack.duplicates();
    ledger_.Acked(ack.producer_sequence());
  }
}

}  // namespace engram::crash
