"""Teaches models over gRPC and asks what they know: what the page is compared with."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence

import grpc
from engram.v1 import (
    checkpoints_pb2,
    checkpoints_pb2_grpc,
    evaluation_pb2,
    evaluation_pb2_grpc,
    example_pb2,
    learning_pb2,
    learning_pb2_grpc,
    model_pb2,
    model_pb2_grpc,
    strategy_pb2,
    training_pb2,
)

_PATIENCE_SECONDS = 60

PETS = ("cat", "dog")
TREES = ("oak", "fir")


def small_spec(memory_size: int) -> model_pb2.ModelSpec:
    """Replays, learns by example count alone (no timer), and holds out what it is sent as such."""
    replay = strategy_pb2.ExperienceReplay(memory_size=memory_size)
    return model_pb2.ModelSpec(
        feature_count=2,
        mlp=training_pb2.Mlp(hidden=[16]),
        strategies=[strategy_pb2.StrategySpec(experience_replay=replay)],
        held_out_fraction=0,
        first_task="pets",
    )


class Teacher:
    """One producer of one model of two features; labels are texts."""

    def __init__(
        self, address: str, model: str, spec: model_pb2.ModelSpec, token: str = ""
    ) -> None:
        self.model = model
        self._channel = grpc.insecure_channel(address)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._sequence = 0
        self._random = random.Random(model)
        self._models = model_pb2_grpc.ModelsStub(self._channel)
        self._learning = learning_pb2_grpc.LearningStub(self._channel)
        self._evaluation = evaluation_pb2_grpc.EvaluationStub(self._channel)
        self._checkpoints = checkpoints_pb2_grpc.CheckpointsStub(self._channel)
        request = model_pb2.CreateModelRequest(name=model, spec=spec)
        self._models.CreateModel(request, **self._call())

    def close(self) -> None:
        self._channel.close()

    def delete(self) -> None:
        """The model, with all that it knew; its name may be used again."""
        self._models.DeleteModel(model_pb2.DeleteModelRequest(name=self.model), **self._call())

    def learn(self, labels: Sequence[str], rows: int, held_out: int = 0) -> None:
        """`rows` TRAIN and `held_out` HELD_OUT examples of each label, around its own place."""
        splits = [example_pb2.TRAIN] * rows + [example_pb2.HELD_OUT] * held_out
        examples = [self._example(label, split) for split in splits for label in labels]
        self._random.shuffle(examples)
        self._send(examples)

    def hold_out(self, labels_of_tasks: Mapping[str, str]) -> None:
        """A HELD_OUT example of each task, which may come later."""
        self._send(
            [
                self._example(label, example_pb2.HELD_OUT, task)
                for task, label in labels_of_tasks.items()
            ]
        )

    def end_task(self, next_task: str = "") -> None:
        boundary = learning_pb2.Boundary(next_task=next_task)
        self._learning.MarkBoundary(
            learning_pb2.MarkBoundaryRequest(
                model=self.model,
                producer="teacher",
                producer_sequence=self._next(),
                boundary=boundary,
            ),
            **self._call(),
        )

    def settle(self) -> None:
        """Waits until everything is learned and every boundary has its row of R."""
        request = learning_pb2.WaitAppliedRequest(model=self.model, evaluated=True)
        end = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                self._learning.WaitApplied(request, **self._call())
                return
            except grpc.RpcError as error:
                # The first call after a restart may go into the connection to the old server.
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > end:
                    raise

    def keep(self, label: str) -> str:
        """A named checkpoint; returns its id."""
        request = checkpoints_pb2.CreateCheckpointRequest(model=self.model, label=label)
        return self._checkpoints.CreateCheckpoint(request, **self._call()).id

    def checkpoints(self) -> list[checkpoints_pb2.Checkpoint]:
        request = checkpoints_pb2.ListCheckpointsRequest(model=self.model)
        return list(self._checkpoints.ListCheckpoints(request, **self._call()).checkpoints)

    def report(self) -> evaluation_pb2.Report:
        request = evaluation_pb2.GetReportRequest(model=self.model)
        return self._evaluation.GetReport(request, **self._call())

    def version(self) -> int:
        request = model_pb2.GetModelRequest(name=self.model)
        return self._models.GetModel(request, **self._call()).version

    def _call(self) -> dict[str, object]:
        return {"timeout": _PATIENCE_SECONDS, "metadata": self._metadata}

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def _send(self, examples: Sequence[example_pb2.Example]) -> None:
        for first in range(0, len(examples), 1000):
            self._learning.LearnBatch(
                learning_pb2.LearnBatchRequest(
                    model=self.model,
                    producer="teacher",
                    producer_sequence=self._next(),
                    examples=examples[first : first + 1000],
                ),
                **self._call(),
            )

    def _example(self, label: str, split: example_pb2.Split, task: str = "") -> example_pb2.Example:
        place = random.Random(label)
        values = [place.uniform(-3, 3) + self._random.gauss(0, 0.3) for _ in range(2)]
        return example_pb2.Example(
            features=example_pb2.Features(values=values),
            label=example_pb2.Label(text=label),
            split=split,
            task=task,
        )


def teach_two_tasks(teacher: Teacher) -> None:
    """Pets, then trees; birds come next."""
    teacher.learn(PETS, rows=120, held_out=20)
    teacher.end_task("trees")
    teacher.learn(TREES, rows=120, held_out=20)
    teacher.end_task("birds")
    teacher.settle()


def teach_with_checkpoint(teacher: Teacher) -> str:
    """Two tasks; a checkpoint between them, whose id is returned."""
    teacher.learn(PETS, rows=120, held_out=20)
    teacher.end_task("trees")
    teacher.settle()
    kept = teacher.keep("pets-only")
    teacher.learn(TREES, rows=120, held_out=20)
    teacher.end_task()
    teacher.settle()
    return kept
