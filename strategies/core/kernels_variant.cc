// Compiled once for each instruction set with ENGRAM_KERNELS (the factory's name) and
// ENGRAM_VECTOR_BYTES. Includes nothing that holds inline code of others: a copy of it compiled for
// AVX-512 could be the one that the linker keeps for everybody.
#include <stdint.h>

#include "strategies/core/kernels.h"

namespace engram::strategies {
namespace {

constexpr int64_t kLanes = ENGRAM_VECTOR_BYTES / 4;

typedef float Vector __attribute__((vector_size(ENGRAM_VECTOR_BYTES)));
typedef float Unaligned __attribute__((vector_size(ENGRAM_VECTOR_BYTES), aligned(4), may_alias));
typedef uint32_t Bits __attribute__((may_alias));

inline Vector Load(const float* from) { return *reinterpret_cast<const Unaligned*>(from); }
inline void Store(float* to, Vector value) { *reinterpret_cast<Unaligned*>(to) = value; }
inline Vector Splat(float value) { return Vector{} + value; }

inline float Sum(Vector value) {
  float lanes[kLanes];
  Store(lanes, value);
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

inline float Root(float value) { return __builtin_sqrtf(value); }

void AddBias(float* values, const float* bias, int64_t rows, int64_t columns, bool relu) {
  const float floor = relu ? 0.0f : -__builtin_inff();
  for (int64_t row = 0; row < rows; ++row, values += columns) {
    for (int64_t j = 0; j < columns; ++j) {
      const float sum = values[j] + bias[j];
      // A NaN stays: the guard must see it.
      values[j] = sum < floor ? floor : sum;
    }
  }
}

void MaskByActivation(float* gradient, const float* activation, int64_t count) {
  for (int64_t i = 0; i < count; ++i) gradient[i] = activation[i] > 0 ? gradient[i] : 0.0f;
}

float LargestMagnitude(const float* values, int64_t count) {
  // As integers, magnitudes order like floats, with infinity and NaN above all; and an integer
  // maximum vectorises, which a float one with NaN does not.
  const Bits* bits = reinterpret_cast<const Bits*>(values);
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t magnitude = bits[i] & 0x7fffffffu;
    largest = magnitude > largest ? magnitude : largest;
  }
  if (largest >= 0x7f800000u) return __builtin_inff();
  float result;
  __builtin_memcpy(&result, &largest, sizeof(result));
  return result;
}

void ColumnSums(const float* values, int64_t rows, int64_t columns, float* sums) {
  for (int64_t j = 0; j < columns; ++j) sums[j] = 0;
  for (int64_t row = 0; row < rows; ++row, values += columns) {
    for (int64_t j = 0; j < columns; ++j) sums[j] += values[j];
  }
}

// kRows rows of input against kOut rows of weights, so that each loaded vector is used often.
template <int kRows, int kOut>
inline void ProductBlock(const float* input, const float* weights, int64_t in, int64_t out_stride,
                         float* result) {
  Vector sums[kRows][kOut] = {};
  int64_t k = 0;
  for (; k + kLanes <= in; k += kLanes) {
    Vector w[kOut];
    for (int o = 0; o < kOut; ++o) w[o] = Load(weights + o * in + k);
    for (int r = 0; r < kRows; ++r) {
      const Vector x = Load(input + r * in + k);
      for (int o = 0; o < kOut; ++o) sums[r][o] += x * w[o];
    }
  }
  for (int r = 0; r < kRows; ++r) {
    for (int o = 0; o < kOut; ++o) {
      float sum = Sum(sums[r][o]);
      for (int64_t j = k; j < in; ++j) sum += input[r * in + j] * weights[o * in + j];
      result[r * out_stride + o] = sum;
    }
  }
}

template <int kOut>
inline void ProductRows(const float* input, const float* weights, int64_t rows, int64_t in,
                        int64_t out_stride, float* result) {
  for (; rows >= 5; rows -= 5, input += 5 * in, result += 5 * out_stride) {
    ProductBlock<5, kOut>(input, weights, in, out_stride, result);
  }
  if (rows == 4) ProductBlock<4, kOut>(input, weights, in, out_stride, result);
  if (rows == 3) ProductBlock<3, kOut>(input, weights, in, out_stride, result);
  if (rows == 2) ProductBlock<2, kOut>(input, weights, in, out_stride, result);
  if (rows == 1) ProductBlock<1, kOut>(input, weights, in, out_stride, result);
}

// Up to 10 sums, 2 weights and an input: they fit 16 registers.
void ThinProduct(const float* input, const float* weights, int64_t rows, int64_t out, int64_t in,
                 float* result) {
  int64_t o = 0;
  if (rows == 1) {
    for (; o + 8 <= out; o += 8) ProductBlock<1, 8>(input, weights + o * in, in, out, result + o);
  }
  for (; o + 2 <= out; o += 2) {
    ProductRows<2>(input, weights + o * in, rows, in, out, result + o);
  }
  for (; o < out; ++o) ProductRows<1>(input, weights + o * in, rows, in, out, result + o);
}

void ThinBackward(const float* delta, const float* weights, int64_t rows, int64_t out, int64_t in,
                  float* result) {
  for (int64_t row = 0; row < rows; ++row) {
    float* target = result + row * in;
    for (int64_t j = 0; j < in; ++j) target[j] = 0;
    for (int64_t o = 0; o < out; ++o) {
      const float scale = delta[row * out + o];
      if (scale == 0) continue;
      const float* source = weights + o * in;
      for (int64_t j = 0; j < in; ++j) target[j] += scale * source[j];
    }
  }
}

enum class Sums { kNone, kPath, kScore };

// The end of an interval, for one weight or vector of weights.
template <typename T>
inline void AddToScore(const PathSums& sums, T gradient, T after, T* path, T* fisher, T* score,
                       T* start) {
  const T moved = after - *start;
  *fisher += sums.share * (gradient * gradient - *fisher);
  *score += *path / (0.5f * *fisher * moved * moved + sums.damping);
  *path = T{};
  *start = after;
}

// The sums of the weights at `at`, a vector of them, whose update was `before` to `after`.
template <Sums kSums>
inline void AddVector(const PathSums& sums, int64_t at, Vector gradient, Vector before,
                      Vector after) {
  Vector path = Load(sums.path + at) - gradient * (after - before);
  if (kSums == Sums::kScore) {
    Vector fisher = Load(sums.fisher + at);
    Vector score = Load(sums.score + at);
    Vector start = Load(sums.start + at);
    AddToScore(sums, gradient, after, &path, &fisher, &score, &start);
    Store(sums.fisher + at, fisher);
    Store(sums.score + at, score);
    Store(sums.start + at, start);
  }
  Store(sums.path + at, path);
}

template <Sums kSums>
inline void AddOne(const PathSums& sums, int64_t at, float gradient, float before, float after) {
  sums.path[at] -= gradient * (after - before);
  if (kSums == Sums::kScore) {
    AddToScore(sums, gradient, after, sums.path + at, sums.fisher + at, sums.score + at,
               sums.start + at);
  }
}

// Columns [j, j + kVectors * kLanes) of one weight row: decay, the rank-n sum, the pull, the sums.
// `scales` are the deltas, times -rate without sums.
template <int kVectors, Sums kSums>
inline void RankBlock(const RankUpdate& u, int64_t row, int64_t j, const float* scales,
                      const float* const* inputs, int64_t terms) {
  constexpr bool kSummed = kSums != Sums::kNone;
  const int64_t at = row * u.in + j;
  float* weights = u.weights + at;
  Vector updated[kVectors];
  Vector gradient[kVectors] = {};
  for (int v = 0; v < kVectors; ++v) updated[v] = Load(weights + v * kLanes) * u.decay;
  Vector* const target = kSummed ? gradient : updated;
  for (int64_t t = 0; t < terms; ++t) {
    const Vector scale = Splat(scales[t]);
    for (int v = 0; v < kVectors; ++v) target[v] += scale * Load(inputs[t] + j + v * kLanes);
  }
  if (kSummed) {
    for (int v = 0; v < kVectors; ++v) updated[v] -= u.rate * gradient[v];
  }
  if (u.fraction != nullptr) {
    const float* fraction = u.fraction + at;
    const float* anchor = u.anchor + at;
    for (int v = 0; v < kVectors; ++v) {
      updated[v] += Load(fraction + v * kLanes) * (Load(anchor + v * kLanes) - updated[v]);
    }
  }
  for (int v = 0; kSummed && v < kVectors; ++v) {
    AddVector<kSums>(u.sums, at + v * kLanes, gradient[v], Load(weights + v * kLanes), updated[v]);
  }
  for (int v = 0; v < kVectors; ++v) Store(weights + v * kLanes, updated[v]);
}

template <Sums kSums>
inline void RankTail(const RankUpdate& u, int64_t row, int64_t begin, const float* scales,
                     const float* const* inputs, int64_t terms) {
  constexpr bool kSummed = kSums != Sums::kNone;
  for (int64_t j = begin; j < u.in; ++j) {
    const int64_t at = row * u.in + j;
    const float old = u.weights[at];
    float updated = old * u.decay;
    float gradient = 0;
    float* const target = kSummed ? &gradient : &updated;
    for (int64_t t = 0; t < terms; ++t) *target += scales[t] * inputs[t][j];
    if (kSummed) updated -= u.rate * gradient;
    if (u.fraction != nullptr) updated += u.fraction[at] * (u.anchor[at] - updated);
    if (kSummed) AddOne<kSums>(u.sums, at, gradient, old, updated);
    u.weights[at] = updated;
  }
}

constexpr int64_t kTermsMax = kPathRows;

template <Sums kSums>
void RankUpdateSome(const RankUpdate& u) {
  constexpr bool kSummed = kSums != Sums::kNone;
  constexpr int kBlock = kSummed ? 4 : 7;
  float scales[kTermsMax];
  const float* inputs[kTermsMax];
  for (int64_t row = 0; row < u.out; ++row) {
    int64_t terms = 0;
    // ReLU makes about half of the deltas zero.
    for (int64_t n = 0; n < u.rows; ++n) {
      const float delta = u.delta[n * u.out + row];
      if (delta == 0) continue;
      scales[terms] = kSummed ? delta : -u.rate * delta;
      inputs[terms++] = u.input + n * u.in;
    }
    // An interval ends for weights without a gradient, too.
    const bool idle = terms == 0 && u.decay == 1 && u.fraction == nullptr;
    if (idle && kSums != Sums::kScore) continue;
    int64_t j = 0;
    for (; j + kBlock * kLanes <= u.in; j += kBlock * kLanes) {
      RankBlock<kBlock, kSums>(u, row, j, scales, inputs, terms);
    }
    for (; j + kLanes <= u.in; j += kLanes) RankBlock<1, kSums>(u, row, j, scales, inputs, terms);
    RankTail<kSums>(u, row, j, scales, inputs, terms);
  }
}

void RankUpdateAll(const RankUpdate& update) {
  if (update.sums.fisher != nullptr) return RankUpdateSome<Sums::kScore>(update);
  if (update.sums.path != nullptr) return RankUpdateSome<Sums::kPath>(update);
  RankUpdate part = update;
  int64_t left = update.rows;
  for (; left > kTermsMax; left -= kTermsMax) {
    part.rows = kTermsMax;
    part.fraction = nullptr;
    RankUpdateSome<Sums::kNone>(part);
    part.input += kTermsMax * part.in;
    part.delta += kTermsMax * part.out;
    part.decay = 1;
  }
  part.rows = left;
  part.fraction = update.fraction;
  RankUpdateSome<Sums::kNone>(part);
}

void DescendWithMomentum(float* parameters, const float* gradient, float* buffer, int64_t count,
                         float momentum, float gradient_decay, float rate) {
  for (int64_t i = 0; i < count; ++i) {
    const float g = gradient[i] + gradient_decay * parameters[i];
    buffer[i] = momentum * buffer[i] + g;
    parameters[i] -= rate * buffer[i];
  }
}

void Adam(const AdamUpdate& u) {
  for (int64_t i = 0; i < u.count; ++i) {
    const float g = u.gradient[i] + u.gradient_decay * u.parameters[i];
    u.moment1[i] = u.beta1 * u.moment1[i] + (1 - u.beta1) * g;
    u.moment2[i] = u.beta2 * u.moment2[i] + (1 - u.beta2) * g * g;
    const float scale = Root(u.moment2[i]) * u.inverse_root + u.epsilon;
    u.parameters[i] = u.decay * u.parameters[i] - u.step_size * u.moment1[i] / scale;
  }
}

void Pull(float* parameters, const float* fraction, const float* anchor, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    parameters[i] += fraction[i] * (anchor[i] - parameters[i]);
  }
}

// Beyond it the pull is total, and infinity must not meet itself in weight / (scale + weight).
constexpr float kWeightMax = 1e30f;

void PullAdaptive(const AdaptivePull& p) {
  for (int64_t i = 0; i < p.count; ++i) {
    const float scale = Root(p.moment2[i]) * p.inverse_root + p.epsilon;
    const float product = p.strength * p.importance[i];
    const float held = product < 0 ? 0.0f : product;
    const float weight = held < kWeightMax ? held : kWeightMax;
    // eta A lambda / (1 + eta A lambda) with eta = learning rate / scale; 0 where A is 0.
    p.parameters[i] += weight / (scale + weight) * (p.anchor[i] - p.parameters[i]);
  }
}

template <Sums kSums>
void SumPathSome(const PathSums& sums, const float* gradient, const float* before,
                 const float* after, int64_t count) {
  for (int64_t i = 0; i < count; ++i) AddOne<kSums>(sums, i, gradient[i], before[i], after[i]);
}

void SumPath(const PathSums& sums, const float* gradient, const float* before, const float* after,
             int64_t count) {
  if (sums.fisher != nullptr) {
    return SumPathSome<Sums::kScore>(sums, gradient, before, after, count);
  }
  SumPathSome<Sums::kPath>(sums, gradient, before, after, count);
}

}  // namespace

Kernels ENGRAM_KERNELS(const char* name) {
  return {name,        AddBias,      MaskByActivation, LargestMagnitude,    ColumnSums,
          ThinProduct, ThinBackward, RankUpdateAll,    DescendWithMomentum, Adam,
          Pull,        PullAdaptive, SumPath};
}

}  // namespace engram::strategies
