#include "strategies/memory/exemplar_payload.h"

#include <cmath>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace engram::strategies {
namespace {

constexpr absl::string_view kMagic = "EXM1";
constexpr size_t kHeaderBytes = 16;

void AppendWord(uint32_t value, std::string* out) {
  for (int shift = 0; shift < 32; shift += 8) out->push_back(static_cast<char>(value >> shift));
}

uint32_t ReadWord(absl::string_view bytes, size_t offset) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) {
    value |= static_cast<uint32_t>(static_cast<uint8_t>(bytes[offset + i])) << (8 * i);
  }
  return value;
}

}  // namespace

std::string EncodeExemplar(int32_t class_index, int32_t task, absl::Span<const float> features) {
  std::string bytes;
  bytes.reserve(kHeaderBytes + 4 * features.size());
  bytes.append(kMagic.data(), kMagic.size());
  AppendWord(static_cast<uint32_t>(class_index), &bytes);
  AppendWord(static_cast<uint32_t>(task), &bytes);
  AppendWord(static_cast<uint32_t>(features.size()), &bytes);
  for (const float feature : features) {
    uint32_t bits;
    std::memcpy(&bits, &feature, sizeof(bits));
    AppendWord(bits, &bytes);
  }
  return bytes;
}

absl::StatusOr<ExemplarPayload> DecodeExemplar(absl::string_view bytes, int64_t feature_count) {
  if (bytes.size() < kHeaderBytes || bytes.substr(0, kMagic.size()) != kMagic) {
    return absl::DataLossError(
        absl::StrCat("exemplar: not an EXM1 payload (", bytes.size(), " bytes)"));
  }
  ExemplarPayload exemplar;
  exemplar.class_index = static_cast<int32_t>(ReadWord(bytes, 4));
  exemplar.task = static_cast<int32_t>(ReadWord(bytes, 8));
  const uint32_t stored_count = ReadWord(bytes, 12);
  if (exemplar.class_index < 0 || exemplar.task < 0) {
    return absl::DataLossError(absl::StrCat("exemplar: class ", exemplar.class_index, ", task ",
                                            exemplar.task, ": expected none below 0"));
  }
  if (stored_count != feature_count) {
    return absl::DataLossError(
        absl::StrCat("exemplar: expected ", feature_count, " features, found ", stored_count));
  }
  const size_t expected_bytes = kHeaderBytes + 4 * static_cast<size_t>(stored_count);
  if (bytes.size() != expected_bytes) {
    return absl::DataLossError(
        absl::StrCat("exemplar: expected ", expected_bytes, " bytes, found ", bytes.size()));
  }
  exemplar.features.resize(stored_count);
  for (size_t i = 0; i < exemplar.features.size(); ++i) {
    const uint32_t bits = ReadWord(bytes, kHeaderBytes + 4 * i);
    std::memcpy(&exemplar.features[i], &bits, sizeof(bits));
    if (!std::isfinite(exemplar.features[i])) {
      return absl::DataLossError(absl::StrCat("exemplar: feature ", i, " is not finite"));
    }
  }
  return exemplar;
}

}  // namespace engram::strategies
