// A model as a file: what Checkpoints.Export sends and Checkpoints.Import reads. The network is
// written by strategies/ (strategies/api/network_export.h); here it gets the names that belong to
// its numbers, and finds them again.
//
// Metadata (of safetensors; extra files of TorchScript): "model", "model_version", "labels" (JSON
// array, the order of the outputs), "spec" (ModelSpec as JSON, without labels) and, with a head
// a task, "tasks" (JSON object, the labels of each head).
//
// Threading: free functions without state.
// Failure: MakeModelFile FAILED_PRECONDITION naming the strategies when the answer is no network of
//   the format; CompleteImport INVALID_ARGUMENT naming what the file lacks. The bytes that
//   CompleteImport reads are a client's: tensors are left to those who check them.
// Bounds: a file of the size of the network; 1 MiB of metadata are read.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/checkpoints.pb.h"
#include "engram/v1/model.pb.h"
#include "server/model_runtime.h"

namespace engram::server {

// Of what `served` answers with; `spec` is the one that was in force. Leaves header.checkpoint to
// the caller.
absl::StatusOr<ModelFile> MakeModelFile(const std::string& model, const v1::ModelSpec& spec,
                                        const Served& served, v1::ExportRequest::Format format);

// Makes a request to create a model of the file in `request->weights()`: scope STRICT, and what its
// spec lacks (all of it, or its labels) from the metadata.
absl::Status CompleteImport(v1::CreateModelRequest* request);

}  // namespace engram::server
