// What the head sees of rows that were trained before, kept: below a frozen backbone it is the same
// every time, so an exemplar that is replayed again needs no pass through the backbone. The
// stream's own rows come once and are not kept, so that they push no exemplar out; a row counts as
// known when its sequence number and a hash of its features agree, so that memories that store it
// differently do not meet. Views (augmentation.h) are new each time and bypass the cache.
//
// Bits do not depend on what is kept: the backbone gives each row what it would alone
// (Network::EmbedFrozen). So the cache is no part of a checkpoint, and starts empty after a
// restore.
//
// Threading: one thread. Ownership: borrows the network, whose backbone never changes.
// Failure: none. Bounds: rows_max rows of embeddings, allocated as they come; beyond, a row not
//   asked for since the hand passed it makes room (CLOCK; Corbato 1968).
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "strategies/core/training_batch.h"
#include "strategies/models/network.h"

namespace engram::strategies {

class EmbeddingCache {
 public:
  EmbeddingCache(Network* network, int64_t rows_max) : network_(network), rows_max_(rows_max) {}

  // As Network::Forward of the batch's rows.
  const at::Tensor& Forward(const TrainingBatch& batch);

  // Exemplars that were looked for, and those of them found, since the cache was made.
  int64_t lookups() const { return lookups_; }
  int64_t hits() const { return hits_; }

 private:
  struct Entry {
    uint64_t sequence = 0;
    uint64_t hash = 0;
    bool asked = false;  // since the hand passed
  };

  // The place of a row, or -1.
  int64_t Find(uint64_t sequence, uint64_t hash);
  void Keep(uint64_t sequence, uint64_t hash, const float* embedding);
  int64_t MakeRoom();
  // Passes rows `missing_` through the backbone at once, and keeps them.
  void EmbedMissing(const TrainingBatch& batch, float* embeddings);

  Network* network_;
  int64_t rows_max_;
  int64_t width_ = 0;
  absl::flat_hash_map<uint64_t, int64_t> places_;  // by sequence
  std::vector<Entry> entries_;
  std::vector<float> kept_;  // [entries, width]
  size_t hand_ = 0;
  std::vector<int64_t> missing_;  // rows of the batch
  std::vector<uint64_t> hashes_;  // theirs
  at::Tensor gathered_;           // their features
  at::Tensor computed_;           // and embeddings
  at::Tensor embeddings_;         // of the whole batch, until the next one
  int64_t lookups_ = 0;
  int64_t hits_ = 0;
};

}  // namespace engram::strategies
