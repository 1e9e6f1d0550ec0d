"""What the server exports gives the server's predictions in Python's PyTorch, in both formats."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy
import pytest
from engram.v1 import model_pb2, model_pb2_grpc, prediction_pb2, prediction_pb2_grpc
from engram_server import EngramServer, program

FEATURES = 20
ROWS = 128
TORCH_PYTHON = os.environ.get("TORCH_PYTHON", "/usr/bin/python3")
BOTH = ("safetensors", "torchscript")
# Below it a served score has lost its digits to float32's smallest numbers.
SCORE_MIN = 1e-30


@dataclass(frozen=True)
class Case:
    name: str
    flags: tuple[str, ...]
    formats: tuple[str, ...] = BOTH
    per_task: bool = False


CASES = [
    Case("averaged", ("--strategy", "experience_replay:memory_size=50+ewc", "--ema_decay", "0.9")),
    Case("frozen", ("--strategy", "feature_extraction", "--hidden", "48")),
    Case("linear", ("--no_hidden", "--lr", "1")),
    Case("heads", ("--head", "per_task"), per_task=True),
    Case("columns", ("--head", "per_task", "--strategy", "progressive"), BOTH[1:], True),
    Case("packed", ("--head", "per_task", "--strategy", "packnet"), BOTH[1:], True),
    Case("moments", ("--strategy", "slda"), BOTH[1:]),
    Case("random", ("--strategy", "ridge:random_features=200"), BOTH[1:]),
    Case("nearest", ("--strategy", "ncm:memory_size=60"), BOTH[1:]),
]
# By task; the labels of the second are learned in another order than the first's.
LABELS = {"first": ["fir", "ash", "oak"], "second": ["yew", "elm"]}


def engram(server: EngramServer, *words: str) -> str:
    """Runs the command; its output. Raises with what it said when it fails."""
    done = subprocess.run(
        [str(program("engram")), "--server", server.grpc_address, "--json", *words],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def learn(server: EngramServer, model: str, folder: Path) -> None:
    """Two tasks of clouds around corners far apart, so that logits grow, then a checkpoint."""
    draws = numpy.random.default_rng(5)
    for task, labels in LABELS.items():
        lines = []
        for i in range(400):
            label = labels[i % len(labels)]
            corner = numpy.random.default_rng(sum(label.encode())).choice([-3.0, 3.0], FEATURES)
            values = corner + draws.normal(size=FEATURES)
            lines.append(",".join([label, *(f"{value:.4f}" for value in values)]))
        rows = folder / f"{model}-{task}.csv"
        rows.write_text("\n".join(lines) + "\n")
        engram(server, "learn", model, "--file", str(rows), "--wait")
        following = {"first": ["second"], "second": []}[task]
        engram(server, "boundary", model, *following, "--wait")
    engram(server, "checkpoint", "create", model, "kept")


def served_scores(
    channel: grpc.Channel, model: str, rows: numpy.ndarray, task: str
) -> dict[str, numpy.ndarray]:
    """The server's score of each label, by row."""
    request = prediction_pb2.PredictRequest(model=model, task=task)
    request.features.dense = rows.astype("<f4").tobytes()
    reply = prediction_pb2_grpc.PredictionStub(channel).Predict(request, timeout=30)
    described = model_pb2_grpc.ModelsStub(channel).GetModel(
        model_pb2.GetModelRequest(name=model), timeout=30
    )
    scores = numpy.array([one.scores for one in reply.predictions])
    return {label.text: scores[:, i] for i, label in enumerate(described.classes)}


def assert_same(logits: numpy.ndarray, labels: list[str], served: dict[str, numpy.ndarray]) -> None:
    """Served are probabilities: logits but for a number a row, which their logarithms show."""
    expected = numpy.stack([served[label] for label in labels], axis=1).astype(numpy.float64)
    wide = logits.astype(numpy.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    answered = shifted - numpy.log(numpy.exp(shifted).sum(axis=1, keepdims=True))
    seen = expected > SCORE_MIN
    assert seen.any(axis=1).all()
    wrong = numpy.abs(answered[seen] - numpy.log(expected[seen]))
    allowed = 1e-5 * numpy.maximum(1, numpy.abs(wide[seen]))
    assert (wrong <= allowed).all(), f"off by {(wrong / allowed).max()} times what is allowed"
    assert (answered[~seen] < numpy.log(10 * SCORE_MIN)).all()


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_an_exported_model_predicts_as_the_server_does(
    case: Case, shared_server: EngramServer, tmp_path: Path
) -> None:
    model = case.name
    engram(
        shared_server, "model", "create", model, "--features", str(FEATURES),
        "--first_task", "first", "--held_out_fraction", "0", *case.flags,
    )  # fmt: skip
    learn(shared_server, model, tmp_path)
    rows = numpy.random.default_rng(9).normal(scale=3, size=(ROWS, FEATURES)).astype(numpy.float32)
    numpy.save(tmp_path / "rows.npy", rows)
    with grpc.insecure_channel(shared_server.grpc_address) as channel:
        tasks = list(LABELS) if case.per_task else [""]
        served = {task: served_scores(channel, model, rows, task) for task in tasks}
    jobs = [
        (form, task, tmp_path / f"{form}-{task}.npy") for form in case.formats for task in tasks
    ]
    for form in case.formats:
        engram(
            shared_server, "checkpoint", "export", model, "kept", "--format", form,
            "--out", str(tmp_path / f"model.{form}"),
        )  # fmt: skip
    program_file = Path(__file__).parent / "run_exported.py"
    words = [TORCH_PYTHON, str(program_file), str(tmp_path / "rows.npy")]
    for form, task, logits in jobs:
        words += [str(tmp_path / f"model.{form}"), task, str(logits)]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    for (form, task, logits), labels in zip(jobs, ran.stdout.splitlines(), strict=True):
        assert_same(numpy.load(logits), json.loads(labels), served[task])
