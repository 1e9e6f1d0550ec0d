// The priority of an example in a memory: a keyed hash of its log sequence, or of what it is.
//
// SipHash-2-4 (Aumasson & Bernstein 2012), a pseudo-random function: keys are uniform and
// independent of what producers send, and whoever does not know the seed cannot choose sequences
// that stay. The same (seed, memory, sequence) has the same key in every run and on every shard.
//
// Threading: pure functions. Failure: none.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace engram::strategies {

// SipHash-2-4 of the eight little-endian bytes of `message` under the 128-bit key (k0, k1).
uint64_t SipHash24(uint64_t k0, uint64_t k1, uint64_t message);

// The same of any bytes; of eight it is the function above.
uint64_t SipHash24(uint64_t k0, uint64_t k1, absl::Span<const uint8_t> message);

// `memory` keeps the draws of two memories of one learner independent.
uint64_t PriorityKey(uint64_t seed, uint32_t memory, uint64_t sequence);

// Equal for equal stored features, class and task, whatever the sequence.
uint64_t ContentKey(uint64_t seed, uint32_t memory, int32_t class_index, int32_t task,
                    absl::Span<const uint8_t> features);

}  // namespace engram::strategies
