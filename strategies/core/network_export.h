// What a snapshot answers with, described for a file (api/network_export.h), and the safetensors
// file of it.
//
// Threading: free functions over a snapshot that lives. Ownership: programs lend its tensors.
// Failure: FAILED_PRECONDITION for an answer that the format cannot hold.
// Bounds: kHeadsMax heads.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "strategies/api/network_export.h"
#include "strategies/core/unit_map.h"
#include "strategies/models/network.h"

namespace engram::strategies {

constexpr size_t kHeadsMax = 1000;

struct DescribedNetwork {
  NetworkOutputs outputs;
  // One of the only head, or one a head of `outputs`; each answers with the logits of its classes.
  std::vector<NetworkProgram> programs;
};

NetworkOutputs OutputsOf(const UnitMap& units);

absl::StatusOr<DescribedNetwork> DescribeNetwork(const ForwardPass& pass, const UnitMap& units);

absl::StatusOr<std::string> WriteSafetensors(const DescribedNetwork& network,
                                             const ExportOptions& options);

}  // namespace engram::strategies
