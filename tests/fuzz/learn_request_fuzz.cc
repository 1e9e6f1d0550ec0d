// One frame of a Learn stream: parsed, put into canonical form, checked, made into records.
#include <cmath>
#include <string>
#include <vector>

#include "engram/v1/learning.pb.h"
#include "server/byte_buffer_messages.h"
#include "server/feature_values.h"
#include "server/message_check.h"
#include "server/record_kind.h"
#include "tests/fuzz/target.h"

namespace engram::fuzz {
namespace {

constexpr int64_t kFeatures = 3;
constexpr double kMaxAbs = 1e6;
constexpr int64_t kExamplesMax = 8;

v1::ModelSpec Spec() {
  v1::ModelSpec spec;
  spec.set_feature_count(kFeatures);
  spec.set_max_abs_feature(kMaxAbs);
  return spec;
}

// What a learner may count on, of every example that passed the checks.
void ExpectTrainable(const v1::Example& example) {
  ENGRAM_CHECK(server::ValueCount(example.features()) == kFeatures);
  std::vector<float> values(kFeatures);
  server::CopyValues(example.features(), values.data());
  for (const float value : values) ENGRAM_CHECK(std::fabs(value) <= kMaxAbs);
  ENGRAM_CHECK(example.label().kind_case() != v1::Label::KIND_NOT_SET);
  ENGRAM_CHECK(!example.has_weight() || (example.weight() > 0 && example.weight() <= 100));
}

void Admit(v1::LearnMessage message) {
  static const v1::ModelSpec spec = Spec();
  server::Canonicalise(&message);
  const absl::Status checked = server::CheckMessage(message, spec, "fuzz", kExamplesMax);
  ENGRAM_CHECK(checked.ok() || checked.code() == absl::StatusCode::kInvalidArgument);
  const auto records = server::ToRecords(message);
  const uint64_t hash = server::ContentHash(records);
  // A repeat arrives as bytes again, and must be known by its hash.
  v1::LearnMessage again;
  ENGRAM_CHECK(again.ParseFromString(message.SerializeAsString()));
  server::Canonicalise(&again);
  ENGRAM_CHECK(server::ContentHash(server::ToRecords(again)) == hash);
  if (!checked.ok()) return;
  for (const v1::Example& example : message.examples()) ExpectTrainable(example);
  for (const storage::NewRecord& record : records) {
    v1::Example stored;
    if (record.kind != static_cast<uint8_t>(server::RecordKind::kExample)) continue;
    ENGRAM_CHECK(stored.ParseFromString(record.payload));
    ExpectTrainable(stored);
  }
}

}  // namespace
}  // namespace engram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  grpc::Slice slice(bytes, size);
  const grpc::ByteBuffer buffer(&slice, 1);
  engram::v1::LearnRequest request;
  if (!engram::server::ParseRequest(buffer, &request).ok()) return 0;
  if (request.has_message()) engram::fuzz::Admit(std::move(*request.mutable_message()));
  return 0;
}
