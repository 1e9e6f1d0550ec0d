#include "strategies/memory/exemplar_payload.h"

#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace engram::strategies {
namespace {

constexpr absl::string_view kPlainMagic = "EXM1";
constexpr absl::string_view kMagic = "EXM2";
constexpr absl::string_view kSenderMagic = "EXM3";
constexpr size_t kPlainHeaderBytes = 16;
constexpr size_t kHeaderBytes = 24;
constexpr size_t kSenderHeaderBytes = 32;

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

void AppendPacked(FeatureStorage storage, absl::Span<const float> values, std::string* out) {
  const size_t begin = out->size();
  out->resize(begin + values.size() * static_cast<size_t>(BytesPerFeature(storage)));
  PackFeatures(storage, values, reinterpret_cast<uint8_t*>(&(*out)[begin]));
}

const uint8_t* At(absl::string_view bytes, size_t offset) {
  return reinterpret_cast<const uint8_t*>(bytes.data()) + offset;
}

// Where the parts lie; sizes are as stated, not yet checked against the bytes.
struct Parts {
  FeatureStorage storage = FeatureStorage::kFloat32;
  size_t header = 0;
  uint64_t features = 0;
  uint64_t side = 0;
  absl::optional<uint64_t> sender;
  uint64_t bytes() const {
    return header + features * static_cast<uint64_t>(BytesPerFeature(storage)) + 4 * side;
  }
};

absl::StatusOr<Parts> ReadHeader(absl::string_view bytes) {
  const absl::string_view magic = bytes.substr(0, kMagic.size());
  const bool is_plain = magic == kPlainMagic;
  const bool has_sender = magic == kSenderMagic;
  Parts parts;
  parts.header = is_plain ? kPlainHeaderBytes : has_sender ? kSenderHeaderBytes : kHeaderBytes;
  if ((!is_plain && !has_sender && magic != kMagic) || bytes.size() < parts.header) {
    return absl::DataLossError(
        absl::StrCat("exemplar: not an EXM1, EXM2 or EXM3 payload (", bytes.size(), " bytes)"));
  }
  parts.features = ReadWord(bytes, 12);
  if (is_plain) return parts;
  const uint32_t form = ReadWord(bytes, 16);
  if (form > static_cast<uint32_t>(FeatureStorage::kUint8)) {
    return absl::DataLossError(absl::StrCat("exemplar: unknown form ", form, " of features"));
  }
  parts.storage = static_cast<FeatureStorage>(form);
  parts.side = ReadWord(bytes, 20);
  if (has_sender) {
    parts.sender = ReadWord(bytes, 24) | static_cast<uint64_t>(ReadWord(bytes, 28)) << 32;
  }
  return parts;
}

}  // namespace

std::string EncodeExemplar(const ExemplarView& exemplar, FeatureStorage storage,
                           bool with_sender) {
  const bool is_plain =
      storage == FeatureStorage::kFloat32 && exemplar.side.empty() && !with_sender;
  std::string bytes(is_plain ? kPlainMagic : with_sender ? kSenderMagic : kMagic);
  AppendWord(static_cast<uint32_t>(exemplar.class_index), &bytes);
  AppendWord(static_cast<uint32_t>(exemplar.task), &bytes);
  AppendWord(static_cast<uint32_t>(exemplar.features.size()), &bytes);
  if (!is_plain) {
    AppendWord(static_cast<uint32_t>(storage), &bytes);
    AppendWord(static_cast<uint32_t>(exemplar.side.size()), &bytes);
  }
  if (with_sender) {
    AppendWord(static_cast<uint32_t>(exemplar.sender), &bytes);
    AppendWord(static_cast<uint32_t>(exemplar.sender >> 32), &bytes);
  }
  AppendPacked(storage, exemplar.features, &bytes);
  AppendPacked(FeatureStorage::kFloat32, exemplar.side, &bytes);
  return bytes;
}

absl::StatusOr<ExemplarPayload> DecodeExemplar(absl::string_view bytes, int64_t feature_count) {
  const absl::StatusOr<Parts> parts = ReadHeader(bytes);
  if (!parts.ok()) return parts.status();
  ExemplarPayload exemplar;
  exemplar.storage = parts->storage;
  exemplar.sender = parts->sender;
  exemplar.class_index = static_cast<int32_t>(ReadWord(bytes, 4));
  exemplar.task = static_cast<int32_t>(ReadWord(bytes, 8));
  if (exemplar.class_index < 0 || exemplar.task < 0) {
    return absl::DataLossError(absl::StrCat("exemplar: class ", exemplar.class_index, ", task ",
                                            exemplar.task, ": expected none below 0"));
  }
  if (parts->features != static_cast<uint64_t>(feature_count)) {
    return absl::DataLossError(absl::StrCat("exemplar: expected ", feature_count,
                                            " features, found ", parts->features));
  }
  if (bytes.size() != parts->bytes()) {
    return absl::DataLossError(
        absl::StrCat("exemplar: expected ", parts->bytes(), " bytes, found ", bytes.size()));
  }
  exemplar.features.resize(parts->features);
  exemplar.side.resize(parts->side);
  UnpackFeatures(parts->storage, At(bytes, parts->header), absl::MakeSpan(exemplar.features));
  UnpackFeatures(FeatureStorage::kFloat32, At(bytes, bytes.size() - 4 * parts->side),
                 absl::MakeSpan(exemplar.side));
  if (!Fits(parts->storage, exemplar.features) ||
      !Fits(FeatureStorage::kFloat32, exemplar.side)) {
    return absl::DataLossError("exemplar: a value is not finite or outside its form's range");
  }
  return exemplar;
}

}  // namespace engram::strategies
