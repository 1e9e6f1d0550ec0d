#include "strategies/core/embedding_cache.h"

#include <algorithm>
#include <cstring>

#include "strategies/core/generator.h"

namespace engram::strategies {
namespace {

constexpr int kLanes = 4;  // independent chains: one multiplication need not wait for another

uint64_t HashOf(const float* values, int64_t count) {
  uint64_t lanes[kLanes] = {1, 2, 3, 4};
  const auto mix = [](uint64_t* lane, uint64_t word) {
    *lane = (*lane ^ word) * 0x9e3779b97f4a7c15u;
    *lane ^= *lane >> 32;
  };
  int64_t i = 0;
  for (; i + 2 * kLanes <= count; i += 2 * kLanes) {
    uint64_t words[kLanes];
    std::memcpy(words, values + i, sizeof(words));
    for (int lane = 0; lane < kLanes; ++lane) mix(&lanes[lane], words[lane]);
  }
  for (; i < count; ++i) {
    uint32_t bits = 0;
    std::memcpy(&bits, values + i, sizeof(bits));
    mix(&lanes[0], bits);
  }
  uint64_t hash = 0;
  for (const uint64_t lane : lanes) hash = MixBits(hash ^ lane);
  return hash;
}

// At least [rows, columns], the first rows of it.
at::Tensor Room(at::Tensor* store, int64_t rows, int64_t columns) {
  if (!store->defined() || store->size(0) < rows) *store = at::empty({rows, columns}, at::kFloat);
  return store->narrow(0, 0, rows);
}

}  // namespace

const at::Tensor& EmbeddingCache::Forward(const TrainingBatch& batch) {
  if (width_ == 0) width_ = network_->embedding_width();
  const int64_t stream = batch.stream_rows();
  const at::Tensor embeddings = Room(&embeddings_, batch.rows(), width_);
  float* values = embeddings.data_ptr<float>();
  if (stream > 0) {
    network_->EmbedFrozen(batch.features().narrow(0, 0, stream), embeddings.narrow(0, 0, stream));
  }
  missing_.clear();
  hashes_.clear();
  for (int64_t row = stream; row < batch.rows(); ++row) {
    const uint64_t sequence = batch.sequences()[static_cast<size_t>(row)];
    const uint64_t hash = HashOf(batch.row(row), batch.feature_count());
    const int64_t place = Find(sequence, hash);
    if (place >= 0) {
      std::copy_n(kept_.data() + place * width_, width_, values + row * width_);
      continue;
    }
    missing_.push_back(row);
    hashes_.push_back(hash);
  }
  if (!missing_.empty()) EmbedMissing(batch, values);
  return network_->ForwardHead(embeddings);
}

void EmbeddingCache::EmbedMissing(const TrainingBatch& batch, float* embeddings) {
  const int64_t rows = static_cast<int64_t>(missing_.size()), wide = batch.feature_count();
  const at::Tensor gathered = Room(&gathered_, rows, wide);
  const at::Tensor computed = Room(&computed_, rows, width_);
  float* into = gathered.data_ptr<float>();
  for (const int64_t row : missing_) into = std::copy_n(batch.row(row), wide, into);
  network_->EmbedFrozen(gathered, computed);
  const float* embedding = computed.data_ptr<float>();
  for (size_t i = 0; i < missing_.size(); ++i, embedding += width_) {
    std::copy_n(embedding, width_, embeddings + missing_[i] * width_);
    Keep(batch.sequences()[static_cast<size_t>(missing_[i])], hashes_[i], embedding);
  }
}

int64_t EmbeddingCache::Find(uint64_t sequence, uint64_t hash) {
  ++lookups_;
  const auto found = places_.find(sequence);
  if (found == places_.end()) return -1;
  Entry& entry = entries_[static_cast<size_t>(found->second)];
  if (entry.hash != hash) return -1;
  entry.asked = true;
  ++hits_;
  return found->second;
}

void EmbeddingCache::Keep(uint64_t sequence, uint64_t hash, const float* embedding) {
  if (sequence == 0) return;  // of no example of the log: drawn, and never seen again
  const auto found = places_.find(sequence);
  const int64_t place = found != places_.end() ? found->second : MakeRoom();
  places_[sequence] = place;
  entries_[static_cast<size_t>(place)] = {sequence, hash, false};
  std::copy_n(embedding, width_, kept_.data() + place * width_);
}

int64_t EmbeddingCache::MakeRoom() {
  if (static_cast<int64_t>(entries_.size()) < rows_max_) {
    entries_.emplace_back();
    kept_.resize(entries_.size() * static_cast<size_t>(width_));
    return static_cast<int64_t>(entries_.size()) - 1;
  }
  while (entries_[hand_].asked) {
    entries_[hand_].asked = false;
    hand_ = (hand_ + 1) % entries_.size();
  }
  const size_t place = hand_;
  places_.erase(entries_[place].sequence);
  hand_ = (hand_ + 1) % entries_.size();
  return static_cast<int64_t>(place);
}

}  // namespace engram::strategies
