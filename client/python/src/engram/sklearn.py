"""A model of Engram behind the verbs of scikit-learn; scikit-learn itself is not needed.

classifier = EngramClassifier("127.0.0.1:7401", model="digits", strategies="ewc")
classifier.partial_fit(x, y, classes=range(10))
classifier.score(x_test, y_test)
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from engram._connection import Pem
from engram.client import Client
from engram.errors import NotFoundError
from engram.examples import Example, Label, from_label, to_whole
from engram.results import Prediction

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_array, check_X_y, column_or_1d
except ImportError:  # the verbs work alone; pipelines and searches come with scikit-learn
    from engram._without_sklearn import (
        BaseEstimator,
        ClassifierMixin,
        NotFittedError,
        check_array,
        check_classification_targets,
        check_X_y,
        column_or_1d,
    )


class EngramClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Learns on a server, one task after the other, and predicts from it.

    address, token, ca, producer: as of engram.Client. model: its name at the server; None: one of
    its own for each estimator that is fitted. An existing model is used as it is; a new one is made
    of hidden, strategies, learning_rate and spec (further fields of ModelSpec). epochs: passes of
    fit over its rows. timeout: seconds that a call waits for what it sent to be learned.

    Labels are int or str; whole floats and bools travel as int and come back as what they were.
    """

    def __init__(
        self,
        address: str = "127.0.0.1:7401",
        model: str | None = None,
        *,
        token: str | None = None,
        ca: Pem | None = None,
        producer: str | None = None,
        hidden: Sequence[int] = (256, 256),
        strategies: str | Iterable[str | Mapping[str, Any]] = "",
        learning_rate: float | None = None,
        spec: Mapping[str, Any] | None = None,
        epochs: int = 1,
        timeout: float = 600.0,
    ) -> None:
        self.address = address
        self.model = model
        self.token = token
        self.ca = ca
        self.producer = producer
        self.hidden = hidden
        self.strategies = strategies
        self.learning_rate = learning_rate
        self.spec = spec
        self.epochs = epochs
        self.timeout = timeout

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike) -> EngramClassifier:
        """Begins anew: a model that this estimator made is deleted and made again. One that was
        there before is somebody's, and refused."""
        rows, labels = self._checked(X, y, first=True)
        classes = np.unique(labels)
        if classes.shape[0] < 2:
            raise ValueError(f"y: expected at least 2 classes, got one class, {classes[0]!r}")
        self._begin_anew()
        self._create(rows.shape[1], classes)
        for _ in range(self.epochs):
            self._learn(rows, labels, None)
        return self

    def partial_fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        classes: Iterable[Label] | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> EngramClassifier:
        """Learns on, with the model at the server or a new one. Returns when it is learned.

        classes: of the first call only, and not required: a new label adds a class. They come
        first in classes_, sorted. sample_weight: in (0, 100]; a row of weight 0 is left out.
        """
        first = not hasattr(self, "model_")
        rows, labels = self._checked(X, y, first)
        if first:
            self._open(rows.shape[1], None if classes is None else np.unique(list(classes)))
        self._learn(rows, labels, sample_weight)
        return self

    def boundary(self, next_task: str = "") -> EngramClassifier:
        """Ends the current task: the strategies consolidate what was learned."""
        self._require_fitted()
        marked = self._client().boundary(self.model_, next_task)
        self._client().wait_applied(self.model_, marked.sequence, timeout=self.timeout)
        return self

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """The label of each row."""
        labels = self._predict(X, scores=False).labels.tolist()
        return np.array([self._originals.get(label, label) for label in labels])

    def predict_proba(self, X: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Softmax scores, columns as in classes_."""
        prediction = self._predict(X, scores=True)
        order = self._class_order(prediction)
        columns = {to_whole(label): column for column, label in enumerate(self.classes_)}
        scores = np.zeros((len(prediction.labels), len(self.classes_)))
        scores[:, [columns[label] for label in order]] = prediction.scores
        normal: npt.NDArray[np.float64] = scores / scores.sum(axis=1, keepdims=True)
        return normal

    def close(self) -> None:
        """Ends the connection; the next call makes another."""
        client = self.__dict__.pop("_connected", None)
        if client is not None:
            client.close()

    def __getstate__(self) -> dict[str, Any]:
        """A copy or a pickle speaks to the same model over a connection of its own."""
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("_connected", None)
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "model_")

    # The model at the server.

    def _client(self) -> Client:
        connected: Client | None = self.__dict__.get("_connected")
        if connected is None:
            connected = Client(self.address, token=self.token, ca=self.ca, producer=self.producer)
            self.__dict__["_connected"] = connected
        return connected

    def _begin_anew(self) -> None:
        if getattr(self, "_made", False):
            try:
                self._client().delete_model(self.model_)
            except NotFoundError:  # somebody was faster, or an earlier fit got no further
                pass

    def _open(self, width: int, classes: npt.NDArray[Any] | None) -> None:
        if self.model is not None:
            try:
                found = self._client().get_model(self.model)
            except NotFoundError:
                pass
            else:
                self.model_, self._made = self.model, False
                self._forget_labels()
                self._add_classes(np.array([from_label(label) for label in found.classes]))
                if classes is not None:
                    self._add_classes(classes)
                return
        self._create(width, classes)

    def _create(self, width: int, classes: npt.NDArray[Any] | None) -> None:
        name = self.model or f"sklearn-{uuid.uuid4()}"
        self._forget_labels()
        fields: dict[str, Any] = dict(self.spec or {})
        if classes is not None:
            self._add_classes(classes)
            fields.setdefault("labels", [to_whole(each) for each in self.classes_])
        self._client().create_model(
            name,
            fields,
            feature_count=width,
            hidden=list(self.hidden),
            strategies=self.strategies or (),
            learning_rate=self.learning_rate,
        )
        self.model_, self._made = name, True

    def _learn(
        self, rows: npt.NDArray[Any], labels: npt.NDArray[Any], weights: npt.ArrayLike | None
    ) -> None:
        self._add_classes(np.unique(labels))
        wire = [to_whole(label) for label in labels]
        client = self._client()
        if weights is None:
            summary = client.learn(self.model_, rows, np.array(wire))
        else:
            each = np.broadcast_to(np.asarray(weights, dtype=float), rows.shape[:1])
            summary = client.learn(
                self.model_,
                [
                    Example(row, label, weight=float(weight))
                    for row, label, weight in zip(rows, wire, each, strict=True)
                    if weight != 0
                ],
            )
        client.wait_applied(self.model_, summary.durable_sequence, timeout=self.timeout)
        self._ask_class_order()

    def _predict(self, X: npt.ArrayLike, scores: bool) -> Prediction:
        self._require_fitted()
        rows = check_array(X, dtype=np.float32)
        self._check_width(rows)
        return self._client().predict(self.model_, rows, scores=scores)

    def _class_order(self, prediction: Prediction) -> list[Label]:
        """The labels of the columns of prediction.scores. The server numbers them as it first saw
        them; when they cannot be those that we know, somebody else taught the model."""
        width = prediction.scores.shape[1]
        best = prediction.scores.argmax(axis=1).tolist()
        known = self._order
        if len(known) != width or [known[each] for each in best] != prediction.labels.tolist():
            self._ask_class_order()
        return self._order[:width]

    def _ask_class_order(self) -> None:
        classes = self._client().get_model(self.model_).classes
        self._order = [label for each in classes if (label := from_label(each)) is not None]
        self._add_classes(np.array(self._order))

    # What comes in, and labels on their way.

    def _checked(
        self, X: npt.ArrayLike, y: npt.ArrayLike, first: bool
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        rows, labels = check_X_y(X, y, dtype=np.float32)
        check_classification_targets(labels)
        labels = column_or_1d(labels)
        if first:
            self.n_features_in_ = rows.shape[1]
        self._check_width(rows)
        return rows, labels

    def _check_width(self, rows: npt.NDArray[Any]) -> None:
        if rows.shape[1] != self.n_features_in_:
            raise ValueError(
                f"X has {rows.shape[1]} features, but {type(self).__name__} is expecting "
                f"{self.n_features_in_} features as input"
            )

    def _require_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise NotFittedError(
                f"This {type(self).__name__} instance is not fitted yet. Call 'fit' or "
                "'partial_fit' first."
            )

    def _forget_labels(self) -> None:
        self._order = []
        self._originals: dict[Label, Any] = {}
        self.classes_ = np.array([], dtype=np.int64)

    def _add_classes(self, classes: npt.NDArray[Any]) -> None:
        known = set(self.classes_.tolist())
        new = [each for each in classes.tolist() if each not in known]
        if new:
            self.classes_ = np.array(self.classes_.tolist() + new)
            self._originals = {to_whole(label): label for label in self.classes_}
