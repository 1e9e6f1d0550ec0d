// A small seeded generator with its own distributions: the ones of the standard library differ from
// one implementation to the next, and a generated digit must not.
//
// Threading: one thread. Ownership: a plain value. Failure: none. Bounds: 8 bytes.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace engram::datasets {

class SeededRandom {
 public:
  // Streams of different (seed, stream) pairs are independent for all practical purposes.
  explicit SeededRandom(uint64_t seed, uint64_t stream = 0)
      : state_(Mix(seed + kGamma) ^ Mix(stream * kGamma + 1)) {}

  // splitmix64 (Steele, Lea and Flood 2014).
  uint64_t Next() { return Mix(state_ += kGamma); }

  // In [0, 1).
  double Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }
  double Uniform(double low, double high) { return low + (high - low) * Uniform(); }

  // In [0, bound), bound at least 1; exact up to 2^-64 x bound.
  uint64_t Below(uint64_t bound) {
    return static_cast<uint64_t>((static_cast<unsigned __int128>(Next()) * bound) >> 64);
  }

  double Normal() {
    constexpr double kTwoPi = 6.283185307179586;
    const double radius = std::sqrt(-2.0 * std::log(1.0 - Uniform()));
    return radius * std::cos(kTwoPi * Uniform());
  }

  template <typename T>
  void Shuffle(std::vector<T>* values) {
    for (size_t left = values->size(); left > 1; --left) {
      std::swap((*values)[left - 1], (*values)[Below(left)]);
    }
  }

 private:
  static constexpr uint64_t kGamma = 0x9e3779b97f4a7c15;

  static uint64_t Mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }

  uint64_t state_;
};

}  // namespace engram::datasets
