// Random views of the rows of a step, which are trained in place of the rows: the stream's and the
// replayed ones alike, after they were retrieved and never before anything is kept.
//
//   flip, crop      pixels move, zeros come in; crop is padding and cropping back (He et al. 2016)
//   rotate, scale   about the centre, bilinear
//   noise           a normal value added to each feature
//   mixup           x <- s x + (1 - s) x', s ~ Beta(alpha, alpha) for each row (Zhang et al. 2018)
//   cutmix          a box of x' over x, of area 1 - s, cut off at the edges; s becomes the share of
//                   x that is left (Yun et al. 2019)
// in this order. The loss of a mixed row is s CE(y) + (1 - s) CE(y'). With both mixup and cutmix on
// each row takes one of them, with equal chances. x' is a random row among those that the loss
// treats as x (TrainingBatch::MixingGroups), often enough x itself in a small batch, and after its
// own flips, turns and noise.
//
// One number of the learner's generator a step; from it and a row's sequence number (and how often
// that stands before it in the batch) comes all that is done to the row, whatever its place and its
// neighbours. Only the choice of x' needs them.
//
// Threading: one thread. Failure: none: options are validated before.
// Bounds: the views and, with mixing, a copy of them, [rows, d] each.
#pragma once

#include <cstdint>
#include <vector>

#include "strategies/api/options.h"
#include "strategies/core/generator.h"
#include "strategies/core/image_transforms.h"
#include "strategies/core/training_batch.h"

namespace engram::strategies {

// Beta(alpha, alpha), from two gamma values (Marsaglia & Tsang 2000). alpha > 0.
double DrawBeta(double alpha, Generator* random);

class Augmentation {
 public:
  // Adds a view of every row to the batch.
  void Apply(const AugmentationOptions& options, uint64_t step_key, TrainingBatch* batch);

 private:
  void TransformRow(const AugmentationOptions& options, const float* row, int64_t width,
                    Generator* random, float* view);
  void MixRows(const AugmentationOptions& options, TrainingBatch* batch, float* views);

  std::vector<uint64_t> row_keys_;
  std::vector<float> moved_;    // one row between two transforms
  std::vector<float> unmixed_;  // the views before any is mixed
};

}  // namespace engram::strategies
