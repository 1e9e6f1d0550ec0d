"""What calls answer where the protobuf message would be awkward: acks, sums, predictions."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from engram.errors import EngramError, error_of
from engram.examples import Label, from_label
from engram.v1 import checkpoints_pb2, prediction_pb2


@dataclass(frozen=True, slots=True)
class Rejection:
    """A message that was not stored; the stream went on without it."""

    producer_sequence: int
    error: EngramError
    examples: int


@dataclass(frozen=True, slots=True)
class Ack:
    """Everything up to producer_sequence is durable or rejected.

    Sequences named durable and applied are the log's; examples counts what this ack settled.
    """

    producer_sequence: int
    durable_sequence: int
    applied_sequence: int
    examples: int
    rejections: tuple[Rejection, ...] = ()
    duplicates: int = 0


@dataclass(slots=True)
class LearnSummary:
    """Where a stream stands, or how it ended.

    producer_sequence: the last that is settled. accepted_examples: durable. skipped_messages: the
    server had them from an earlier run (first_sequence). duplicates: messages sent again that it
    had. rejections: the first 1 000 of rejected_messages.
    """

    producer: str
    epoch: int = 0
    producer_sequence: int = 0
    durable_sequence: int = 0
    applied_sequence: int = 0
    accepted_examples: int = 0
    rejected_examples: int = 0
    rejected_messages: int = 0
    skipped_messages: int = 0
    duplicates: int = 0
    reconnects: int = 0
    rejections: list[Rejection] = field(default_factory=list)


class RejectedError(EngramError):
    """Some messages of learn() were rejected; the rest is durable. `summary` says which; code and
    details are those of the first."""

    def __init__(self, summary: LearnSummary) -> None:
        first = summary.rejections[0]
        super().__init__(
            first.error.code,
            f"{summary.rejected_examples} examples in {summary.rejected_messages} messages were "
            f"rejected, {summary.accepted_examples} are durable; message "
            f"{first.producer_sequence}: {first.error.message}",
            first.error.details,
        )
        self.args = (summary,)  # what a pickle makes it of
        self.summary = summary


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """A checkpoint's network as a file for other programs: what is served, nothing that learning
    needs besides. labels: of the outputs, in their order."""

    content: bytes
    checkpoint: str
    model_version: int
    labels: tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class Prediction:
    """Of rows, in their order.

    labels: int64 or str; None (dtype object) while the model has no class. scores: softmax,
    float32 [rows, classes], columns as in Model.classes; [rows, 0] when not asked for. top: for
    each row the best (label, score)s, where top_k asked for them. tasks: what the model found for
    each row, where it infers tasks. model_version: the oldest that answered (many rows are asked in
    pieces, and the model may learn on between two).
    """

    labels: npt.NDArray[Any]
    scores: npt.NDArray[np.float32]
    top: tuple[tuple[tuple[Label, float], ...], ...]
    tasks: tuple[str | None, ...]
    model_version: int


def to_label_array(labels: Sequence[Label | None]) -> npt.NDArray[Any]:
    """int64 or str where all are; else object."""
    if labels and all(isinstance(label, int) for label in labels):
        return np.array(labels, dtype=np.int64)
    if labels and all(isinstance(label, str) for label in labels):
        return np.array(labels, dtype=np.str_)
    return np.array(labels, dtype=object)


def check_rows(
    request: prediction_pb2.PredictRequest, reply: prediction_pb2.PredictResponse
) -> prediction_pb2.PredictResponse:
    """Raises ValueError unless each row has its prediction: the server cuts the values into rows of
    its model's width, and 4 rows of 3 are 3 of 4 to it."""
    sent = request.features.shape[0] if request.features.shape else 1
    if len(reply.predictions) != sent:
        raise ValueError(
            f'rows: model "{request.model}" read {sent} rows as {len(reply.predictions)}: theirs is '
            "not its number of features (get_model(name).spec.feature_count)"
        )
    return reply


def to_prediction(replies: Sequence[prediction_pb2.PredictResponse]) -> Prediction:
    """One prediction of the pieces, which are at least one."""
    rows = [row for reply in replies for row in reply.predictions]
    width = max((len(row.scores) for row in rows), default=0)
    scores = np.zeros((len(rows), width), dtype=np.float32)
    for target, row in zip(scores, rows, strict=True):
        # A class that appeared between two pieces has no score in the first.
        target[: len(row.scores)] = row.scores
    return Prediction(
        labels=to_label_array([from_label(row.label) for row in rows]),
        scores=scores,
        top=tuple(tuple((_ranked(each), float(each.score)) for each in row.top) for row in rows),
        tasks=tuple(
            str(row.inferred_task) if row.HasField("inferred_task") else None for row in rows
        ),
        model_version=min(int(reply.model_version) for reply in replies),
    )


def _ranked(ranked: prediction_pb2.RankedLabel) -> Label:
    label = from_label(ranked.label)
    assert label is not None, "a ranked class has a label"
    return label


class ExportedParts:
    """The parts of an export, put together as they come."""

    def __init__(self) -> None:
        self._header = checkpoints_pb2.ExportResponse.Header()
        self._chunks: list[bytes] = []

    def add(self, part: checkpoints_pb2.ExportResponse) -> None:
        """First the header, then chunks in order."""
        if part.HasField("header"):
            self._header.CopyFrom(part.header)
        else:
            self._chunks.append(part.chunk)

    def model(self) -> ExportedModel:
        """Raises DataLossError unless what came is what the header announced."""
        content = b"".join(self._chunks)
        digest = hashlib.sha256(content).hexdigest()
        if digest != self._header.sha256:
            raise error_of(
                grpc.StatusCode.DATA_LOSS,
                f"export: expected {self._header.bytes} bytes of SHA-256 {self._header.sha256}, "
                f"got {len(content)} of {digest}; export it again",
            )
        labels = [from_label(label) for label in self._header.labels]
        return ExportedModel(
            content=content,
            checkpoint=str(self._header.checkpoint),
            model_version=int(self._header.model_version),
            labels=tuple(label for label in labels if label is not None),
        )
