"""Every unary call of both clients: its method, its request, its reply, and whether it may repeat.

Reads and whatever carries a producer sequence are repeated after UNAVAILABLE; calls that would act
twice (create, delete, roll back) only when the server asked for it, which it does before any
effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from engram.v1 import (
    admin_pb2,
    checkpoints_pb2,
    evaluation_pb2,
    learning_pb2,
    model_pb2,
    prediction_pb2,
)

Reply = TypeVar("Reply", bound=Message)

# Of a call that does not wait for training.
_SECONDS = 30.0
# Of one that waits for the trainer's next cut, for a restored model, or for a file on its way.
_TRAINER_SECONDS = 120.0
FILE_SECONDS = 600.0
LEARN = "/engram.v1.Learning/Learn"
WATCH = "/engram.v1.Evaluation/WatchReport"
EXPORT = "/engram.v1.Checkpoints/Export"
IMPORT = "/engram.v1.Checkpoints/Import"


@dataclass(frozen=True, slots=True)
class UnaryCall(Generic[Reply]):
    """`seconds` is the deadline of each try."""

    method: str
    request: Message
    reply: type[Reply]
    repeatable: bool
    seconds: float = _SECONDS


def create_model(name: str, spec: Any) -> UnaryCall[model_pb2.Model]:
    request = model_pb2.CreateModelRequest(name=name, spec=spec)
    return UnaryCall("/engram.v1.Models/CreateModel", request, model_pb2.Model, False)


def get_model(name: str) -> UnaryCall[model_pb2.Model]:
    request = model_pb2.GetModelRequest(name=name)
    return UnaryCall("/engram.v1.Models/GetModel", request, model_pb2.Model, True)


def list_models() -> UnaryCall[model_pb2.ListModelsResponse]:
    request = model_pb2.ListModelsRequest()
    return UnaryCall("/engram.v1.Models/ListModels", request, model_pb2.ListModelsResponse, True)


def update_model(name: str, spec: Any, promote: bool) -> UnaryCall[model_pb2.UpdateModelResponse]:
    request = model_pb2.UpdateModelRequest(
        name=name, spec=None if promote else spec, promote=promote
    )
    return UnaryCall("/engram.v1.Models/UpdateModel", request, model_pb2.UpdateModelResponse, False)


def delete_model(name: str) -> UnaryCall[model_pb2.DeleteModelResponse]:
    request = model_pb2.DeleteModelRequest(name=name)
    return UnaryCall("/engram.v1.Models/DeleteModel", request, model_pb2.DeleteModelResponse, False)


def pause(name: str) -> UnaryCall[model_pb2.Model]:
    request = model_pb2.PauseTrainingRequest(name=name)
    return UnaryCall("/engram.v1.Models/PauseTraining", request, model_pb2.Model, True)


def resume(name: str) -> UnaryCall[model_pb2.Model]:
    request = model_pb2.ResumeTrainingRequest(name=name)
    return UnaryCall("/engram.v1.Models/ResumeTraining", request, model_pb2.Model, True)


def mark_boundary(
    request: learning_pb2.MarkBoundaryRequest,
) -> UnaryCall[learning_pb2.MarkBoundaryResponse]:
    return UnaryCall(
        "/engram.v1.Learning/MarkBoundary", request, learning_pb2.MarkBoundaryResponse, True
    )


def wait_applied(
    model: str, sequence: int, evaluated: bool, seconds: float
) -> UnaryCall[learning_pb2.WaitAppliedResponse]:
    request = learning_pb2.WaitAppliedRequest(model=model, sequence=sequence, evaluated=evaluated)
    return UnaryCall(
        "/engram.v1.Learning/WaitApplied",
        request,
        learning_pb2.WaitAppliedResponse,
        True,
        seconds,
    )


def erase(
    request: learning_pb2.EraseRequest, seconds: float
) -> UnaryCall[learning_pb2.EraseResponse]:
    return UnaryCall(
        "/engram.v1.Learning/Erase", request, learning_pb2.EraseResponse, True, seconds
    )


def predict(
    request: prediction_pb2.PredictRequest, seconds: float
) -> UnaryCall[prediction_pb2.PredictResponse]:
    return UnaryCall(
        "/engram.v1.Prediction/Predict", request, prediction_pb2.PredictResponse, True, seconds
    )


def evaluate(
    request: evaluation_pb2.EvaluateRequest,
) -> UnaryCall[evaluation_pb2.EvaluateResponse]:
    return UnaryCall(
        "/engram.v1.Evaluation/Evaluate", request, evaluation_pb2.EvaluateResponse, True
    )


def report(model: str) -> UnaryCall[evaluation_pb2.Report]:
    request = evaluation_pb2.GetReportRequest(model=model)
    return UnaryCall("/engram.v1.Evaluation/GetReport", request, evaluation_pb2.Report, True)


def create_checkpoint(
    model: str, label: str, min_applied_sequence: int
) -> UnaryCall[checkpoints_pb2.Checkpoint]:
    request = checkpoints_pb2.CreateCheckpointRequest(
        model=model, label=label, min_applied_sequence=min_applied_sequence
    )
    return UnaryCall(
        "/engram.v1.Checkpoints/CreateCheckpoint",
        request,
        checkpoints_pb2.Checkpoint,
        False,
        _TRAINER_SECONDS,
    )


def list_checkpoints(model: str) -> UnaryCall[checkpoints_pb2.ListCheckpointsResponse]:
    request = checkpoints_pb2.ListCheckpointsRequest(model=model)
    return UnaryCall(
        "/engram.v1.Checkpoints/ListCheckpoints",
        request,
        checkpoints_pb2.ListCheckpointsResponse,
        True,
    )


def get_checkpoint(model: str, checkpoint: str) -> UnaryCall[checkpoints_pb2.Checkpoint]:
    request = checkpoints_pb2.GetCheckpointRequest(model=model, id=checkpoint)
    return UnaryCall(
        "/engram.v1.Checkpoints/GetCheckpoint", request, checkpoints_pb2.Checkpoint, True
    )


def delete_checkpoint(
    model: str, checkpoint: str
) -> UnaryCall[checkpoints_pb2.DeleteCheckpointResponse]:
    request = checkpoints_pb2.DeleteCheckpointRequest(model=model, id=checkpoint)
    return UnaryCall(
        "/engram.v1.Checkpoints/DeleteCheckpoint",
        request,
        checkpoints_pb2.DeleteCheckpointResponse,
        False,
    )


def rollback(
    model: str, checkpoint: str, dry_run: bool, expected_current_version: int
) -> UnaryCall[checkpoints_pb2.RollbackResponse]:
    request = checkpoints_pb2.RollbackRequest(
        model=model,
        checkpoint=checkpoint,
        dry_run=dry_run,
        expected_current_version=expected_current_version,
    )
    return UnaryCall(
        "/engram.v1.Checkpoints/Rollback",
        request,
        checkpoints_pb2.RollbackResponse,
        dry_run,
        _TRAINER_SECONDS,
    )


def server_info() -> UnaryCall[admin_pb2.ServerInfo]:
    request = admin_pb2.GetServerInfoRequest()
    return UnaryCall("/engram.v1.Admin/GetServerInfo", request, admin_pb2.ServerInfo, True)


def strategies() -> UnaryCall[admin_pb2.ListStrategiesResponse]:
    request = admin_pb2.ListStrategiesRequest()
    return UnaryCall(
        "/engram.v1.Admin/ListStrategies", request, admin_pb2.ListStrategiesResponse, True
    )


def limits() -> UnaryCall[admin_pb2.GetLimitsResponse]:
    request = admin_pb2.GetLimitsRequest()
    return UnaryCall("/engram.v1.Admin/GetLimits", request, admin_pb2.GetLimitsResponse, True)
