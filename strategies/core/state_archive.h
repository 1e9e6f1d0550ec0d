// The byte form of everything saved: safetensors (u64 little-endian header length, JSON header,
// raw little-endian tensors), written and read by our own strict code.
//
// Writer: tensors in the order of Put. Scalars go to __metadata__ as strings.
// Reader: refuses what the format forbids (lengths out of bounds, overlap, holes, duplicate names,
//   overflow, sizes that differ from shape x dtype, trailing bytes) with DATA_LOSS before any
//   tensor is touched. Bytes may come from a client: a header is never held in memory beyond what
//   the limits allow it to say. A name, dtype or shape other than the one asked for is
//   FAILED_PRECONDITION naming both. No code of LibTorch ever parses these bytes.
// Threading: none. Ownership: a reader borrows the bytes given to Open.
// Bounds: ArchiveLimits, far below the format's own header of 100 MB; rank 4, names 256 bytes.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace engram::strategies {

// Names written through a writer get its prefix: Scoped("strategy/0/") writes "strategy/0/keys".
class StateWriter {
 public:
  StateWriter();
  StateWriter Scoped(absl::string_view prefix) const;

  // float32, float64, int32, int64 and uint8 tensors; copied (contiguous or not).
  void PutTensor(absl::string_view name, const at::Tensor& tensor);
  // One-dimensional arrays; unsigned ones are stored bit for bit in I64.
  void PutInts(absl::string_view name, absl::Span<const int64_t> values);
  void PutUnsigned(absl::string_view name, absl::Span<const uint64_t> values);

  void PutInteger(absl::string_view name, int64_t value);
  void PutNumber(absl::string_view name, double value);  // round-trips bit for bit
  void PutText(absl::string_view name, absl::string_view value);

  // Serialises all that was put through this writer and those scoped from it.
  std::string Finish() const;

 private:
  struct Contents;
  StateWriter(std::shared_ptr<Contents> contents, std::string prefix);
  std::shared_ptr<Contents> contents_;
  std::string prefix_;
};

struct ArchiveLimits {
  uint64_t header_bytes = uint64_t{16} << 20;
  size_t tensors = 100000;
};

class StateReader {
 public:
  struct TensorInfo {
    std::string name;
    std::string dtype;  // as the format calls it: F32, F16, BF16, I64 ...
    std::vector<int64_t> shape;
  };

  // DATA_LOSS naming the rule that `bytes` break. `bytes` must outlive the reader.
  static absl::StatusOr<StateReader> Open(absl::string_view bytes,
                                          const ArchiveLimits& limits = ArchiveLimits());
  StateReader Scoped(absl::string_view prefix) const;

  bool Has(absl::string_view name) const;
  // All tensors, by name, whatever the scope.
  std::vector<TensorInfo> Tensors() const;
  // Copies into `out`, whose dtype and shape must be equal to what is stored. Contiguous or not.
  absl::Status GetTensor(absl::string_view name, at::Tensor out) const;
  // A new tensor of whatever is stored.
  absl::StatusOr<at::Tensor> GetTensor(absl::string_view name) const;
  absl::StatusOr<std::vector<int64_t>> GetInts(absl::string_view name) const;
  absl::StatusOr<std::vector<uint64_t>> GetUnsigned(absl::string_view name) const;

  absl::StatusOr<int64_t> GetInteger(absl::string_view name) const;
  absl::StatusOr<double> GetNumber(absl::string_view name) const;
  absl::StatusOr<std::string> GetText(absl::string_view name) const;

 private:
  struct Contents;
  StateReader(std::shared_ptr<const Contents> contents, std::string prefix);
  std::shared_ptr<const Contents> contents_;
  std::string prefix_;
};

}  // namespace engram::strategies
