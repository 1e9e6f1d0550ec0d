#include "tests/net/resender.h"

#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engram/internal/records.pb.h"
#include "engram/v1/example.pb.h"
#include "tests/net/net_run.h"
#include "tests/testing/process/toy_examples.h"

namespace engram::net {
namespace {

constexpr double kDraws = 10000;

// What identifies the record: see crash::MessagePlan::Id.
std::string IdIn(const storage::LogRecord& record, bool boundary) {
  internal::BoundaryRecord ended;
  v1::Example example;
  if (boundary) return ended.ParseFromString(record.payload) ? ended.next_task() : "";
  return example.ParseFromString(record.payload) ? example.id() : "";
}

}  // namespace

Resender::Resender(ResenderOptions options, testing::TcpProxy* proxy)
    : options_(std::move(options)), proxy_(proxy), ledger_(options_.producer.ledger_file) {
  thread_ = std::thread([this] { Run(); });
}

void Resender::Finish() {
  stop_ = true;
  if (thread_.joinable()) thread_.join();
}

std::vector<std::string> Resender::violations() const {
  base::MutexLock lock(&mutex_);
  return violations_;
}

void Resender::Violation(uint64_t sequence, const std::string& what) {
  base::MutexLock lock(&mutex_);
  violations_.push_back(
      absl::StrCat(options_.producer.plan.producer, " message ", sequence, ": ", what));
}

void Resender::Run() {
  stubs_ = std::make_unique<testing::Stubs>(Connect(proxy_->address()));
  for (uint64_t sequence = 1; !stop_; ++sequence) {
    SendUntilAnswered(sequence);
    messages_ = sequence;
  }
  stubs_.reset();
}

void Resender::SendUntilAnswered(uint64_t sequence) {
  const crash::MessagePlan& plan = options_.producer.plan;
  const v1::LearnMessage message = plan.Message(sequence);
  const uint64_t draw = testing::Mix(plan.seed ^ testing::Mix(sequence));
  const bool chosen = static_cast<double>(draw % 10000) < options_.resent * kDraws;
  const int to_lose =
      chosen ? 1 + static_cast<int>((draw >> 20) % static_cast<uint64_t>(options_.retries)) : 0;
  for (int lost = 0; !stop_ || lost > 0; ++lost) {
    const bool cut = lost < to_lose;
    if (cut) {
      proxy_->CutBeforeNextReply((draw >> lost & 1) == 0 ? testing::TcpProxy::Cut::kClose
                                                         : testing::TcpProxy::Cut::kReset);
    }
    ledger_.Sent(sequence);
    const Answer answer = Send(message);
    // A refusal has no message that could be withheld.
    const bool refused = LacksExamples(sequence, lost, answer);
    if (cut && refused) proxy_->LetRepliesPass();
    if (!cut || refused) return Settle(sequence, lost, answer);
    if (answer.status.error_code() != grpc::UNAVAILABLE || proxy_->WaitsForReply()) {
      return Violation(sequence, absl::StrCat("its reply was to be lost, and it ended with ",
                                              answer.status.error_code(), " ",
                                              answer.status.error_message()));
    }
    stubs_ = std::make_unique<testing::Stubs>(Connect(proxy_->address()));
  }
}

Resender::Answer Resender::Send(const v1::LearnMessage& message) const {
  Answer answer;
  const crash::ProducerOptions& producer = options_.producer;
  if (message.has_boundary()) {
    v1::MarkBoundaryRequest request;
    request.set_model(producer.model);
    request.set_producer(producer.plan.producer);
    request.set_producer_sequence(message.producer_sequence());
    *request.mutable_boundary() = message.boundary();
    const auto reply =
        testing::Call(*stubs_->learning, &v1::Learning::Stub::MarkBoundary, request);
    return {reply.status, reply->sequence(), reply->duplicate()};
  }
  v1::LearnBatchRequest request;
  request.set_model(producer.model);
  request.set_producer(producer.plan.producer);
  request.set_producer_sequence(message.producer_sequence());
  *request.mutable_examples() = message.examples();
  const auto reply = testing::Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, request);
  return {reply.status, reply->first_sequence(), reply->duplicate()};
}

bool Resender::LacksExamples(uint64_t sequence, int lost, const Answer& answer) const {
  return lost == 0 && options_.producer.plan.IsBoundary(sequence) &&
         answer.status.error_code() == grpc::FAILED_PRECONDITION;
}

void Resender::Settle(uint64_t sequence, int lost, const Answer& answer) {
  if (LacksExamples(sequence, lost, answer)) {
    ledger_.Rejected(sequence);
    return ledger_.Acked(sequence);
  }
  if (!answer.status.ok()) {
    return Violation(sequence, absl::StrCat("ended with ", answer.status.error_code(), " ",
                                            answer.status.error_message()));
  }
  if (answer.duplicate != (lost > 0)) {
    Violation(sequence, absl::StrCat("sent ", lost + 1, " times, its answer says duplicate=",
                                     answer.duplicate));
  }
  if (answer.duplicate) ++duplicates_;
  ledger_.Acked(sequence);
  base::MutexLock lock(&mutex_);
  first_sequences_[sequence] = answer.first_sequence;
}

bool Resender::AnswersNamed(const std::vector<storage::LogRecord>& records) const {
  base::MutexLock lock(&mutex_);
  bool good = !first_sequences_.empty();
  for (const auto& [sequence, first] : first_sequences_) {
    const crash::MessagePlan& plan = options_.producer.plan;
    const std::string there = first >= 1 && first <= records.size()
                                  ? IdIn(records[first - 1], plan.IsBoundary(sequence))
                                  : "nothing";
    if (there == plan.Id(sequence, 0)) continue;
    std::printf("  %s message %lu: answered with log sequence %lu, where %s lies\n",
                plan.producer.c_str(), sequence, first, there.c_str());
    good = false;
  }
  return good;
}

}  // namespace engram::net
