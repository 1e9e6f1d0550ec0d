// The services of engram.v1 and of the Open Inference Protocol, each in its own *_service.cc, all
// on the raw callback API.
//
// Threading: gRPC's callback threads, about one a core: no handler blocks.
// Ownership: `edge` outlives the service; the service outlives the gRPC server it is registered
// with. Failure: statuses of server/errors.h.
#pragma once

#include <memory>

#include "grpcpp/impl/service_type.h"
#include "server/edge.h"

namespace engram::server {

std::unique_ptr<grpc::Service> MakeModelsService(const Edge& edge);
std::unique_ptr<grpc::Service> MakeLearningService(const Edge& edge);
std::unique_ptr<grpc::Service> MakePredictionService(const Edge& edge);
std::unique_ptr<grpc::Service> MakeEvaluationService(const Edge& edge);
std::unique_ptr<grpc::Service> MakeCheckpointsService(const Edge& edge);
std::unique_ptr<grpc::Service> MakeAdminService(const Edge& edge);
std::unique_ptr<grpc::Service> MakeInferenceService(const Edge& edge);

}  // namespace engram::server
