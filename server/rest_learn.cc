#include "server/rest_learn.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "engram/v1/learning.pb.h"
#include "engram/v1/model.pb.h"
#include "nlohmann/json.hpp"
#include "server/clock.h"
#include "server/errors.h"
#include "server/rest_example.h"
#include "server/rest_json.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr size_t kLineBytesMax = 1 << 20;
constexpr size_t kPieceBytes = 64 << 10;
constexpr int64_t kBatchDefault = 256;
constexpr int64_t kBatchMax = 1024;
constexpr size_t kRefusalsListed = 100;
constexpr absl::Duration kMessagePatience = absl::Seconds(20);
constexpr absl::Duration kRetryPause = absl::Milliseconds(20);

absl::StatusOr<uint64_t> NumberOf(absl::string_view query, absl::string_view name,
                                  uint64_t otherwise, uint64_t max) {
  const absl::optional<std::string> text = QueryValue(query, name);
  if (!text.has_value()) return otherwise;
  uint64_t number = 0;
  if (absl::SimpleAtoi(*text, &number) && number >= 1 && number <= max) return number;
  return BadField(name, absl::StrCat("expected 1 to ", max, ", got \"", Echo(*text), "\""));
}

// Complete lines of a body that comes in pieces.
class Lines {
 public:
  explicit Lines(const HttpRequest& request) : request_(request) {}

  // False at the end. The view lives until the next call.
  absl::StatusOr<bool> Next(absl::string_view* line) {
    for (;;) {
      const size_t end = buffer_.find('\n', start_);
      if (end != std::string::npos || over_) {
        if (end == std::string::npos && start_ == buffer_.size()) return false;
        const size_t stop = std::min(end, buffer_.size());
        *line = absl::string_view(buffer_).substr(start_, stop - start_);
        start_ = std::min(stop + 1, buffer_.size());
        ++number_;
        return true;
      }
      ENGRAM_RETURN_IF_ERROR(Fill());
    }
  }
  int64_t number() const { return number_; }

 private:
  absl::Status Fill() {
    buffer_.erase(0, start_);
    start_ = 0;
    if (buffer_.size() > kLineBytesMax) {
      return BadField("line", absl::StrCat("line ", number_ + 1, " has more than ", kLineBytesMax,
                                           " bytes; one example a line"));
    }
    const size_t had = buffer_.size();
    buffer_.resize(had + kPieceBytes);
    const absl::StatusOr<size_t> got = request_.read(&buffer_[had], kPieceBytes);
    buffer_.resize(had + got.value_or(0));
    over_ = got.ok() && *got == 0;
    return got.status();
  }

  const HttpRequest& request_;
  std::string buffer_;
  size_t start_ = 0;
  int64_t number_ = 0;
  bool over_ = false;
};

// Whether the status is about one message, and the next may be taken.
bool IsRefusal(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsOutOfRange(status) ||
         ErrorInfoOf(status).reason() == "REJECTED_BEFORE";
}

// One upload: what it was asked to do, and how far it came.
class Upload {
 public:
  Upload(const OwnCalls* calls, RestProducer* own, const HttpRequest& request,
         const std::string& model)
      : calls_(calls), own_(own), request_(request), authorization_(AuthorizationOf(request)) {
    message_.set_model(model);
  }

  absl::Status Configure() {
    const absl::string_view query = request_.query;
    const absl::optional<std::string> producer = QueryValue(query, "producer");
    const bool numbered = QueryValue(query, "sequence").has_value();
    if (producer.has_value() != numbered) {
      return BadField(numbered ? "producer" : "sequence",
                      "producer and sequence go together: who repeats a body sends both again");
    }
    ENGRAM_ASSIGN_OR_RETURN(batch_, NumberOf(query, "batch", kBatchDefault, kBatchMax));
    ENGRAM_ASSIGN_OR_RETURN(sequence_, NumberOf(query, "sequence", 0, UINT64_MAX));
    message_.set_producer(producer.value_or(own_->name()));
    return absl::OkStatus();
  }

  absl::Status Run() {
    ENGRAM_RETURN_IF_ERROR(request_.reserve(static_cast<int64_t>(kLineBytesMax)));
    Lines lines(request_);
    absl::string_view line;
    for (;;) {
      ENGRAM_ASSIGN_OR_RETURN(const bool more, lines.Next(&line));
      if (!more) break;
      if (absl::StripAsciiWhitespace(line).empty()) continue;
      if (lines_in_message_++ == 0) first_line_ = lines.number();
      last_line_ = lines.number();
      ENGRAM_RETURN_IF_ERROR(Take(line));
      if (lines_in_message_ == batch_) ENGRAM_RETURN_IF_ERROR(SendMessage());
    }
    ENGRAM_RETURN_IF_ERROR(SendMessage());
    return asked_ ? absl::OkStatus() : FindModel();
  }

  nlohmann::json Summary() const {
    nlohmann::json summary = {{"producer", message_.producer()},
                              {"examples", absl::StrCat(examples_)},
                              {"duplicates", absl::StrCat(duplicates_)},
                              {"durable_sequence", absl::StrCat(durable_)},
                              {"applied_sequence", absl::StrCat(applied_)},
                              {"refused", absl::StrCat(refused_)},
                              {"refusals", refusals_}};
    if (sequence_ != 0) summary["next_sequence"] = absl::StrCat(sequence_);
    return summary;
  }

