"""From arrays and Python values to messages."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
import pytest
from engram import Example
from engram._requests import erase_request, evaluate_request, model_spec, predict_requests
from engram.examples import LearnDefaults, fill_example, from_label, messages_of, to_label, to_rows
from engram.v1 import example_pb2, learning_pb2


def messages(*arguments: Any, **defaults: Any) -> list[learning_pb2.LearnMessage]:
    examples, labels = (*arguments, None)[:2]
    return [each.message for each in messages_of(examples, labels, LearnDefaults(**defaults))]


def test_rows_of_floats_travel_as_little_endian_float32() -> None:
    rows = np.array([[1.5, -2.0], [0.1, 3.0]])
    (message,) = messages(rows, ["a", "b"])
    assert message.examples[1].features.dense == np.array([0.1, 3.0], "<f4").tobytes()
    assert [each.label.text for each in message.examples] == ["a", "b"]


def test_rows_of_bytes_travel_as_bytes_and_pictures_are_flattened() -> None:
    pictures = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (message,) = messages(pictures, [0, 1], uint8_scale=0.5)
    assert message.examples[1].features.dense_uint8 == bytes(range(12, 24))
    assert message.examples[1].features.uint8_scale == 0.5
    assert not message.examples[1].features.shape


def test_a_big_endian_or_strided_array_gives_the_same_bytes() -> None:
    rows = np.arange(12, dtype=">f8").reshape(3, 4)[:, ::2]
    assert to_rows(rows).tobytes() == np.array([0, 2, 4, 6, 8, 10], "<f4").tobytes()


def test_an_iterable_is_cut_as_an_array_is() -> None:
    rows = np.arange(40, dtype=np.float32).reshape(10, 4)
    labels = list(range(10))
    by_array = messages(rows, labels, batch=3)
    by_tuples = messages(zip(rows, labels, strict=True), batch=3)
    by_examples = messages((Example(r, n) for r, n in zip(rows, labels, strict=True)), batch=3)
    assert [len(each.examples) for each in by_array] == [3, 3, 3, 1]
    assert by_array == by_tuples == by_examples


def test_a_tuple_is_one_example_or_several() -> None:
    row = np.zeros(4, np.float32)
    for several in ((Example(row, 1), Example(row, 2)), ((row, 1), (row, 2)), ((row, 1),) * 3):
        (message,) = messages(several)
        assert len(message.examples) == len(several)
    for one in ((row, 1), ((0.0, 1.0), 1), Example(row, 1), example_pb2.Example(task="t")):
        (message,) = messages(one)
        assert len(message.examples) == 1
    assert messages(np.zeros((0, 4)), []) == messages([]) == []


class Sparse:
    """As SciPy's matrices look to NumPy."""

    def toarray(self) -> Any:
        return np.zeros((2, 2))


def test_messages_stay_below_the_servers_limit() -> None:
    wide = np.zeros((130, 65_536), dtype=np.float32)
    for cut in (messages(wide, np.zeros(130, int)), messages((row, 1) for row in wide)):
        assert sum(len(each.examples) for each in cut) == 130
        assert max(each.ByteSize() for each in cut) < 4 << 20


def test_everything_that_an_example_says_travels() -> None:
    when = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)
    target = example_pb2.Example()
    example = Example([1, 2], "x", "t", 0.5, "id-1", "subject-1", when, held_out=True)
    fill_example(target, example, LearnDefaults(task="other"))
    assert (target.task, target.weight, target.id) == ("t", 0.5, "id-1")
    assert (target.subject_id, target.split) == ("subject-1", example_pb2.HELD_OUT)
    assert target.event_time_ms == int(when.timestamp() * 1000)


def test_a_protobuf_example_goes_as_it_is() -> None:
    example = example_pb2.Example(task="t")
    (message,) = messages([example])
    assert message.examples[0] == example


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), "three", np.str_("three")])
def test_labels_come_back_as_they_went(value: Any) -> None:
    assert from_label(to_label(value)) == value


@pytest.mark.parametrize("value", [1.0, None, b"x", np.float32(2)])
def test_a_label_that_is_neither_int_nor_str_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="label: expected an int or a str"):
        to_label(value)


@pytest.mark.parametrize(
    ("examples", "labels", "what"),
    [
        (np.zeros((3, 2)), [0, 1], "one for each row"),
        (np.zeros(3), [0, 1, 2], "one for each row"),
        (np.zeros((3, 2)), None, "labels: rows of an array need one each"),
        ([np.zeros(3)], None, "expected Example or"),
        (np.array([["a", "b"]]), ["x"], "features: expected numbers"),
        (Sparse(), [0, 1], "got a sparse Sparse; pass its toarray"),
    ],
)
def test_what_cannot_be_examples_is_refused_by_name(examples: Any, labels: Any, what: str) -> None:
    with pytest.raises((TypeError, ValueError), match=what):
        messages(examples, labels)


@pytest.mark.parametrize("batch", [0, 1025])
def test_a_batch_beyond_the_servers_limit_is_refused(batch: int) -> None:
    with pytest.raises(ValueError, match="batch: expected 1 to 1024"):
        LearnDefaults(batch=batch)


def test_a_spec_is_written_in_one_line() -> None:
    spec = model_spec(
        784,
        hidden=[256, 256],
        strategies="experience_replay:memory_size=200,policy=CLASS_RING+ewc:lambda=3.5",
        learning_rate=0.1,
        labels=["cat", 7],
        head={"kind": "FIXED"},
    )
    assert list(spec.mlp.hidden) == [256, 256]
    assert [each.WhichOneof("kind") for each in spec.strategies] == ["experience_replay", "ewc"]
    assert spec.strategies[0].experience_replay.memory_size == 200
    assert spec.strategies[0].experience_replay.policy == 2
    assert getattr(spec.strategies[1].ewc, "lambda") == 3.5
    assert spec.optimizer.learning_rate == 0.1
    assert (spec.labels[0].text, spec.labels[1].number) == ("cat", 7)


def test_a_spec_that_is_misspelt_says_what_there_is() -> None:
    for wrong in ({"hiden": [3]}, {"strategies": "ewcc"}, {"strategies": "ewc:lamda=3"}):
        with pytest.raises(ValueError, match="(?s)spec: .*no field named.*Available"):
            model_spec(4, **wrong)


def test_labels_of_two_kinds_stay_two_kinds() -> None:
    (message,) = messages(np.zeros((2, 2)), [1, "a"])
    assert [each.label.WhichOneof("kind") for each in message.examples] == ["number", "text"]


def test_rows_and_labels_of_an_evaluation_may_be_a_table() -> None:
    class Table:
        """As pandas' frames: iterating gives the names of columns."""

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            return np.arange(6.0).reshape(3, 2)

        def __iter__(self) -> Any:
            return iter(["a", "b"])

    request = evaluate_request("m", Table(), [0, 1, 0], 0)
    assert request.examples[2].features.dense == np.array([4, 5], "<f4").tobytes()


def test_no_rows_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="rows: expected at least one row, got none"):
        next(
            predict_requests(
                "m",
                np.zeros((0, 4)),
                task="",
                version=0,
                min_applied_sequence=0,
                top_k=None,
                scores=True,
                uint8_scale=None,
            )
        )


def test_an_erasure_needs_exactly_one_selector() -> None:
    assert erase_request("m", None, "customer-17", None).subject_id == "customer-17"
    for wrong in ((None, None, None), ("a", "b", None), ("", None, None)):
        with pytest.raises(ValueError, match="give one of"):
            erase_request("m", *wrong)
