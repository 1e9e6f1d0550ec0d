"""partial_fit, predict, predict_proba, score: with scikit-learn, and where there is none."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import engram
import numpy as np
import pytest
from engram.sklearn import EngramClassifier
from engram_server import EngramServer
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from conftest import FEATURES

SPEC = {"held_out_fraction": 0.0, "seed": 1}


@pytest.fixture
def classifier(shared_server: EngramServer) -> EngramClassifier:
    return EngramClassifier(shared_server.grpc_address, hidden=(16,), learning_rate=0.1, spec=SPEC)


def test_scikit_learns_own_checks(start_server: Callable[..., EngramServer]) -> None:
    server = start_server("limits { models: 1000 }")  # each check makes some
    results = check_estimator(
        EngramClassifier(server.grpc_address, hidden=(16,), learning_rate=0.1, epochs=5, spec=SPEC),
        on_skip=None,  # those about pandas, where it is not installed
    )
    assert sum(each["status"] == "passed" for each in results) >= 50


def test_a_stream_of_two_tasks(classifier: EngramClassifier, toy_rows: Any) -> None:
    rows, labels = toy_rows(400)
    names = np.where(labels == 1, "up", "down")
    classifier.partial_fit(rows, names, classes=["up", "down", "left"])
    assert classifier.score(rows, names) > 0.9
    classifier.boundary("second").partial_fit(rows + 5, np.full(400, "left"))
    assert list(classifier.classes_) == ["down", "left", "up"]
    proba = classifier.predict_proba(rows)
    assert proba.shape == (400, 3)
    best = classifier.classes_[proba.argmax(axis=1)]
    np.testing.assert_array_equal(best, classifier.predict(rows))


def test_labels_that_nobody_named_become_classes_as_they_come(
    classifier: EngramClassifier, toy_rows: Any
) -> None:
    rows, labels = toy_rows(200)
    classifier.partial_fit(rows, labels * 10)
    classifier.partial_fit(rows + 5, np.full(200, 7))
    assert sorted(classifier.classes_) == [0, 7, 10]
    columns = classifier.predict_proba(rows + 5).argmax(axis=1)
    assert np.mean(classifier.classes_[columns] == 7) > 0.9


def test_a_shared_model_is_used_as_it_is_and_never_deleted(
    classifier: EngramClassifier, client: engram.Client, toy_rows: Any
) -> None:
    rows, labels = toy_rows(300)
    client.create_model("shared", feature_count=FEATURES, hidden=[16], **SPEC)
    client.learn("shared", rows, labels)
    client.wait_applied("shared")
    other = clone(classifier).set_params(model="shared")
    other.partial_fit(rows[:10], labels[:10])
    assert other.score(rows, labels) > 0.9
    # Somebody teaches it a class that this estimator does not know.
    client.learn("shared", rows + 5, np.full(300, 2))
    client.wait_applied("shared")
    assert other.predict_proba(rows).shape == (300, 3)
    with pytest.raises(engram.AlreadyExistsError):
        clone(other).fit(rows, labels)
    assert client.report("shared").train_examples == 610


def test_fit_begins_anew(
    classifier: EngramClassifier, client: engram.Client, toy_rows: Any
) -> None:
    rows, labels = toy_rows(300)
    named = clone(classifier).set_params(model="anew")
    named.fit(rows, labels)
    assert named.fit(rows, 1 - labels).score(rows, 1 - labels) > 0.9
    assert client.report("anew").train_examples == 300


def test_a_first_call_that_failed_may_be_repeated(
    classifier: EngramClassifier, client: engram.Client, toy_rows: Any
) -> None:
    rows, labels = toy_rows(100)
    named = clone(classifier).set_params(model="repeated", hidden=(-1,))
    for begin in (named.fit, named.partial_fit):
        with pytest.raises((ValueError, engram.InvalidArgumentError)):
            begin(rows, labels)
    named.set_params(hidden=(16,)).partial_fit(rows, labels)
    client.delete_model("repeated")
    assert named.fit(rows, labels).score(rows, labels) > 0.9


def test_weights(classifier: EngramClassifier, client: engram.Client, toy_rows: Any) -> None:
    rows, labels = toy_rows(300)
    both = np.concatenate([rows, rows])
    wrong_without_weight = np.concatenate([labels, 1 - labels])
    weight = np.concatenate([np.full(300, 2.0), np.zeros(300)])
    named = clone(classifier).set_params(model="weighted")
    named.partial_fit(both, wrong_without_weight, sample_weight=weight)
    assert named.score(rows, labels) > 0.9
    assert client.report("weighted").train_examples == 300


def test_pipelines_searches_and_copies(classifier: EngramClassifier, toy_rows: Any) -> None:
    rows, labels = toy_rows(300)
    pipeline = make_pipeline(StandardScaler(), classifier)
    assert cross_val_score(pipeline, rows, labels, cv=2).min() > 0.8
    classifier.fit(rows, labels)
    again = copy.deepcopy(classifier)  # as a pickle does it
    np.testing.assert_array_equal(again.predict(rows), classifier.predict(rows))
    classifier.close()
    np.testing.assert_array_equal(again.predict(rows), classifier.predict(rows))


def test_what_cannot_be_learned_is_said(classifier: EngramClassifier, toy_rows: Any) -> None:
    rows, labels = toy_rows(20)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        classifier.predict(rows)
    with pytest.raises(NotFittedError):
        classifier.boundary()
    classifier.partial_fit(rows, labels, classes=[0, 1])
    with pytest.raises(ValueError, match="X has 3 features, but EngramClassifier is expecting 4"):
        classifier.predict(rows[:, :3])


WITHOUT_SCIKIT_LEARN = """
import sys
sys.modules["sklearn"] = None
import numpy as np
from engram.sklearn import EngramClassifier
rows = np.random.default_rng(1).normal(size=(300, 3))
labels = (rows[:, 0] > 0).astype(int)
classifier = EngramClassifier(sys.argv[1], hidden=(16,))
classifier.set_params(learning_rate=0.1)
assert classifier.get_params()["learning_rate"] == 0.1
try:
    classifier.predict(rows)
except ValueError as refused:
    assert "not fitted" in str(refused)
for wrong in (rows[0], np.full((2, 3), np.nan)):
    try:
        classifier.partial_fit(wrong, [0, 1])
    except ValueError as refused:
        assert str(refused).startswith("X: expected")
classifier.partial_fit(rows, labels)
assert classifier.score(rows, labels) > 0.9
assert classifier.predict_proba(rows).shape == (300, 2)
print("learned")
"""


def test_it_works_without_scikit_learn(shared_server: EngramServer) -> None:
    shown = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_SCIKIT_LEARN, shared_server.grpc_address],
        capture_output=True,
        text=True,
    )
    assert shown.stdout == "learned\n", shown.stderr
