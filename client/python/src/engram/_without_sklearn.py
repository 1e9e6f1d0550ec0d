"""What engram.sklearn takes from scikit-learn, for where that is not installed."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import numpy.typing as npt


class NotFittedError(ValueError, AttributeError):
    """Predicting before learning."""


class BaseEstimator:
    """Parameters are the arguments of __init__, stored under their names."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All of them; `deep` is of nested estimators, which there are none of."""
        names = [name for name in inspect.signature(type(self)).parameters]
        return {name: getattr(self, name) for name in names}

    def set_params(self, **params: Any) -> BaseEstimator:
        """Some of them."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise ValueError(f"{name}: expected one of {', '.join(known)}")
            setattr(self, name, value)
        return self

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()


class ClassifierMixin:
    """score, by the classifier's own predict."""

    def score(self, X: npt.ArrayLike, y: npt.ArrayLike) -> float:
        """Accuracy."""
        return float(np.mean(self.predict(X) == np.asarray(y)))  # type: ignore[attr-defined]


def check_array(X: npt.ArrayLike, dtype: Any) -> npt.NDArray[Any]:
    """Rows of finite numbers."""
    rows = np.asarray(X, dtype=dtype)
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] == 0:
        raise ValueError(f"X: expected rows of features, got shape {rows.shape}")
    if not np.isfinite(rows).all():
        raise ValueError("X: expected finite numbers, got NaN or infinity")
    return rows


def column_or_1d(y: npt.ArrayLike) -> npt.NDArray[Any]:
    """One label a row."""
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(f"y: expected one label a row, got shape {labels.shape}")
    return labels


def check_X_y(
    X: npt.ArrayLike, y: npt.ArrayLike, dtype: Any
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """As many labels as rows."""
    rows, labels = check_array(X, dtype), column_or_1d(y)
    if rows.shape[0] != labels.shape[0]:
        raise ValueError(f"y: expected {rows.shape[0]} labels, got {labels.shape[0]}")
    return rows, labels


def check_classification_targets(y: npt.NDArray[Any]) -> None:
    """Labels, not measurements."""
    if y.dtype.kind == "f" and not np.equal(np.mod(y, 1), 0).all():
        raise ValueError("y: expected labels, got numbers that are not whole")
