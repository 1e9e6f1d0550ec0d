"""What a failed call raises: the status code, the message, and google.rpc details, unpacked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2

_DETAILS_KEY = "grpc-status-details-bin"
_KNOWN_DETAILS: tuple[type[Message], ...] = (
    error_details_pb2.BadRequest,
    error_details_pb2.ErrorInfo,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
    error_details_pb2.ResourceInfo,
    error_details_pb2.RetryInfo,
)
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class EngramError(Exception):
    """A call that failed. Subclasses, one a status code, let `except` choose.

    code: grpc.StatusCode. message: what, limit, value, fix, in the server's words.
    details: google.rpc messages (BadRequest, RetryInfo ...); one of an unknown type stays an Any.
    """

    def __init__(
        self, code: grpc.StatusCode, message: str, details: Iterable[Message] = ()
    ) -> None:
        super().__init__(code, message, tuple(details))
        self.code = code
        self.message = message
        self.details = tuple(details)

    def __str__(self) -> str:
        reason = f" [{self.reason}]" if self.reason else ""
        return f"{self.code.name}: {self.message}{reason}"

    @property
    def reason(self) -> str:
        """ErrorInfo.reason: SEQUENCE_GAP, STALE_EPOCH, VERSION_CHANGED ...; "" without one."""
        info = self._detail(error_details_pb2.ErrorInfo)
        return "" if info is None else str(info.reason)

    @property
    def metadata(self) -> dict[str, str]:
        """ErrorInfo.metadata, as expectedSequence of a gap; empty without one."""
        info = self._detail(error_details_pb2.ErrorInfo)
        return {} if info is None else dict(info.metadata)

    @property
    def retry_delay_seconds(self) -> float | None:
        """RetryInfo: how long the server asks to wait. None: it did not ask for a repeat."""
        retry = self._detail(error_details_pb2.RetryInfo)
        if retry is None:
            return None
        return float(retry.retry_delay.seconds) + float(retry.retry_delay.nanos) / 1e9

    @property
    def field_violations(self) -> dict[str, str]:
        """BadRequest: field path -> reason; empty without one."""
        bad = self._detail(error_details_pb2.BadRequest)
        violations = () if bad is None else bad.field_violations
        return {each.field: each.description for each in violations}

    def _detail(self, kind: type[Message]) -> Any:
        return next((each for each in self.details if isinstance(each, kind)), None)


class CancelledError(EngramError):
    """CANCELLED: this side or the server ended the call."""


class UnknownError(EngramError):
    """UNKNOWN: a status that says nothing."""


class InvalidArgumentError(EngramError):
    """INVALID_ARGUMENT: a bad tensor, label, name or setting; see field_violations."""


class DeadlineExceededError(EngramError):
    """DEADLINE_EXCEEDED: not done in time; of a wait, the message says how far it got."""


class NotFoundError(EngramError):
    """NOT_FOUND: no such model, version, task or checkpoint."""


class AlreadyExistsError(EngramError):
    """ALREADY_EXISTS: the name is taken, or a producer sequence came again with other content."""


class PermissionDeniedError(EngramError):
    """PERMISSION_DENIED: the token's role may not call this."""


class ResourceExhaustedError(EngramError):
    """RESOURCE_EXHAUSTED: a queue, quota, disk or class budget is full."""


class FailedPreconditionError(EngramError):
    """FAILED_PRECONDITION: the model is in a state that does not allow it."""


class AbortedError(EngramError):
    """ABORTED: a gap, a stale epoch, a version that changed meanwhile; see reason."""


class OutOfRangeError(EngramError):
    """OUT_OF_RANGE: a sequence that can never be."""


class UnimplementedError(EngramError):
    """UNIMPLEMENTED: this server has no such call; it is older than the client."""


class InternalError(EngramError):
    """INTERNAL: an error of the server, or bytes on the way that were not what was sent."""


class UnavailableError(EngramError):
    """UNAVAILABLE: not reachable, starting, or draining, and it stayed so while repeats went on."""


class DataLossError(EngramError):
    """DATA_LOSS: stored state fails its checksum, or the server holds less than it acked."""


class UnauthenticatedError(EngramError):
    """UNAUTHENTICATED: no token, or one that the server does not know."""


_CLASSES: dict[grpc.StatusCode, type[EngramError]] = {
    grpc.StatusCode.CANCELLED: CancelledError,
    grpc.StatusCode.UNKNOWN: UnknownError,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.ALREADY_EXISTS: AlreadyExistsError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.ABORTED: AbortedError,
    grpc.StatusCode.OUT_OF_RANGE: OutOfRangeError,
    grpc.StatusCode.UNIMPLEMENTED: UnimplementedError,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DATA_LOSS: DataLossError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
}


def error_of(code: grpc.StatusCode, message: str, details: Iterable[Message] = ()) -> EngramError:
    """The exception of a status code."""
    return _CLASSES.get(code, UnknownError)(code, message, details)


def from_status(status: status_pb2.Status) -> EngramError:
    """Of a google.rpc.Status, as a rejected message carries it."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    return error_of(code, status.message, [_unpack(each) for each in status.details])


def from_rpc_error(error: Any) -> EngramError:
    """Of what gRPC raises, sync or asyncio. The details travel in the trailing metadata."""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS_KEY:
            try:
                rich = status_pb2.Status.FromString(value)
            except DecodeError:  # somebody between us and the server wrote it
                break
            details = [_unpack(each) for each in rich.details]
            return error_of(error.code(), error.details() or "", details)
    return error_of(error.code(), error.details() or "")


def _unpack(packed: any_pb2.Any) -> Message:
    for kind in _KNOWN_DETAILS:
        if packed.TypeName() == kind.DESCRIPTOR.full_name:
            detail = kind()
            try:
                packed.Unpack(detail)
            except DecodeError:
                return packed
            return detail
    return packed
