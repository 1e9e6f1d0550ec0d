// The numbers in a message's features, whatever form they came in. Stored examples keep their form:
// bytes become float32 only here, where a learner or a prediction reads them.
//
// Threading: pure functions. Ownership: writes into what is passed.
// Failure: none; features that no check has passed may hold half a number, which is left out.
// Bounds: none.
#pragma once

#include <cstdint>

#include "engram/v1/example.pb.h"

namespace engram::server {

// What uint8_scale is when it is absent: pictures to [0, 1].
constexpr float kDefaultUint8Scale = 1.0f / 255.0f;

float Uint8Scale(const v1::Features& features);

int64_t ValueCount(const v1::Features& features);

// ValueCount numbers. A byte is float(byte) * scale: who sends the same product as float32 trains
// the same model bit by bit.
void CopyValues(const v1::Features& features, float* out);

}  // namespace engram::server
