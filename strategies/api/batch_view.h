// The rows of one batch, as the trainer cut them from the log: borrowed, torch-free memory.
//
// Shapes: `features` is row-major [rows, feature_count]; every other span has `rows` elements.
// Units: a class is an index in first-seen order over the whole model, a task is R's column index.
// Ownership: the caller keeps every span alive for the duration of one call.
// Bounds: at most ModelOptions::batch_size rows. Features were checked finite at the door.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace engram::strategies {

struct BatchView {
  int64_t rows = 0;
  int64_t feature_count = 0;
  absl::Span<const float> features;
  absl::Span<const int32_t> classes;
  absl::Span<const int32_t> tasks;
  // Log sequence of each example: the identity under which a memory keeps it, and the key of its
  // reservoir draw, so that a replayed log fills the same memory.
  absl::Span<const uint64_t> sequences;
  // Empty means all 1. Otherwise in (0, 100].
  absl::Span<const float> weights;
  // Who sent each example: a hash of a name, equal names alike. Read where the options cap what a
  // sender has of a memory. Empty means that all are of one.
  absl::Span<const uint64_t> senders;
};

}  // namespace engram::strategies
