"""Replies to results: predictions in pieces, and exports that are not what was announced."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from engram import DataLossError
from engram.results import ExportedParts, to_prediction
from engram.v1 import checkpoints_pb2, prediction_pb2


def reply(version: int, *rows: dict[str, object]) -> prediction_pb2.PredictResponse:
    return prediction_pb2.PredictResponse(model_version=version, predictions=rows)


def test_pieces_of_a_prediction_become_one() -> None:
    prediction = to_prediction(
        [
            reply(9, {"label": {"number": 4}, "scores": [1.0]}),
            # A class appeared in between.
            reply(7, {"label": {"number": 5}, "scores": [0.25, 0.75], "inferred_task": "t"}),
        ]
    )
    np.testing.assert_array_equal(prediction.labels, [4, 5])
    np.testing.assert_array_equal(prediction.scores, [[1, 0], [0.25, 0.75]])
    assert prediction.tasks == (None, "t")
    assert prediction.model_version == 7


def test_a_row_without_a_class_is_none() -> None:
    assert to_prediction([reply(1, {}, {"label": {"text": "x"}})]).labels.tolist() == [None, "x"]


def test_an_export_that_is_not_what_was_announced_is_refused() -> None:
    parts = ExportedParts()
    header = {"bytes": 6, "sha256": hashlib.sha256(b"abcdef").hexdigest(), "model_version": 3}
    parts.add(checkpoints_pb2.ExportResponse(header=header))  # type: ignore[arg-type]
    parts.add(checkpoints_pb2.ExportResponse(chunk=b"abc"))
    with pytest.raises(DataLossError, match="expected 6 bytes.*got 3"):
        parts.model()
    parts.add(checkpoints_pb2.ExportResponse(chunk=b"def"))
    assert parts.model().content == b"abcdef"
