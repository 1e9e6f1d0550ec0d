// What the parts of a CreateModelFromWeights or an Import come to: a request to create a model,
// with its file whole, or the reason why there is none.
//
// Threading: one thread at a time.
// Ownership: `all_bytes` are shared, since the file may outlive the service.
// Failure: INVALID_ARGUMENT for a part out of place, RESOURCE_EXHAUSTED beyond `bytes_max`,
//   DATA_LOSS END_MISMATCH for another length or CRC-32 than the end record says; then what the
//   file of an Import lacks (model_file.h). After one of them nothing more may be taken.
// Bounds: `bytes_max` for all uploads together, until Drop.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/model.pb.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/rpc_table.h"

namespace engram::server {

// Bytes of files on their way in, over all streams.
using WeightsBytes = std::shared_ptr<std::atomic<int64_t>>;

class WeightsUpload {
 public:
  // `rpc` is one of the two: their parts differ in form only.
  WeightsUpload(Rpc rpc, WeightsBytes all_bytes);
  ~WeightsUpload() { Drop(); }
  WeightsUpload(const WeightsUpload&) = delete;
  WeightsUpload& operator=(const WeightsUpload&) = delete;

  // The next frame. True: it was the end record, and Complete comes next.
  absl::StatusOr<bool> Take(const grpc::ByteBuffer& frame, int64_t bytes_max);
  // Checks the whole file against the end record, and completes the request from it. Takes as long
  // as the file's checksum.
  absl::Status Complete();

  Rpc rpc() const;
  const v1::CreateModelRequest& request() const { return request_; }
  // Lets go of the request and gives its bytes back.
  void Drop();

 private:
  struct Form;
  static const Form kFromWeights;
  static const Form kImport;

  absl::Status TakeCreate(v1::CreateModelRequest* create);
  absl::Status TakeChunk(const std::string& chunk, int64_t bytes_max);
  absl::Status TakePart(v1::CreateModelFromWeightsRequest* part, int64_t bytes_max);

  const Form& form_;
  const WeightsBytes all_bytes_;
  int64_t parts_ = 0;
  int64_t reserved_ = 0;
  v1::CreateModelRequest request_;
  v1::CreateModelFromWeightsRequest::End end_;
};

}  // namespace engram::server
