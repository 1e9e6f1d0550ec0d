#include "server/message_check.h"

#include <openssl/evp.h>

#include <cmath>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/feature_values.h"
#include "server/names.h"
#include "server/record_kind.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr size_t kIdBytes = 128;
constexpr size_t kLabelBytes = 256;
constexpr int kShapeRank = 8;

float ValueAt(absl::string_view dense, size_t index) {
  float value;
  std::memcpy(&value, dense.data() + index * sizeof(float), sizeof(float));
  return value;
}

absl::optional<Violation> FindShapeViolation(const v1::Features& features, int64_t values) {
  if (features.shape_size() == 0) return absl::nullopt;
  if (features.shape_size() > kShapeRank) {
    return Violation{"features.shape",
                     absl::StrCat("rank is at most ", kShapeRank, ", got ", features.shape_size())};
  }
  int64_t product = 1;
  for (int64_t dimension : features.shape()) {
    if (dimension <= 0) {
      return Violation{"features.shape",
                       absl::StrCat("a dimension is at least 1, got ", dimension)};
    }
    if (__builtin_mul_overflow(product, dimension, &product)) {
      return Violation{"features.shape", absl::StrCat("dimension ", dimension,
                                                      " makes the product exceed 2^63 - 1")};
    }
  }
  if (product == values) return absl::nullopt;
  return Violation{"features.shape", absl::StrCat("product is ", product, ", got ", values,
                                                  " values")};
}

Violation DescribeValue(float value, size_t index, double limit) {
  Violation violation{absl::StrCat("features[", index, "]"), ""};
  if (std::isnan(value)) {
    violation.reason = "is NaN";
  } else if (std::isinf(value)) {
    violation.reason = value > 0 ? "is Inf" : "is -Inf";
  } else {
    violation.reason = absl::StrCat(value, " exceeds max_abs_feature ", limit);
  }
  return violation;
}

absl::optional<Violation> FindValueViolation(absl::string_view dense, double limit) {
  const size_t count = dense.size() / sizeof(float);
  const float bound = static_cast<float>(limit);
  bool bad = false;  // a branch-free pass that the compiler vectorises; NaN compares false
  for (size_t i = 0; i < count; ++i) bad |= !(std::fabs(ValueAt(dense, i)) <= bound);
  if (!bad) return absl::nullopt;
  for (size_t i = 0; i < count; ++i) {
    const float value = ValueAt(dense, i);
    if (!(std::fabs(value) <= bound)) return DescribeValue(value, i, limit);
  }
  return absl::nullopt;
}

absl::optional<Violation> FindFormViolation(const v1::Features& features) {
  const int forms = (features.dense().empty() ? 0 : 1) + (features.values_size() == 0 ? 0 : 1) +
                    (features.dense_uint8().empty() ? 0 : 1);
  if (forms > 1) {
    return Violation{"features", "exactly one of dense, values and dense_uint8 may be set"};
  }
  if (forms == 0) return Violation{"features", "required"};
  if (features.has_uint8_scale() && features.dense_uint8().empty()) {
    return Violation{"features.uint8_scale", "belongs to dense_uint8, which is not set"};
  }
  return absl::nullopt;
}

// Of the two forms made of bytes, which may end inside a value or a row.
absl::optional<Violation> FindBytesViolation(const v1::Features& features, int64_t expected,
                                             absl::string_view model) {
  const auto violation = [model](absl::string_view field, int64_t bytes, size_t got) {
    return Violation{std::string(field), absl::StrCat("expected ", bytes, " bytes (model \"", model,
                                                      "\"), got ", got)};
  };
  if (features.dense().size() % sizeof(float) != 0) {
    return violation("features.dense", expected * 4, features.dense().size());
  }
  const size_t bytes = features.dense_uint8().size();
  if (bytes != 0 && bytes != static_cast<size_t>(expected)) {
    return violation("features.dense_uint8", expected, bytes);
  }
  return absl::nullopt;
}

absl::optional<Violation> FindByteValueViolation(const v1::Features& features, double limit) {
  const float scale = Uint8Scale(features);
  if (!std::isfinite(scale) || scale <= 0) {
    return Violation{"features.uint8_scale", absl::StrCat("must be finite and > 0, got ", scale)};
  }
  const auto bound = static_cast<float>(limit);
  if (255.0f * scale <= bound) return absl::nullopt;
  const std::string& bytes = features.dense_uint8();
  for (size_t i = 0; i < bytes.size(); ++i) {
    const float value = static_cast<float>(static_cast<uint8_t>(bytes[i])) * scale;
    if (!(value <= bound)) return DescribeValue(value, i, limit);
  }
  return absl::nullopt;
}

absl::optional<Violation> FindLabelViolation(const v1::Example& example) {
  if (example.label().kind_case() == v1::Label::KIND_NOT_SET) {
    return Violation{"label", "required"};
  }
  const size_t bytes = example.label().has_text() ? example.label().text().size() : 1;
  if (bytes >= 1 && bytes <= kLabelBytes) return absl::nullopt;
  return Violation{"label.text", absl::StrCat("must have 1 to 256 bytes, got ", bytes)};
}

