"""Requests, from what callers write to what travels; the same for both clients."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy.typing as npt
from google.protobuf import json_format
from google.protobuf.message import Message

from engram.examples import (
    LearnDefaults,
    fill_example,
    fill_features,
    one_or_many,
    to_labels,
    to_rows,
)
from engram.v1 import (
    checkpoints_pb2,
    evaluation_pb2,
    learning_pb2,
    model_pb2,
    prediction_pb2,
    strategy_pb2,
)

Parsed = TypeVar("Parsed", bound=Message)

# Of one Predict call.
_ROWS_MAX = 1024
# Of a file on its way.
_CHUNK_BYTES = 1 << 20


def model_spec(
    feature_count: int | None = None,
    *,
    hidden: Sequence[int] | None = None,
    strategies: str | Iterable[str | Mapping[str, Any]] = (),
    learning_rate: float | None = None,
    **fields: Any,
) -> model_pb2.ModelSpec:
    """A ModelSpec in one call.

    hidden: units of each hidden layer. strategies: "experience_replay:memory_size=200+ewc", or a
    list of such strings and of mappings as {"ewc": {"lambda": 3}}, outermost first; `engram
    strategy list` shows the names. learning_rate: of plain SGD. fields: any other field of
    ModelSpec by its name (batch_size, seed, head={"kind": "FIXED"}, labels=["cat", "dog"],
    optimizer={"adam": {}, "learning_rate": 0.001} ...). What is left out has the server's default.
    """
    fields = dict(fields)
    if feature_count is not None:
        fields["feature_count"] = feature_count
    if hidden is not None:
        fields["mlp"] = {"hidden": list(hidden)}
    if learning_rate is not None:
        fields["optimizer"] = {**fields.get("optimizer", {}), "learning_rate": learning_rate}
    if "labels" in fields:
        fields["labels"] = [_label_field(each) for each in fields["labels"]]
    spec = _parsed(fields, model_pb2.ModelSpec())
    for strategy in _each_strategy(strategies):
        spec.strategies.append(strategy)
    return spec


def _parsed(fields: Mapping[str, Any], message: Parsed) -> Parsed:
    try:
        return json_format.ParseDict(dict(fields), message)
    except json_format.ParseError as error:
        raise ValueError(f"spec: {error}") from None


def to_spec(spec: model_pb2.ModelSpec | Mapping[str, Any] | None, fields: Any) -> Any:
    """A message, a mapping of model_spec's arguments, or these as keywords."""
    if isinstance(spec, model_pb2.ModelSpec):
        if fields:
            raise TypeError(f"spec: it is complete; put {', '.join(fields)} into it")
        return spec
    return model_spec(**{**(spec or {}), **fields})


def _label_field(label: Any) -> Any:
    if isinstance(label, Mapping):
        return label
    return {"text": label} if isinstance(label, str) else {"number": int(label)}


def _each_strategy(
    given: str | Iterable[str | Mapping[str, Any]],
) -> Iterator[strategy_pb2.StrategySpec]:
    for each in [given] if isinstance(given, str) else given:
        if isinstance(each, Mapping):
            yield _parsed(each, strategy_pb2.StrategySpec())
            continue
        for text in each.split("+"):
            name, _, parameters = text.strip().partition(":")
            yield _parsed({name: dict(_parameters(parameters))}, strategy_pb2.StrategySpec())


def _parameters(text: str) -> Iterator[tuple[str, Any]]:
    for each in filter(None, text.split(",")):
        name, equals, value = each.partition("=")
        if not equals:
            raise ValueError(f'strategies: expected NAME=VALUE, got "{each}"')
        try:
            yield name.strip(), json.loads(value)
        except json.JSONDecodeError:  # a name, as of an enum
            yield name.strip(), value


def predict_requests(
    model: str,
    rows: npt.ArrayLike,
    *,
    task: str,
    version: int,
    min_applied_sequence: int,
    top_k: int | None,
    scores: bool,
    uint8_scale: float | None,
) -> Iterator[prediction_pb2.PredictRequest]:
    """Many rows in pieces."""
    array = to_rows(rows)
    if array.shape[0] == 0:
        raise ValueError("rows: expected at least one row, got none")
    for begin in range(0, array.shape[0], _ROWS_MAX):
        request = prediction_pb2.PredictRequest(
            model=model,
            task=task,
            version=version,
            min_applied_sequence=min_applied_sequence,
            top_k=top_k,
            omit_scores=not scores,
        )
        fill_features(request.features, array[begin : begin + _ROWS_MAX], uint8_scale)
        yield request


def evaluate_request(
    model: str, examples: Any, labels: npt.ArrayLike | None, version: int
) -> evaluation_pb2.EvaluateRequest:
    """1 to 1 024 examples, in any form that learn takes."""
    request = evaluation_pb2.EvaluateRequest(model=model, version=version)
    many = one_or_many(examples, labels)
    if labels is not None:
        many = list(zip(to_rows(examples), to_labels(labels).tolist(), strict=True))
    for each in many:
        fill_example(request.examples.add(), each, LearnDefaults())
    return request


def erase_request(
    model: str, example_id: str | None, subject_id: str | None, producer: str | None
) -> learning_pb2.EraseRequest:
    """Exactly one selector."""
    given = {"example_id": example_id, "subject_id": subject_id, "producer": producer}
    chosen = {name: value for name, value in given.items() if value}
    if len(chosen) != 1:
        raise ValueError(
            f"erase: give one of example_id, subject_id and producer, not empty; got {chosen}"
        )
    return learning_pb2.EraseRequest(model=model, **chosen)


def boundary_request(model: str, summary: Any, next_task: str) -> learning_pb2.MarkBoundaryRequest:
    """The next message of the producer that a welcome told of."""
    request = learning_pb2.MarkBoundaryRequest(
        model=model,
        producer=summary.producer,
        producer_sequence=summary.producer_sequence + 1,
        epoch=summary.epoch,
    )
    request.boundary.next_task = next_task
    return request


def export_request(model: str, checkpoint: str, torchscript: bool) -> checkpoints_pb2.ExportRequest:
    """Of a checkpoint by id or label; empty: the newest."""
    kind = "TORCHSCRIPT" if torchscript else "SAFETENSORS"
    return checkpoints_pb2.ExportRequest(model=model, checkpoint=checkpoint, format=kind)


def import_requests(
    name: str, content: bytes, spec: model_pb2.ModelSpec | None
) -> Iterator[checkpoints_pb2.ImportRequest]:
    """The header, the file in pieces, and an end that says what it was: a cut stream makes no
    model."""
    request = checkpoints_pb2.ImportRequest()
    request.header.name = name
    if spec is not None:
        request.header.spec.CopyFrom(spec)
    yield request
    for begin in range(0, len(content), _CHUNK_BYTES):
        yield checkpoints_pb2.ImportRequest(chunk=content[begin : begin + _CHUNK_BYTES])
    end = model_pb2.CreateModelFromWeightsRequest.End(bytes=len(content), crc32=zlib.crc32(content))
    yield checkpoints_pb2.ImportRequest(end=end)
