"""learn_one, predict_one, predict_proba_one: dictionaries in, labels out."""

from __future__ import annotations

import copy
import math
import random
from typing import Any

import engram
import pytest
from engram.river import EngramClassifier
from engram_server import EngramServer

SPEC = {"held_out_fraction": 0.0, "seed": 1}


@pytest.fixture
def make(shared_server: EngramServer) -> Any:
    def made(**settings: Any) -> EngramClassifier:
        return EngramClassifier(
            shared_server.grpc_address, hidden=(8,), learning_rate=0.1, spec=SPEC, **settings
        )

    return made


def stream(count: int) -> Any:
    draw = random.Random(5)
    for _ in range(count):
        x = {"width": draw.uniform(-2, 2), "height": draw.uniform(-2, 2)}
        yield x, x["width"] > 0


def test_test_then_train(make: Any) -> None:
    with make() as model:
        assert model.predict_one({"width": 1.0}) is None
        assert model.predict_proba_one({"width": 1.0}) == {}
        hits = 0
        for x, y in stream(300):
            hits += model.predict_one(x) is y  # bools come back as bools
            assert model.learn_one(x, y) is model
        assert hits > 250
        proba = model.predict_proba_one({"width": 2.0, "height": 0.0})
        assert set(proba) == {False, True} and math.isclose(sum(proba.values()), 1)
        assert proba[True] > 0.8


def test_predictions_see_what_was_just_learned(make: Any) -> None:
    with make() as model:
        model.learn_one({"a": 1.0}, "first")
        assert model.predict_proba_one({"a": 1.0}) == {"first": 1.0}
        model.learn_one({"a": 2.0}, "second")
        assert set(model.predict_proba_one({"a": 1.0})) == {"first", "second"}


def test_features_come_and_go(make: Any) -> None:
    with make(features=["b", "a"]) as model:
        model.learn_one({"a": 1.0, "b": -1.0}, 0)
        model.learn_one({"a": -1.0}, 1)
        with pytest.warns(UserWarning, match="does not have are left out: new"):
            model.learn_one({"a": 1.0, "b": -1.0, "new": 5.0}, 0)
        assert model.predict_one({}) in (0, 1)


def test_a_shared_model(make: Any, client: engram.Client) -> None:
    client.create_model("for-river", feature_count=2, hidden=[8], **SPEC)
    with make(model="for-river", features=["x", "y"]) as model:
        assert model.predict_one({"x": 1.0}) is None  # it is there, and has learned nothing
        model.learn_one({"x": 1.0, "y": 0.0}, "cat").boundary("second")
    client.wait_applied("for-river")
    assert client.get_model("for-river").current_task == "second"
    with make(model="for-river", features=["x", "y"]) as again:
        assert again.predict_one({"x": 1.0}) == "cat"
    with make(model="for-river") as narrow:
        with pytest.raises(ValueError, match="2 inputs, got 1 names"):
            narrow.learn_one({"x": 1.0}, "cat")


def test_half_a_label_is_refused(make: Any) -> None:
    with make() as model:
        with pytest.raises(ValueError, match="whole numbers as labels, got 1.5"):
            model.learn_one({"a": 1.0}, 1.5)


def test_what_the_server_refuses_is_raised_by_the_next_call(make: Any) -> None:
    model = make()
    model.learn_one({"a": 1.0}, 1)
    model.learn_one({"a": math.nan}, 1)
    with pytest.raises(engram.RejectedError, match="is NaN"):
        model.flush()
    model.learn_one({"a": 2.0}, 1).flush()
    model.close()


def test_a_copy_speaks_to_the_same_model(make: Any) -> None:
    model = make()
    for x, y in stream(50):
        model.learn_one(x, y)
    twin = copy.deepcopy(model)
    x = {"width": 1.0, "height": 1.0}
    assert twin.predict_proba_one(x) == model.predict_proba_one(x)
    for each in (model, twin):
        each.close()
    with pytest.raises(ValueError, match="boundary: nothing was learned"):
        twin.boundary()
