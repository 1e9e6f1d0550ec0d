"""Examples: from arrays and Python values to the messages of a stream, and labels back."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from engram.v1 import example_pb2, learning_pb2

# One kind a model.
Label: TypeAlias = int | str

EXAMPLES_PER_MESSAGE_MAX = 1024
# Of a message; well below the server's 4 MiB.
_MESSAGE_BYTES = 2 << 20


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled example.

    features: feature_count numbers. Of dtype uint8 they travel as bytes and are learned times
    uint8_scale (1/255 unless set), as pictures are; anything else travels as float32.
    label: an int or a str, one kind a model. task: "" is the current one. weight: in the loss, in
    (0, 100]. id, subject_id: of the producer's own, by which Client.erase finds the example.
    event_time: kept, never used for order. held_out: evaluated on, never trained on.
    """

    features: npt.ArrayLike
    label: Label
    task: str = ""
    weight: float | None = None
    id: str = ""
    subject_id: str = ""
    event_time: datetime.datetime | None = None
    held_out: bool = False
    uint8_scale: float | None = None


# What learn takes one of: an Example, (features, label), or the protobuf message.
AnyExample: TypeAlias = Example | tuple[npt.ArrayLike, Label] | example_pb2.Example
# All of it: rows (with labels beside them), or any iterable of examples.
Examples: TypeAlias = npt.NDArray[Any] | Iterable[AnyExample]


def to_label(value: Any) -> example_pb2.Label:
    """An int (numpy's and bool too) or a str; a float is refused rather than rounded."""
    if isinstance(value, str):
        return example_pb2.Label(text=value)
    if isinstance(value, (int, np.integer, np.bool_)):
        return example_pb2.Label(number=int(value))
    raise TypeError(
        f"label: expected an int or a str, got {type(value).__name__} {value!r}; convert it"
    )


