// Nearest-mean-of-exemplars classification (Rebuffi et al. 2017, iCaRL, algorithm 1): the class
// whose prototype, the re-normalised mean of its exemplars' L2-normalised embeddings, is nearest to
// the L2-normalised embedding of the row.
//
// Prototypes belong to the weights that embed: the pass computes them from its own exemplars and
// its own weights at its first row, so a published snapshot costs references until it is asked,
// and no prototype outlives the weights it was made with.
//
// Threading: immutable after MakeNearestMean; the first Run of any thread computes, others wait.
// Ownership: shares the exemplars' features; borrows `inner`, which outlives the pass.
// Failure: none but c10::Error.
// Bounds: one pass over the exemplars a snapshot; width + 1 floats a unit.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "strategies/core/unit_map.h"
#include "strategies/memory/herded_memory.h"
#include "strategies/models/network.h"

namespace engram::strategies {

// [exemplars, pass.embedding_width()], each row of length 1 (or 0 where nothing is active).
std::vector<float> NormalisedEmbeddings(const ForwardPass& pass,
                                        absl::Span<const HerdedExemplar> exemplars,
                                        int64_t feature_count);

// Scores are minus the squared distances. Null without any exemplar: then `inner` has the answer.
std::unique_ptr<const ForwardPass> MakeNearestMean(const ForwardPass& inner,
                                                   const HerdedMemory& memory,
                                                   const UnitMap& units);

}  // namespace engram::strategies
