"""A model of Engram behind the verbs of River; River itself is not needed.

model = EngramClassifier("127.0.0.1:7401", model="phishing", strategies="experience_replay")
for x, y in stream:
    metric.update(y, model.predict_one(x))
    model.learn_one(x, y)
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from engram._connection import Pem
from engram.client import Client
from engram.errors import FailedPreconditionError, NotFoundError
from engram.examples import Example, Label, from_label, to_whole
from engram.learn import LearnStream
from engram.results import LearnSummary, RejectedError

try:
    from river.base import Classifier
except ImportError:  # the verbs work alone; River's pipelines and metrics come with River

    class Classifier:  # type: ignore[no-redef]
        """Stands in for river.base.Classifier."""


# Feature names are whatever can be a key.
Features: TypeAlias = Mapping[Any, float]


class EngramClassifier(Classifier):  # type: ignore[misc]
    """Learns on a server, an example at a time, and predicts from it.

    address, token, ca: as of engram.Client. model: its name at the server, used when it is there
    and else made of hidden, strategies, learning_rate and spec (further fields of ModelSpec); None:
    one of its own. features: names in the order of the model's inputs; None: those of the first
    example, sorted. A feature that an example lacks is 0; one that the model does not have is left
    out, with a warning. read_own_writes: predictions wait until what was learned here is applied;
    else they are of the model as it is served, which lags by milliseconds. producer: one live
    stream a name and model; None: one of this object's own.

    Examples go over one open stream and are durable soon after; flush() waits for that, close()
    ends the stream. What the server refuses raises RejectedError in the next call. Labels are int or
    str; bools and whole floats travel as int and come back as what they were.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:7401",
        model: str | None = None,
        *,
        features: Sequence[Any] | None = None,
        token: str | None = None,
        ca: Pem | None = None,
        producer: str | None = None,
        hidden: Sequence[int] = (256, 256),
        strategies: str | Iterable[str | Mapping[str, Any]] = "",
        learning_rate: float | None = None,
        spec: Mapping[str, Any] | None = None,
        read_own_writes: bool = True,
    ) -> None:
        self.address = address
        self.model = model
        self.features = features
        self.token = token
        self.ca = ca
        self.producer = producer
        self.hidden = hidden
        self.strategies = strategies
        self.learning_rate = learning_rate
        self.spec = spec
        self.read_own_writes = read_own_writes
        self._forget()

    def _forget(self) -> None:
        self._name = ""
        self._names: list[Any] = []
        self._originals: dict[Label, Any] = {}
        self._classes = 0
        self._unflushed = False
        self._applied_wanted = 0
        self._rejections_told = 0
        self._connected: Client | None = None
        self._stream: LearnStream | None = None

    @property
    def _multiclass(self) -> bool:
        return True

    def learn_one(self, x: Features, y: Any) -> EngramClassifier:
        """Sends one example; blocks only while the stream's window is full."""
        if not self._name:
            self._open(x)
        if self._stream is None:
            self._stream = self._client().learn_stream(
                self._name, producer=self.producer or f"river-{uuid.uuid4()}"
            )
        label = to_whole(y)
        self._originals[label] = y
        self._stream.send(Example(self._row(x), label))
        self._unflushed = True
        self._tell_rejections(self._stream.summary)
        return self

    def predict_one(self, x: Features) -> Any:
        """The most likely label; None before the first example."""
        proba = self.predict_proba_one(x)
        return max(proba, key=lambda label: proba[label]) if proba else None

    def predict_proba_one(self, x: Features) -> dict[Any, float]:
        """Label -> probability; empty before the first example."""
        if not self._name and (self.model is None or not self._open(x, only_existing=True)):
            return {}
        if self.read_own_writes and self._unflushed:
            self.flush()
        row = self._row(x)
        while True:
            try:
                prediction = self._client().predict(
                    self._name,
                    row,
                    top_k=self._classes or None,
                    min_applied_sequence=self._applied_wanted,
                )
            except FailedPreconditionError:  # it has no class yet
                return {}
            # So many labels as there are scores, all from one reply.
            if self._classes == prediction.scores.shape[1]:
                total = sum(score for _, score in prediction.top[0])  # 1 but for float32
                return {
                    self._originals.get(label, label): score / total
                    for label, score in prediction.top[0]
                }
            self._classes = prediction.scores.shape[1]

    def boundary(self, next_task: str = "") -> EngramClassifier:
        """Ends the current task: the strategies consolidate what was learned."""
        if self._stream is None:
            raise ValueError("boundary: nothing was learned since the stream was opened")
        self._stream.boundary(next_task)
        self._unflushed = True
        return self

    def flush(self) -> EngramClassifier:
        """Waits until what was sent is durable."""
        if self._stream is not None:
            summary = self._stream.flush()
            self._unflushed = False
            self._applied_wanted = summary.durable_sequence
            self._tell_rejections(summary)
        return self

    def close(self) -> None:
        """Finishes the stream and ends the connection; the next call makes others."""
        stream, self._stream = self._stream, None
        client, self._connected = self._connected, None
        try:
            if stream is not None:
                self._tell_rejections(stream.finish())
        finally:
            if client is not None:
                client.close()

    def __enter__(self) -> EngramClassifier:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle speaks to the same model over a stream of its own."""
        self.flush()
        return {**self.__dict__, "_connected": None, "_stream": None}

    def _client(self) -> Client:
        if self._connected is None:
            self._connected = Client(self.address, token=self.token, ca=self.ca)
        return self._connected

    def _open(self, x: Features, only_existing: bool = False) -> bool:
        """False: there is no such model, and none was made."""
        self._names = sorted(x, key=str) if self.features is None else list(self.features)
        if self.model is not None:
            try:
                found = self._client().get_model(self.model)
            except NotFoundError:
                if only_existing:
                    return False
            else:
                if found.spec.feature_count != len(self._names):
                    raise ValueError(
                        f"features: model {self.model!r} has {found.spec.feature_count} inputs, "
                        f"got {len(self._names)} names; give them all in features="
                    )
                self._name = self.model
                for label in found.classes:
                    known = from_label(label)
                    if known is not None:
                        self._originals.setdefault(known, known)
                return True
        name = self.model or f"river-{uuid.uuid4()}"
        self._client().create_model(
            name,
            {"batch_size": 1, **(self.spec or {})},
            feature_count=len(self._names),
            hidden=list(self.hidden),
            strategies=self.strategies or (),
            learning_rate=self.learning_rate,
        )
        self._name = name
        return True

    def _row(self, x: Features) -> npt.NDArray[np.float32]:
        unknown = x.keys() - set(self._names)
        if unknown:
            warnings.warn(
                f"features that model {self._name!r} does not have are left out: "
                f"{', '.join(sorted(map(str, unknown)))}; it has those of features=, or of the "
                "first example",
                stacklevel=3,
            )
        return np.array([x.get(name, 0.0) for name in self._names], dtype=np.float32)

    def _tell_rejections(self, summary: LearnSummary) -> None:
        if summary.rejected_messages > self._rejections_told:
            self._rejections_told = summary.rejected_messages
            raise RejectedError(summary)