 private:
  absl::Status Take(absl::string_view line) {
    const int64_t reading = JsonBytes(line);
    ENGRAM_RETURN_IF_ERROR(request_.reserve(reading));
    absl::StatusOr<v1::Example> example = ParseExampleLine(line);
    if (!example.ok()) {
      Refuse(last_line_, last_line_, example.status());
      return request_.reserve(-reading);
    }
    // As it is, and as it is sent.
    const int64_t kept = 2 * static_cast<int64_t>(example->SpaceUsedLong());
    held_ += kept;
    *message_.add_examples() = *std::move(example);
    return request_.reserve(kept - reading);
  }

  // An upload without a good line is no call of its own; its model may be a typing error.
  absl::Status FindModel() const {
    v1::GetModelRequest question;
    v1::Model model;
    question.set_name(message_.model());
    return calls_->Call(Rpc::kGetModel, authorization_, question, &model, kMessagePatience);
  }

  void Refuse(int64_t first, int64_t last, const absl::Status& status) {
    refused_ += last - first + 1;
    if (refusals_.size() >= kRefusalsListed) return;
    refusals_.push_back({{"first_line", first},
                         {"last_line", last},
                         {"code", static_cast<int>(status.code())},
                         {"message", std::string(status.message())}});
  }

  absl::Status SendMessage() {
    if (lines_in_message_ == 0) return absl::OkStatus();
    // A message without a good line has no content; its number is left to the next one.
    const absl::Status status = message_.examples().empty() ? absl::OkStatus() : Sent();
    if (!status.ok()) {
      if (!IsRefusal(status)) return status;
      Refuse(first_line_, last_line_, status);
    }
    // Not cleared: that keeps the memory of the largest there was.
    google::protobuf::RepeatedPtrField<v1::Example>().Swap(message_.mutable_examples());
    lines_in_message_ = 0;
    return request_.reserve(-std::exchange(held_, 0));
  }

  absl::Status Sent() {
    if (sequence_ == 0) {
      return own_->Send(message_.model(),
                        [this](uint64_t sequence) { return Patiently(sequence); });
    }
    const absl::Status status = Patiently(sequence_);
    // A refused message uses its sequence up.
    if (status.ok() || IsRefusal(status)) ++sequence_;
    return status;
  }

  // A full queue empties; a server that starts is there soon.
  absl::Status Patiently(uint64_t sequence) {
    message_.set_producer_sequence(sequence);
    asked_ = true;
    const absl::Duration end = SteadyNow() + kMessagePatience;
    for (;;) {
      v1::LearnBatchResponse reply;
      const absl::Status status =
          calls_->Call(Rpc::kLearnBatch, authorization_, message_, &reply, kMessagePatience);
      if (status.ok()) Count(reply);
      const absl::Duration pause = std::max(kRetryPause, absl::FromChrono(RetryDelay(status)));
      const bool again = absl::IsResourceExhausted(status) && RetryDelay(status).count() > 0;
      if (!again || SteadyNow() + pause > end) return Explained(status);
      absl::SleepFor(pause);
    }
  }

  // gRPC's own words for a message that is too large know nothing of lines.
  absl::Status Explained(const absl::Status& status) const {
    if (!absl::IsResourceExhausted(status) || RetryDelay(status).count() > 0) return status;
    return OverLimit("batch",
                     absl::StrCat(status.message(), "; lines ", first_line_, " to ", last_line_,
                                  " are one message of ", message_.ByteSizeLong(),
                                  " bytes, ?batch= makes it smaller"),
                     std::chrono::milliseconds(0));
  }

  void Count(const v1::LearnBatchResponse& reply) {
    (reply.duplicate() ? duplicates_ : examples_) += message_.examples_size();
    durable_ = reply.durable_sequence();
    applied_ = reply.applied_sequence();
  }

  const OwnCalls* const calls_;
  RestProducer* const own_;
  const HttpRequest& request_;
  const absl::string_view authorization_;
  v1::LearnBatchRequest message_;
  int64_t held_ = 0;    // of memory, for message_
  bool asked_ = false;  // a message was sent, whatever came of it
  uint64_t batch_ = 0;
  uint64_t sequence_ = 0;  // 0: the process numbers
  uint64_t lines_in_message_ = 0;
  int64_t first_line_ = 0;
  int64_t last_line_ = 0;
  int64_t examples_ = 0;
  int64_t duplicates_ = 0;
  int64_t refused_ = 0;
  nlohmann::json refusals_ = nlohmann::json::array();
  uint64_t durable_ = 0;
  uint64_t applied_ = 0;
};

}  // namespace

HttpReply RestLearn::Answer(const HttpRequest& request, const std::string& model) const {
  Upload upload(calls_, own_producer_.get(), request, model);
  absl::Status status = CheckBodyType(request, "application/x-ndjson");
  if (status.ok()) status = upload.Configure();
  if (!status.ok()) return ErrorReply(status);
  status = upload.Run();
  HttpReply reply = status.ok() ? HttpReply() : ErrorReply(status);
  nlohmann::json body =
      status.ok() ? upload.Summary() : nlohmann::json::parse(reply.body, nullptr, false);
  if (!status.ok()) body["learned"] = upload.Summary();
  // A message may quote bytes that are no UTF-8.
  reply.body = body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return reply;
}

absl::Status RestLearn::MarkBoundary(absl::string_view authorization,
                                     google::protobuf::Message* request,
                                     google::protobuf::Message* reply) const {
  auto* const boundary = static_cast<v1::MarkBoundaryRequest*>(request);
  const auto send = [&](absl::Duration patience) {
    return calls_->Call(Rpc::kMarkBoundary, authorization, *boundary, reply, patience);
  };
  if (!boundary->producer().empty()) return send(kMessagePatience);
  boundary->set_producer(own_producer_->name());
  return own_producer_->Send(boundary->model(), [&](uint64_t sequence) {
    boundary->set_producer_sequence(sequence);
    return send(kMessagePatience);
  });
}

}  // namespace engram::server
