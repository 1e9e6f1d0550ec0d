// A described network as a TorchScript module (api/network_export.h): a program in PyTorch's own
// subset of Python, compiled and saved by LibTorch. Nothing here reads one.
//
// Threading: free function.
// Failure: c10::Error (our bug), which the caller turns into INTERNAL.
// Bounds: tensors that several heads share are written once.
#pragma once

#include <string>

#include "strategies/api/network_export.h"
#include "strategies/core/network_export.h"

namespace engram::strategies {

std::string WriteTorchScript(const DescribedNetwork& network, const ExportOptions& options);

}  // namespace engram::strategies
