// The frames of an Import or a CreateModelFromWeights, up to the learner that starts from the file;
// and a file of an Import under an end record that fits it, which mutated frames hardly ever have.
#include <zlib.h>

#include <atomic>
#include <memory>
#include <string>

#include "engram/v1/checkpoints.pb.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "server/model_file.h"
#include "server/spec_fields.h"
#include "server/spec_options.h"
#include "server/weights_upload.h"
#include "storage/base/status_macros.h"
#include "strategies/api/compute.h"
#include "strategies/api/learner.h"
#include "tests/fuzz/target.h"

namespace engram::fuzz {
namespace {

using absl::string_view;
using server::WeightsUpload;

constexpr int64_t kBytesMax = 1 << 16;
constexpr int64_t kParametersMax = 1 << 16;

grpc::ByteBuffer ToFrame(string_view bytes) {
  grpc::Slice slice(bytes.data(), bytes.size());
  return grpc::ByteBuffer(&slice, 1);
}

// Each frame follows its length, two bytes.
absl::StatusOr<string_view> TakeFrame(string_view* input) {
  if (input->size() < 2) return absl::OutOfRangeError("no frame");
  const size_t length = TakeChoice(input, 256) | TakeChoice(input, 256) << 8;
  const string_view frame = input->substr(0, length);
  input->remove_prefix(frame.size());
  return frame;
}

absl::Status TakeFrames(string_view input, WeightsUpload* upload) {
  bool is_end = false;
  while (!is_end) {
    ENGRAM_ASSIGN_OR_RETURN(const string_view frame, TakeFrame(&input));
    ENGRAM_ASSIGN_OR_RETURN(is_end, upload->Take(ToFrame(frame), kBytesMax));
    ENGRAM_CHECK(upload->request().weights().safetensors().size() <= kBytesMax);
  }
  return upload->Complete();
}

absl::Status TakeFile(string_view file, WeightsUpload* upload) {
  v1::ImportRequest part;
  part.mutable_header()->set_name("fuzz");
  ENGRAM_RETURN_IF_ERROR(upload->Take(ToFrame(part.SerializeAsString()), kBytesMax).status());
  part.set_chunk(std::string(file));
  ENGRAM_RETURN_IF_ERROR(upload->Take(ToFrame(part.SerializeAsString()), kBytesMax).status());
  part.mutable_end()->set_bytes(static_cast<int64_t>(file.size()));
  part.mutable_end()->set_crc32(static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(file.data()), file.size())));
  ENGRAM_RETURN_IF_ERROR(upload->Take(ToFrame(part.SerializeAsString()), kBytesMax).status());
  return upload->Complete();
}

// A learner that costs little to make: what a strategy holds may be far larger than the file.
bool IsSmall(const v1::ModelSpec& spec) {
  if (spec.has_tune()) return false;
  for (const v1::StrategySpec& strategy : spec.strategies()) {
    if (server::StrategyField(strategy)->name() != "finetune") return false;
  }
  int64_t parameters = 0;
  int64_t inputs = spec.feature_count();
  for (const int64_t units : spec.mlp().hidden()) {
    parameters += inputs * units;
    inputs = units;
    if (parameters > kParametersMax) return false;
  }
  return parameters + inputs * spec.labels_size() <= kParametersMax;
}

// The model that a request makes, as a file again; empty for one that is not made here.
absl::StatusOr<std::string> Export(const v1::CreateModelRequest& request) {
  ENGRAM_ASSIGN_OR_RETURN(v1::ModelSpec spec, server::CompleteSpec(request.spec()));
  if (!IsSmall(spec)) return "";
  server::SetWeightsOrigin(request.weights(), &spec);
  ENGRAM_ASSIGN_OR_RETURN(const auto learner,
                          strategies::MakeLearner(server::ToModelOptions(spec)));
  ENGRAM_RETURN_IF_ERROR(learner->StartFrom(
      server::ToPretrainedWeights(spec, request.weights().safetensors())));
  const auto snapshot = learner->TakeSnapshot(0);
  ENGRAM_CHECK(snapshot.ok());
  if ((*snapshot)->Outputs().classes.empty()) return "";
  const auto view = std::make_shared<server::StreamView>();
  view->labels.assign(spec.labels().begin(), spec.labels().end());
  view->tasks = {spec.first_task()};
  const server::Served served{*snapshot, view};
  const auto file = server::MakeModelFile("fuzz", spec, served, v1::ExportRequest::SAFETENSORS);
  ENGRAM_CHECK(file.ok());
  return file->bytes;
}

bool IsRefusal(const absl::Status& status) {
  return absl::IsInvalidArgument(status) || absl::IsDataLoss(status) ||
         absl::IsResourceExhausted(status) || absl::IsOutOfRange(status);
}

// What one import takes, its export brings to the next as it was.
void Run(string_view input) {
  const auto all_bytes = std::make_shared<std::atomic<int64_t>>(0);
  const size_t form = TakeChoice(&input, 3);
  WeightsUpload upload(form == 1 ? server::Rpc::kCreateModelFromWeights : server::Rpc::kImport,
                       all_bytes);
  const absl::Status taken = form == 2 ? TakeFile(input, &upload) : TakeFrames(input, &upload);
  ENGRAM_CHECK(taken.ok() || IsRefusal(taken));
  if (taken.ok()) {
    const absl::StatusOr<std::string> file = Export(upload.request());
    ENGRAM_CHECK(file.ok() || absl::IsInvalidArgument(file.status()));
    WeightsUpload again(server::Rpc::kImport, all_bytes);
    if (file.ok() && !file->empty() && file->size() <= kBytesMax / 2) {
      ENGRAM_CHECK(TakeFile(*file, &again).ok());
      ENGRAM_CHECK(*Export(again.request()) == *file);
    }
  }
  upload.Drop();
  ENGRAM_CHECK(all_bytes->load() == 0);
}

}  // namespace
}  // namespace engram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  static const bool ready = [] {
    engram::strategies::SetComputeThreads(1);
    engram::strategies::EnterComputeThread();
    return true;
  }();
  ENGRAM_CHECK(ready);
  engram::fuzz::Run(engram::fuzz::ToText(bytes, size));
  return 0;
}
