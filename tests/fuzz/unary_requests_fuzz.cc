// Every request of every method of engram.v1 (the first line names it, as in "PredictRequest"; what
// names none is dealt out by its first byte): parsed as the server parses it, and checked as far as
// the checks need no model.
#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engram/v1/admin.pb.h"
#include "engram/v1/checkpoints.pb.h"
#include "engram/v1/evaluation.pb.h"
#include "engram/v1/learning.pb.h"
#include "engram/v1/model.pb.h"
#include "engram/v1/prediction.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "server/byte_buffer_messages.h"
#include "server/feature_rows.h"
#include "server/message_check.h"
#include "server/spec_options.h"
#include "tests/fuzz/target.h"

namespace engram::fuzz {
namespace {

constexpr int64_t kFeatures = 3;
constexpr int64_t kRowsMax = 16;

v1::ModelSpec BaseSpec() {
  v1::ModelSpec spec;
  spec.set_feature_count(kFeatures);
  spec.mutable_mlp()->add_hidden(4);
  const auto completed = server::CompleteSpec(spec);
  ENGRAM_CHECK(completed.ok());
  return *completed;
}

// The input of each method once, in the order of the files.
std::vector<const google::protobuf::Message*> Requests() {
  std::vector<const google::protobuf::Message*> out;
  for (const google::protobuf::FileDescriptor* file :
       {v1::CreateModelRequest::descriptor()->file(), v1::LearnBatchRequest::descriptor()->file(),
        v1::PredictRequest::descriptor()->file(), v1::EvaluateRequest::descriptor()->file(),
        v1::CreateCheckpointRequest::descriptor()->file(),
        v1::GetLimitsRequest::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        out.push_back(google::protobuf::MessageFactory::generated_factory()->GetPrototype(
            file->service(s)->method(m)->input_type()));
      }
    }
  }
  return out;
}

// Takes the name off the front.
const google::protobuf::Message* TakeKind(
    absl::string_view* input, const std::vector<const google::protobuf::Message*>& requests) {
  const absl::string_view line = input->substr(0, input->find('\n'));
  for (const google::protobuf::Message* request : requests) {
    if (line != request->GetDescriptor()->name()) continue;
    input->remove_prefix(std::min(input->size(), line.size() + 1));
    return request;
  }
  return requests[TakeChoice(input, requests.size())];
}

// A spec that passes is complete: completing it again changes nothing.
void CheckSpec(const v1::ModelSpec& spec) {
  static const v1::ModelSpec base = BaseSpec();
  const auto completed = server::CompleteSpec(spec);
  if (!completed.ok()) {
    ENGRAM_CHECK(completed.status().code() == absl::StatusCode::kInvalidArgument);
    return;
  }
  const auto again = server::CompleteSpec(*completed);
  ENGRAM_CHECK(again.ok() && again->SerializeAsString() == completed->SerializeAsString());
  ENGRAM_CHECK(strategies::ValidateOptions(server::ToModelOptions(*completed)).ok());
  ENGRAM_CHECK(server::CheckLiveChange(*completed, *completed).ok());
  (void)server::CheckLiveChange(base, *completed);
}

void CheckRows(const v1::Features& features) {
  std::vector<float> values;
  int64_t rows = 0;
  const absl::Status read =
      server::ReadRows(features, {"fuzz", kFeatures, 1e6}, kRowsMax, &values, &rows);
  if (!read.ok()) return;
  ENGRAM_CHECK(rows >= 1 && rows <= kRowsMax);
  ENGRAM_CHECK(values.size() >= static_cast<size_t>(rows * kFeatures));
}

void CheckExamples(v1::LearnMessage message) {
  static const v1::ModelSpec base = BaseSpec();
  server::Canonicalise(&message);
  (void)server::CheckMessage(message, base, "fuzz", kRowsMax);
  server::ContentHash(server::ToRecords(message));
}

void Check(const google::protobuf::Message& request) {
  (void)server::CheckEnums(request);
  if (const auto* create = dynamic_cast<const v1::CreateModelRequest*>(&request)) {
    CheckSpec(create->spec());
  } else if (const auto* update = dynamic_cast<const v1::UpdateModelRequest*>(&request)) {
    CheckSpec(update->spec());
  } else if (const auto* predict = dynamic_cast<const v1::PredictRequest*>(&request)) {
    CheckRows(predict->features());
  } else if (const auto* batch = dynamic_cast<const v1::LearnBatchRequest*>(&request)) {
    v1::LearnMessage message;
    *message.mutable_examples() = batch->examples();
    CheckExamples(std::move(message));
  } else if (const auto* mark = dynamic_cast<const v1::MarkBoundaryRequest*>(&request)) {
    v1::LearnMessage message;
    *message.mutable_boundary() = mark->boundary();
    CheckExamples(std::move(message));
  }
}

}  // namespace
}  // namespace engram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const auto* requests =
      new std::vector<const google::protobuf::Message*>(engram::fuzz::Requests());
  absl::string_view body = engram::fuzz::ToText(bytes, size);
  const std::unique_ptr<google::protobuf::Message> request(
      engram::fuzz::TakeKind(&body, *requests)->New());
  grpc::Slice slice(body.data(), body.size());
  const grpc::ByteBuffer buffer(&slice, 1);
  const absl::Status parsed = engram::server::ParseRequest(buffer, request.get());
  if (parsed.ok()) {
    engram::fuzz::Check(*request);
  } else {
    ENGRAM_CHECK(parsed.code() == absl::StatusCode::kInvalidArgument);
  }
  return 0;
}
