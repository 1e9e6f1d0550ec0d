#include "server/weights_upload.h"

#include <zlib.h>

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engram/v1/checkpoints.pb.h"
#include "server/byte_buffer_messages.h"
#include "server/errors.h"
#include "server/model_file.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using Part = v1::CreateModelFromWeightsRequest;

constexpr std::chrono::milliseconds kRetryWhenOthersAreDone{1000};

// Into the form of the other rpc's parts.
bool ParseImport(const grpc::ByteBuffer& frame, Part* part) {
  v1::ImportRequest import;
  if (!ParseMessage(frame, &import)) return false;
  if (import.has_header()) {
    part->mutable_create()->mutable_name()->swap(*import.mutable_header()->mutable_name());
    if (import.header().has_spec()) {
      part->mutable_create()->mutable_spec()->Swap(import.mutable_header()->mutable_spec());
    }
  } else if (import.has_chunk()) {
    part->mutable_chunk()->swap(*import.mutable_chunk());
  } else if (import.has_end()) {
    part->mutable_end()->Swap(import.mutable_end());
  }
  return true;
}

}  // namespace

struct WeightsUpload::Form {
  Rpc rpc;
  const char* message;  // what a frame is
  const char* first;    // the part that comes first
  bool (*parse)(const grpc::ByteBuffer& frame, Part* part);
  absl::Status (*complete)(v1::CreateModelRequest* request);
};

const WeightsUpload::Form WeightsUpload::kFromWeights = {
    Rpc::kCreateModelFromWeights, "CreateModelFromWeightsRequest", "create",
    [](const grpc::ByteBuffer& frame, Part* part) { return ParseMessage(frame, part); },
    [](v1::CreateModelRequest*) { return absl::OkStatus(); }};
const WeightsUpload::Form WeightsUpload::kImport = {Rpc::kImport, "ImportRequest", "header",
                                                    ParseImport, CompleteImport};

WeightsUpload::WeightsUpload(Rpc rpc, WeightsBytes all_bytes)
    : form_(rpc == Rpc::kImport ? kImport : kFromWeights), all_bytes_(std::move(all_bytes)) {}

Rpc WeightsUpload::rpc() const { return form_.rpc; }

void WeightsUpload::Drop() {
  request_.Clear();
  all_bytes_->fetch_sub(std::exchange(reserved_, 0));
}

absl::StatusOr<bool> WeightsUpload::Take(const grpc::ByteBuffer& frame, int64_t bytes_max) {
  ++parts_;
  Part part;
  if (!form_.parse(frame, &part)) {
    return absl::InvalidArgumentError(absl::StrCat("message ", parts_, " is not a valid ",
                                                   form_.message, " (", frame.Length(), " bytes)"));
  }
  ENGRAM_RETURN_IF_ERROR(TakePart(&part, bytes_max));
  return part.has_end();
}

absl::Status WeightsUpload::TakePart(Part* part, int64_t bytes_max) {
  const std::string field = absl::StrCat("message ", parts_);
  if (parts_ == 1 && !part->has_create()) {
    return BadField(field, absl::StrCat("expected `", form_.first, "` first"));
  }
  switch (part->part_case()) {
    case Part::kCreate:
      if (parts_ > 1) {
        return BadField(field, absl::StrCat("a second `", form_.first, "` in one stream"));
      }
      return TakeCreate(part->mutable_create());
    case Part::kChunk:
      return TakeChunk(part->chunk(), bytes_max);
    case Part::kEnd:
      end_ = part->end();
      return absl::OkStatus();
    default:
      return BadField(field, absl::StrCat("neither ", form_.first, ", chunk nor end"));
  }
}

absl::Status WeightsUpload::TakeCreate(v1::CreateModelRequest* create) {
  ENGRAM_RETURN_IF_ERROR(CheckEnums(*create));
  if (!create->weights().safetensors().empty()) {
    return BadField("create.weights.safetensors", "must be empty: the file follows in chunks");
  }
  request_.Swap(create);
  request_.mutable_weights();
  return absl::OkStatus();
}

absl::Status WeightsUpload::TakeChunk(const std::string& chunk, int64_t bytes_max) {
  const auto size = static_cast<int64_t>(chunk.size());
  if (reserved_ + size > bytes_max) {
    return OverLimit("weights_bytes",
                     absl::StrCat("weights: more than ", bytes_max, " bytes, the limit"),
                     std::chrono::milliseconds(0));
  }
  reserved_ += size;
  if (all_bytes_->fetch_add(size) + size > bytes_max) {
    return OverLimit("weights_bytes",
                     absl::StrCat("files on their way in exceed ", bytes_max, " bytes together"),
                     kRetryWhenOthersAreDone);
  }
  request_.mutable_weights()->mutable_safetensors()->append(chunk);
  return absl::OkStatus();
}

absl::Status WeightsUpload::Complete() {
  const std::string& file = request_.weights().safetensors();
  const auto size = static_cast<int64_t>(file.size());
  if (end_.bytes() != size) {
    return WithReason(
        absl::StatusCode::kDataLoss, "END_MISMATCH",
        absl::StrCat("client sent ", end_.bytes(), " bytes of weights, server received ", size));
  }
  const auto crc = static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(file.data()), file.size()));
  if (end_.crc32() != crc) {
    return WithReason(absl::StatusCode::kDataLoss, "END_MISMATCH",
                      absl::StrCat("client sent weights of CRC-32 ", absl::Hex(end_.crc32()),
                                   ", server received ", absl::Hex(crc)));
  }
  return form_.complete(&request_);
}

}  // namespace engram::server