def to_labels(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """Of an array as they are; of a list each as itself: NumPy would make [1, "a"] two texts."""
    return np.asarray(values, dtype=None if hasattr(values, "dtype") else object)


def to_whole(value: Any) -> Label:
    """A label as the adapters take it: also a bool, and a float that is whole, which travel as
    int."""
    if isinstance(value, str):
        return str(value)
    if int(value) != value:
        raise ValueError(f"y: expected int, str or whole numbers as labels, got {value!r}")
    return int(value)


def from_label(label: example_pb2.Label) -> Label | None:
    """None: the model has no class yet."""
    kind = label.WhichOneof("kind")
    if kind is None:
        return None
    return str(label.text) if kind == "text" else int(label.number)


def to_rows(values: npt.ArrayLike) -> npt.NDArray[Any]:
    """As [rows, features], uint8 or little-endian float32, contiguous. One row may come without
    its first dimension; further dimensions (pictures) are flattened."""
    array = _dense(values)
    if array.ndim == 0:
        raise ValueError("features: expected numbers in rows, got a single value")
    if array.ndim == 1:
        array = array[np.newaxis, :]
    wanted = np.uint8 if array.dtype == np.uint8 else np.dtype("<f4")
    try:
        with np.errstate(over="ignore"):  # the server refuses what is not finite, and says where
            array = np.ascontiguousarray(array, dtype=wanted)
    except (TypeError, ValueError):
        raise TypeError(f"features: expected numbers, got dtype {array.dtype}") from None
    return array.reshape(array.shape[0], int(np.prod(array.shape[1:])))


def _dense(values: Any) -> npt.NDArray[Any]:
    if hasattr(values, "toarray"):  # of SciPy, which NumPy takes for one value
        raise TypeError(
            f"features: expected a dense array, got a sparse {type(values).__name__}; "
            "pass its toarray()"
        )
    return np.asarray(values)


def fill_features(
    features: example_pb2.Features, rows: npt.NDArray[Any], uint8_scale: float | None = None
) -> None:
    """`rows` as to_rows made them; more than one gets a shape."""
    if rows.dtype == np.uint8:
        features.dense_uint8 = rows.tobytes()
        if uint8_scale is not None:
            features.uint8_scale = uint8_scale
    else:
        features.dense = rows.tobytes()
    if rows.shape[0] != 1:
        features.shape.extend(rows.shape)


@dataclass(frozen=True, slots=True)
class LearnDefaults:
    """Of examples that do not say it themselves, and of the messages they travel in."""

    task: str = ""
    held_out: bool = False
    uint8_scale: float | None = None
    batch: int = 256

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= EXAMPLES_PER_MESSAGE_MAX:
            raise ValueError(
                f"batch: expected 1 to {EXAMPLES_PER_MESSAGE_MAX} examples a message, "
                f"got {self.batch}"
            )


def fill_example(target: example_pb2.Example, example: AnyExample, defaults: LearnDefaults) -> None:
    """Any of the forms of an example into its message."""
    if isinstance(example, example_pb2.Example):
        target.CopyFrom(example)
        return
    if not isinstance(example, Example):
        if not isinstance(example, tuple) or len(example) != 2:
            raise TypeError(
                "examples: expected Example or (features, label), got "
                f"{type(example).__name__}; labels of an array go beside it"
            )
        example = Example(*example)
    rows = to_rows(example.features)
    if rows.shape[0] != 1:
        rows = rows.reshape(1, -1)  # one example's picture
    scale = defaults.uint8_scale if example.uint8_scale is None else example.uint8_scale
    fill_features(target.features, rows, scale)
    target.label.CopyFrom(to_label(example.label))
    _fill_rest(target, example, defaults)


def _fill_rest(target: example_pb2.Example, example: Example, defaults: LearnDefaults) -> None:
    target.task = example.task or defaults.task
    if example.weight is not None:
        target.weight = example.weight
    target.id = example.id
    target.subject_id = example.subject_id
    if example.event_time is not None:
        target.event_time_ms = int(example.event_time.timestamp() * 1000)
    if example.held_out or defaults.held_out:
        target.split = example_pb2.HELD_OUT


def one_or_many(examples: Examples | AnyExample, labels: npt.ArrayLike | None) -> Examples:
    """A single example, also as a tuple (features, label), becomes a list of one."""
    if isinstance(examples, (Example, example_pb2.Example)):
        return [examples]
    if isinstance(examples, tuple) and labels is None and len(examples) == 2:
        if not isinstance(examples[1], (Example, example_pb2.Example, tuple)):
            return [cast(AnyExample, examples)]
    return cast(Examples, examples)


def messages_of(
    examples: Examples | AnyExample, labels: npt.ArrayLike | None, defaults: LearnDefaults
) -> Iterator[learning_pb2.LearnRequest]:
    """Cuts examples into messages, a pure function of what it is given: whoever iterates over the
    same examples again gets the same messages."""
    many = one_or_many(examples, labels)
    if labels is not None:
        return _messages_of_rows(many, labels, defaults)
    if isinstance(many, np.ndarray):
        raise TypeError("labels: rows of an array need one each, got none")
    return _messages_of_each(many, defaults)


def _messages_of_rows(
    values: Any, labels: npt.ArrayLike, defaults: LearnDefaults
) -> Iterator[learning_pb2.LearnRequest]:
    array = _dense(values)
    each = to_labels(labels)
    if each.ndim != 1 or array.ndim < 2 or array.shape[0] != each.shape[0]:
        raise ValueError(
            "labels: expected one for each row of features, got shapes "
            f"{each.shape} and {array.shape}"
        )
    return _cut_rows(array, each, defaults)


def _cut_rows(
    array: npt.NDArray[Any], labels: npt.NDArray[Any], defaults: LearnDefaults
) -> Iterator[learning_pb2.LearnRequest]:
    width = max(1, int(np.prod(array.shape[1:])))
    row_bytes = width * (1 if array.dtype == np.uint8 else 4)
    step = max(1, min(defaults.batch, _MESSAGE_BYTES // row_bytes))
    split = example_pb2.HELD_OUT if defaults.held_out else example_pb2.TRAIN
    for begin in range(0, array.shape[0], step):
        # A block at a time: a memory-mapped array is never in memory as a whole.
        rows = to_rows(array[begin : begin + step])
        request = learning_pb2.LearnRequest()
        targets = request.message.examples
        for row, label in zip(rows, labels[begin : begin + step].tolist(), strict=True):
            target = targets.add(task=defaults.task, split=split)
            fill_features(target.features, row[np.newaxis, :], defaults.uint8_scale)
            target.label.CopyFrom(to_label(label))
        yield request


def _messages_of_each(
    examples: Iterable[AnyExample], defaults: LearnDefaults
) -> Iterator[learning_pb2.LearnRequest]:
    request = learning_pb2.LearnRequest()
    size = 0
    for example in examples:
        target = request.message.examples.add()
        fill_example(target, example, defaults)
        size += target.ByteSize()
        if len(request.message.examples) >= defaults.batch or size >= _MESSAGE_BYTES:
            yield request
            request, size = learning_pb2.LearnRequest(), 0
    if request.message.examples:
        yield request
