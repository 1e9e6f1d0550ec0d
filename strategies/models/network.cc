#include "strategies/models/network.h"

#include "storage/base/check.h"

namespace engram::strategies {

// Of a network that cannot be frozen nobody may ask for the halves of a frozen one.
int64_t Network::embedding_width() const {
  ENGRAM_CHECK(false);
  return 0;
}

void Network::EmbedFrozen(const at::Tensor& /*features*/, const at::Tensor& /*embeddings*/) {
  ENGRAM_CHECK(false);
}

const at::Tensor& Network::ForwardHead(const at::Tensor& embeddings) {
  ENGRAM_CHECK(false);
  return embeddings;
}

}  // namespace engram::strategies
