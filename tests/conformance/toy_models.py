"""Models with something to predict, taught through engram.v1; a row is of its largest value."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import numpy as np
from engram.v1 import (
    checkpoints_pb2,
    checkpoints_pb2_grpc,
    example_pb2,
    learning_pb2,
    learning_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    prediction_pb2,
    prediction_pb2_grpc,
)

FEATURES = 4
CLASSES = 3
NUMBERS = (100, 101, 102)
TEXTS = ("ant", "bee", "cat")
PATIENCE_SECONDS = 30


@dataclass
class Answer:
    """What engram.v1 says of some rows."""

    version: int
    labels: list[int | str]
    scores: np.ndarray


def rows(count: int, seed: int = 1) -> np.ndarray:
    """Rows in [0, 1) whose largest among the first CLASSES values says the class."""
    return np.random.default_rng(seed).random((count, FEATURES), dtype=np.float32)


class Toy:
    """One model on the server behind `channel`, created with the first rows it learns."""

    def __init__(
        self,
        channel: grpc.Channel,
        name: str,
        labels: tuple[int, ...] | tuple[str, ...],
        spec: model_pb2.ModelSpec | None = None,
    ) -> None:
        self.name = name
        self._labels = labels
        self._sequence = 0
        self._channel = channel
        spec = spec or model_pb2.ModelSpec()
        spec.feature_count = FEATURES
        spec.held_out_fraction = 0
        model_pb2_grpc.ModelsStub(channel).CreateModel(
            model_pb2.CreateModelRequest(name=name, spec=spec), timeout=PATIENCE_SECONDS
        )

    def learn(self, features: np.ndarray) -> int:
        """Learns the rows; returns the version that has."""
        self._sequence += 1
        request = learning_pb2.LearnBatchRequest(
            model=self.name, producer="toy", producer_sequence=self._sequence
        )
        for row in features:
            label = self._labels[int(row[:CLASSES].argmax())]
            request.examples.add(
                features=example_pb2.Features(dense=row.astype("<f4").tobytes()),
                label=example_pb2.Label(text=label)
                if isinstance(label, str)
                else example_pb2.Label(number=label),
            )
        learning = learning_pb2_grpc.LearningStub(self._channel)
        learning.LearnBatch(request, timeout=PATIENCE_SECONDS)
        reply = learning.WaitApplied(
            learning_pb2.WaitAppliedRequest(model=self.name), timeout=PATIENCE_SECONDS
        )
        return int(reply.applied_sequence)

    def mark_boundary(self, next_task: str) -> None:
        """Ends the task; what comes then belongs to `next_task`."""
        self._sequence += 1
        learning_pb2_grpc.LearningStub(self._channel).MarkBoundary(
            learning_pb2.MarkBoundaryRequest(
                model=self.name,
                producer="toy",
                producer_sequence=self._sequence,
                boundary=learning_pb2.Boundary(next_task=next_task),
            ),
            timeout=PATIENCE_SECONDS,
        )

    def keep(self, label: str) -> int:
        """Takes a checkpoint; returns the version that answers for it from now on."""
        reply = checkpoints_pb2_grpc.CheckpointsStub(self._channel).CreateCheckpoint(
            checkpoints_pb2.CreateCheckpointRequest(model=self.name, label=label),
            timeout=PATIENCE_SECONDS,
        )
        return int(reply.applied_sequence)

    def predict(self, features: np.ndarray, version: int = 0, task: str = "") -> Answer:
        """The same rows through engram.v1."""
        reply = prediction_pb2_grpc.PredictionStub(self._channel).Predict(
            prediction_pb2.PredictRequest(
                model=self.name,
                features=example_pb2.Features(dense=features.astype("<f4").tobytes()),
                version=version,
                task=task,
            ),
            timeout=PATIENCE_SECONDS,
        )
        labels: list[int | str] = [
            row.label.text if row.label.HasField("text") else row.label.number
            for row in reply.predictions
        ]
        scores = np.array([row.scores for row in reply.predictions], dtype=np.float32)
        return Answer(int(reply.model_version), labels, scores)
