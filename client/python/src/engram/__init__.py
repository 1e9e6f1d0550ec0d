"""Client of Engram, the server for models that never stop learning.

Client and AsyncClient speak to it; engram.sklearn and engram.river put it behind the verbs of those
libraries; engram.v1 has the protobuf messages.
"""

from engram._requests import model_spec
from engram._retry import RetryOptions
from engram.aio import AsyncClient
from engram.aio_learn import AsyncLearnStream
from engram.client import Client
from engram.errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    DataLossError,
    DeadlineExceededError,
    EngramError,
    FailedPreconditionError,
    InternalError,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    ResourceExhaustedError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
    UnknownError,
)
from engram.examples import Example, Label
from engram.learn import LearnStream
from engram.results import Ack, ExportedModel, LearnSummary, Prediction, RejectedError, Rejection

__version__ = "0.1.0"

__all__ = [
    "AbortedError",
    "Ack",
    "AlreadyExistsError",
    "AsyncClient",
    "AsyncLearnStream",
    "CancelledError",
    "Client",
    "DataLossError",
    "DeadlineExceededError",
    "EngramError",
    "Example",
    "ExportedModel",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "Label",
    "LearnStream",
    "LearnSummary",
    "NotFoundError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "Prediction",
    "RejectedError",
    "Rejection",
    "ResourceExhaustedError",
    "RetryOptions",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "UnknownError",
    "model_spec",
]
