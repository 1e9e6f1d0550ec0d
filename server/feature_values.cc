#include "server/feature_values.h"

#include <cstring>

namespace engram::server {

float Uint8Scale(const v1::Features& features) {
  return features.has_uint8_scale() ? features.uint8_scale() : kDefaultUint8Scale;
}

int64_t ValueCount(const v1::Features& features) {
  if (!features.dense_uint8().empty()) return static_cast<int64_t>(features.dense_uint8().size());
  if (features.values_size() > 0) return features.values_size();
  return static_cast<int64_t>(features.dense().size() / sizeof(float));
}

void CopyValues(const v1::Features& features, float* out) {
  if (!features.dense_uint8().empty()) {
    const float scale = Uint8Scale(features);
    for (const char byte : features.dense_uint8()) {
      *out++ = static_cast<float>(static_cast<uint8_t>(byte)) * scale;
    }
    return;
  }
  const void* const source = features.values_size() > 0
                                 ? static_cast<const void*>(features.values().data())
                                 : static_cast<const void*>(features.dense().data());
  std::memcpy(out, source, ValueCount(features) * sizeof(float));
}

}  // namespace engram::server