absl::optional<Violation> FindExtrasViolation(const v1::Example& example) {
  if (example.has_weight() && !(example.weight() > 0 && example.weight() <= 100)) {
    return Violation{"weight", absl::StrCat("must be in (0, 100], got ", example.weight())};
  }
  if (!example.task().empty() && !IsName(example.task())) {
    return Violation{"task", NotAName(example.task())};
  }
  if (example.id().size() > kIdBytes) {
    return Violation{"id", absl::StrCat("at most 128 bytes, got ", example.id().size())};
  }
  if (example.subject_id().size() > kIdBytes) {
    return Violation{"subject_id",
                     absl::StrCat("at most 128 bytes, got ", example.subject_id().size())};
  }
  if (!v1::Split_IsValid(example.split())) {
    return Violation{"split", absl::StrCat("unknown value ", static_cast<int>(example.split()))};
  }
  return absl::nullopt;
}

absl::optional<Violation> FindViolation(const v1::Example& example, const FeatureRules& rules) {
  if (auto violation = FindFeatureViolation(example.features(), 1, rules)) return violation;
  if (auto violation = FindLabelViolation(example)) return violation;
  return FindExtrasViolation(example);
}

absl::Status CheckBoundary(const v1::Boundary& boundary) {
  if (boundary.next_task().empty() || IsName(boundary.next_task())) return absl::OkStatus();
  return BadField("boundary.next_task", NotAName(boundary.next_task()));
}

}  // namespace

absl::optional<Violation> FindFeatureViolation(const v1::Features& features, int64_t rows,
                                               const FeatureRules& rules) {
  if (auto violation = FindFormViolation(features)) return violation;
  const int64_t expected = rows * rules.feature_count;
  if (auto violation = FindBytesViolation(features, expected, rules.model)) return violation;
  const int64_t values = ValueCount(features);
  if (auto violation = FindShapeViolation(features, values)) return violation;
  if (values != expected) {
    return Violation{"features", absl::StrCat("expected ", expected, " values (model \"",
                                              rules.model, "\"), got ", values)};
  }
  if (!features.dense_uint8().empty()) {
    return FindByteValueViolation(features, rules.max_abs_feature);
  }
  if (features.values_size() == 0) {
    return FindValueViolation(features.dense(), rules.max_abs_feature);
  }
  const absl::string_view bytes(reinterpret_cast<const char*>(features.values().data()),
                                values * sizeof(float));
  return FindValueViolation(bytes, rules.max_abs_feature);
}

void Canonicalise(v1::LearnMessage* message) {
  message->DiscardUnknownFields();
  for (v1::Example& example : *message->mutable_examples()) {
    v1::Features* features = example.mutable_features();
    if (!features->dense_uint8().empty() && features->uint8_scale() == kDefaultUint8Scale) {
      features->clear_uint8_scale();
    }
    if (features->values_size() == 0 || !features->dense().empty()) continue;
    features->mutable_dense()->assign(reinterpret_cast<const char*>(features->values().data()),
                                      features->values_size() * sizeof(float));
    features->clear_values();
  }
}

absl::Status CheckMessage(const v1::LearnMessage& message, const v1::ModelSpec& spec,
                          absl::string_view model, int64_t examples_max) {
  if (message.has_boundary()) {
    if (message.examples_size() == 0) return CheckBoundary(message.boundary());
    return BadField("message", "holds examples or a boundary, got both");
  }
  if (message.examples_size() == 0) return BadField("examples", "batch is empty");
  if (message.examples_size() > examples_max) {
    return BadField("examples", absl::StrCat("batch ", message.examples_size(), " exceeds ",
                                             examples_max));
  }
  const FeatureRules rules{model, spec.feature_count(), spec.max_abs_feature()};
  for (int i = 0; i < message.examples_size(); ++i) {
    auto violation = FindViolation(message.examples(i), rules);
    if (!violation.has_value()) continue;
    return BadField(absl::StrCat("examples[", i, "].", violation->field), violation->reason);
  }
  return absl::OkStatus();
}

std::vector<storage::NewRecord> ToRecords(const v1::LearnMessage& message) {
  std::vector<storage::NewRecord> records;
  if (message.has_boundary()) {
    storage::NewRecord record;
    record.kind = static_cast<uint8_t>(RecordKind::kBoundary);
    record.payload = message.boundary().SerializeAsString();
    records.push_back(std::move(record));
  }
  records.reserve(records.size() + message.examples_size());
  for (const v1::Example& example : message.examples()) {
    records.push_back({static_cast<uint8_t>(RecordKind::kExample), example.SerializeAsString(),
                       example.id(), example.subject_id()});
  }
  return records;
}

uint64_t ContentHash(const std::vector<storage::NewRecord>& records) {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                  &EVP_MD_CTX_free);
  ENGRAM_CHECK(context != nullptr && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1);
  for (const storage::NewRecord& record : records) {
    const uint64_t size = record.payload.size();
    EVP_DigestUpdate(context.get(), &record.kind, 1);
    EVP_DigestUpdate(context.get(), &size, sizeof(size));
    EVP_DigestUpdate(context.get(), record.payload.data(), size);
  }
  unsigned char digest[EVP_MAX_MD_SIZE];
  ENGRAM_CHECK(EVP_DigestFinal_ex(context.get(), digest, nullptr) == 1);
  uint64_t hash;
  std::memcpy(&hash, digest, sizeof(hash));
  return hash;
}

}  // namespace engram::server
