"""The Open Inference Protocol through tritonclient as it comes from its registry, gRPC and HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from engram.v1 import model_pb2, training_pb2
from engram_server import EngramServer
from toy_models import CLASSES, FEATURES, NUMBERS, TEXTS, Toy, rows
from tritonclient.utils import InferenceServerException

INTEGERS = ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"]
NUMPY = {name: np.dtype(name.lower()) for name in INTEGERS} | {
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BOOL": np.dtype(bool),
    "BF16": np.dtype(np.float32),  # as the client takes it
}


@dataclass
class World:
    """A server with models that several tests read and none changes."""

    server: EngramServer
    numbers: Toy
    texts: Toy
    tasks: Toy
    old_version: int
    live_version: int


@pytest.fixture(scope="module")
def world(shared_server: EngramServer) -> Iterator[World]:
    with grpc.insecure_channel(shared_server.grpc_address) as channel:
        numbers = Toy(channel, "numbers", NUMBERS)
        numbers.learn(rows(300))
        old_version = numbers.keep("early")
        live_version = numbers.learn(rows(300, seed=2))
        texts = Toy(channel, "texts", TEXTS)
        texts.learn(rows(300))
        per_task = model_pb2.ModelSpec(head=training_pb2.Head(kind="PER_TASK"), first_task="one")
        tasks = Toy(channel, "tasks", NUMBERS, per_task)
        tasks.learn(rows(60))
        tasks.mark_boundary("two")
        tasks.learn(rows(60, seed=3))
        yield World(shared_server, numbers, texts, tasks, old_version, live_version)


@dataclass
class Transport:
    """One of the two clients; what they name alike is used alike."""

    name: str
    module: ModuleType
    client: Any

    def tensor(self, values: np.ndarray, datatype: str = "FP32", binary: bool = True) -> Any:
        made = self.module.InferInput("features", list(values.shape), datatype)
        if self.name == "http":
            made.set_data_from_numpy(values, binary_data=binary)
        else:
            made.set_data_from_numpy(values)
        return made

    def output(self, name: str, class_count: int = 0, binary: bool = True) -> Any:
        if self.name == "http":
            return self.module.InferRequestedOutput(
                name, binary_data=binary, class_count=class_count
            )
        return self.module.InferRequestedOutput(name, class_count=class_count)

    def infer(self, model: str, values: np.ndarray, **arguments: Any) -> Any:
        return self.client.infer(model, [self.tensor(values)], **arguments)

    def version_of(self, result: Any) -> str:
        response = result.get_response()
        return response["model_version"] if self.name == "http" else response.model_version

    def plain(self, reply: Any) -> Any:
        """A reply of either client as the HTTP client has it."""
        if self.name == "http":
            return reply
        from google.protobuf import json_format

        return json_format.MessageToDict(
            reply, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )


@pytest.fixture(params=["grpc", "http"])
def transport(request: pytest.FixtureRequest, world: World) -> Iterator[Transport]:
    module = {"grpc": tritonclient.grpc, "http": tritonclient.http}[request.param]
    addresses = {"grpc": world.server.grpc_address, "http": world.server.http_address}
    with module.InferenceServerClient(addresses[request.param]) as client:
        yield Transport(request.param, module, client)


def test_server_and_models_are_live_and_ready(transport: Transport, world: World) -> None:
    client = transport.client
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("numbers")
    assert client.is_model_ready("numbers", str(world.old_version))
    assert client.is_model_ready("numbers", str(world.live_version))


def test_server_metadata(transport: Transport) -> None:
    metadata = transport.plain(transport.client.get_server_metadata())
    assert metadata["name"] == "engram"
    assert metadata["version"].count(".") == 2
    assert {"classification", "binary_tensor_data", "statistics"} <= set(metadata["extensions"])


def test_model_metadata(transport: Transport, world: World) -> None:
    metadata = transport.plain(transport.client.get_model_metadata("numbers"))
    assert metadata["name"] == "numbers"
    assert metadata["platform"] == "engram"
    assert str(world.old_version) in metadata["versions"]
    assert metadata["versions"][-1] == str(world.live_version)
    tensors = {
        each["name"]: (each["datatype"], [int(size) for size in each["shape"]])
        for each in metadata["inputs"] + metadata["outputs"]
    }
    assert tensors == {
        "features": ("FP32", [-1, FEATURES]),
        "label": ("INT64", [-1]),
        "scores": ("FP32", [-1, CLASSES]),
    }
    texts = transport.plain(transport.client.get_model_metadata("texts"))
    assert texts["outputs"][0]["datatype"] == "BYTES"
    old = transport.client.get_model_metadata("numbers", str(world.old_version))
    assert transport.plain(old)["name"] == "numbers"


def test_model_config(transport: Transport) -> None:
    config = transport.plain(transport.client.get_model_config("tasks"))
    config = config.get("config", config)  # the HTTP client has the configuration itself
    assert config["name"] == "tasks"
    assert config["max_batch_size"] == 1024
    assert config["input"][0]["data_type"] == "TYPE_FP32"
    assert [int(size) for size in config["input"][0]["dims"]] == [FEATURES]
    assert config["parameters"]["head"]["string_value"] == "per_task"
    assert config["parameters"]["tasks"]["string_value"] == "one,two"


def test_repository_index(transport: Transport, world: World) -> None:
    index = transport.plain(transport.client.get_model_repository_index())
    models = index if transport.name == "http" else index["models"]
    found = {each["name"]: each for each in models}
    assert set(found) == {"numbers", "texts", "tasks"}
    assert found["numbers"]["state"] == "READY"
    assert found["numbers"]["version"] == str(world.live_version)


def test_statistics_count_successes_failures_and_batches(
    transport: Transport, world: World
) -> None:
    def read() -> tuple[dict[str, Any], dict[int, int]]:
        reply = transport.plain(transport.client.get_inference_statistics("texts"))
        (counts,) = reply["model_stats"]
        batches = {
            int(each["batch_size"]): int(each["compute_infer"]["count"])
            for each in counts["batch_stats"]
        }
        return counts, batches

    counts_before, batches_before = read()
    transport.infer("texts", rows(7))
    with pytest.raises(InferenceServerException):
        transport.infer("texts", rows(7)[:, :2])
    counts, batches = read()
    assert int(counts["inference_count"]) - int(counts_before["inference_count"]) == 7
    assert int(counts["execution_count"]) - int(counts_before["execution_count"]) == 1
    for kind in ("success", "fail"):
        before, after = (each["inference_stats"][kind] for each in (counts_before, counts))
        assert int(after["count"]) - int(before["count"]) == 1, kind
        assert int(after["ns"]) > int(before["ns"]), kind
    assert batches[7] - batches_before.get(7, 0) == 1
    everything = transport.plain(transport.client.get_inference_statistics())
    assert {each["name"] for each in everything["model_stats"]} == {"numbers", "texts", "tasks"}


@pytest.mark.parametrize("count", [1, 2, 33, 1024])
def test_batches_agree_with_our_own_api(transport: Transport, world: World, count: int) -> None:
    values = rows(count, seed=9)
    result = transport.infer("numbers", values, request_id="call-7")
    expected = world.numbers.predict(values)
    assert result.as_numpy("label").tolist() == expected.labels
    np.testing.assert_array_equal(result.as_numpy("scores"), expected.scores)
    assert transport.version_of(result) == str(expected.version) == str(world.live_version)
    response = transport.plain(result.get_response())
    assert response["model_name"] == "numbers"
    assert response["id"] == "call-7"


def test_the_model_learned_something(world: World) -> None:
    values = rows(200, seed=11)
    right = [NUMBERS[int(row[:CLASSES].argmax())] for row in values]
    hits = np.mean(np.array(world.numbers.predict(values).labels) == right)
    assert hits > 0.6, "agreeing about noise would show little"


def test_a_single_row_may_come_without_its_batch(transport: Transport, world: World) -> None:
    values = rows(1, seed=4)
    result = transport.infer("numbers", values[0])
    assert result.as_numpy("label").shape == (1,)
    np.testing.assert_array_equal(result.as_numpy("scores"), world.numbers.predict(values).scores)
    folded = transport.infer("numbers", rows(6).reshape(6, 2, 2))
    assert folded.as_numpy("scores").shape == (6, CLASSES)


def test_text_labels_are_bytes(transport: Transport, world: World) -> None:
    values = rows(20, seed=5)
    result = transport.infer("texts", values)
    labels = [text.decode() for text in result.as_numpy("label").tolist()]
    assert labels == world.texts.predict(values).labels
    assert set(labels) <= set(TEXTS)


def of_datatype(numbers: np.ndarray, datatype: str) -> np.ndarray:
    if datatype == "BYTES":
        return np.array([[str(number) for number in row] for row in numbers], dtype=object)
    return numbers.astype(NUMPY[datatype])


BITS = np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 1, 0, 0]])


@pytest.mark.parametrize("datatype", [*NUMPY, "BYTES"])
def test_every_datatype_is_the_number_it_says(
    transport: Transport, world: World, datatype: str
) -> None:
    tensor = transport.tensor(of_datatype(BITS, datatype), datatype)
    result = transport.client.infer("numbers", [tensor])
    expected = world.numbers.predict(BITS.astype(np.float32))
    np.testing.assert_array_equal(result.as_numpy("scores"), expected.scores)
    assert result.as_numpy("label").tolist() == expected.labels


@pytest.mark.parametrize("datatype", [*NUMPY, "BYTES"])
def test_every_datatype_of_json(world: World, datatype: str) -> None:
    with tritonclient.http.InferenceServerClient(world.server.http_address) as client:
        tensor = tritonclient.http.InferInput("features", list(BITS.shape), datatype)
        outputs = [
            tritonclient.http.InferRequestedOutput(name, binary_data=False)
            for name in ("label", "scores")
        ]
        if datatype in ("FP16", "BF16"):  # no form in JSON: server or client says so
            with pytest.raises(InferenceServerException, match="(?i)binary|bf16"):
                tensor.set_data_from_numpy(of_datatype(BITS, datatype), binary_data=False)
                client.infer("numbers", [tensor], outputs=outputs)
            return
        tensor.set_data_from_numpy(of_datatype(BITS, datatype), binary_data=False)
        result = client.infer("numbers", [tensor], outputs=outputs)
    expected = world.numbers.predict(BITS.astype(np.float32))
    np.testing.assert_array_equal(result.as_numpy("scores"), expected.scores)
    assert result.as_numpy("label").tolist() == expected.labels


def test_typed_contents_of_grpc(world: World) -> None:
    """The client itself only ever sends raw contents; its messages can do both."""
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    request = service_pb2.ModelInferRequest(model_name="numbers")
    tensor = request.inputs.add(name="features", datatype="FP64", shape=BITS.shape)
    tensor.contents.fp64_contents.extend(BITS.ravel().astype(float))
    with grpc.insecure_channel(world.server.grpc_address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        reply = stub.ModelInfer(request, timeout=10)
        assert not reply.raw_output_contents
        label, scores = reply.outputs
        expected = world.numbers.predict(BITS.astype(np.float32))
        assert list(label.contents.int64_contents) == expected.labels
        np.testing.assert_array_equal(
            np.array(scores.contents.fp32_contents, np.float32).reshape(-1, CLASSES),
            expected.scores,
        )
        request.raw_input_contents.append(b"")
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(request, timeout=10)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "not beside raw_input_contents" in caught.value.details()


@pytest.mark.parametrize(
    ("datatype", "extremes"),
    [
        ("INT8", [-128, 127]),
        ("UINT8", [0, 255]),
        ("INT16", [-32768, 32767]),
        ("UINT16", [0, 65535]),
        ("FP64", [-0.1, 1e5]),
    ],
)
def test_extremes_of_small_datatypes(
    transport: Transport, world: World, datatype: str, extremes: list[float]
) -> None:
    values = np.array([extremes * 2], dtype=NUMPY[datatype])
    result = transport.client.infer("numbers", [transport.tensor(values, datatype)])
    expected = world.numbers.predict(values.astype(np.float32))
    np.testing.assert_array_equal(result.as_numpy("scores"), expected.scores)


def test_pixels_are_scaled_on_request(transport: Transport, world: World) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (8, FEATURES), dtype=np.uint8)
    result = transport.client.infer(
        "numbers", [transport.tensor(pixels, "UINT8")], parameters={"uint8_scale": 1 / 255}
    )
    scaled = pixels.astype(np.float32) * np.float32(1 / 255)
    np.testing.assert_array_equal(result.as_numpy("scores"), world.numbers.predict(scaled).scores)


def test_older_versions_answer_under_their_own_number(transport: Transport, world: World) -> None:
    values = rows(10, seed=6)
    old = transport.infer("numbers", values, model_version=str(world.old_version))
    live = transport.infer("numbers", values, model_version=str(world.live_version))
    assert transport.version_of(old) == str(world.old_version)
    np.testing.assert_array_equal(
        old.as_numpy("scores"), world.numbers.predict(values, world.old_version).scores
    )
    assert not np.array_equal(old.as_numpy("scores"), live.as_numpy("scores"))


def test_only_requested_outputs_come(transport: Transport) -> None:
    result = transport.infer("numbers", rows(3), outputs=[transport.output("scores")])
    assert result.as_numpy("scores").shape == (3, CLASSES)
    assert result.as_numpy("label") is None


@pytest.mark.parametrize("binary", [True, False])
def test_classification_is_score_index_label(
    transport: Transport, world: World, binary: bool
) -> None:
    values = rows(5, seed=8)
    output = transport.output("scores", class_count=2, binary=binary)
    result = transport.infer("texts", values, outputs=[output])
    expected = world.texts.predict(values)
    classes = class_order()
    for row, scores in zip(result.as_numpy("scores"), expected.scores, strict=True):
        best = np.argsort(-scores, kind="stable")[:2]
        for text, index in zip(row, best, strict=True):
            text = text.decode() if isinstance(text, bytes) else text
            score, at, label = text.split(":")
            assert int(at) == index
            assert label == classes[index]
            assert float(score) == pytest.approx(scores[index], rel=1e-5)


def class_order() -> list[str]:
    """Classes of the model "texts", in the order it first saw them."""
    order: list[str] = []
    for row in rows(300):
        label = TEXTS[int(row[:CLASSES].argmax())]
        if label not in order:
            order.append(label)
    return order


def test_heads_per_task_need_their_task(transport: Transport, world: World) -> None:
    values = rows(4)
    with pytest.raises(InferenceServerException, match="task: required"):
        transport.infer("tasks", values)
    result = transport.infer("tasks", values, parameters={"task": "one"})
    np.testing.assert_array_equal(
        result.as_numpy("scores"), world.tasks.predict(values, task="one").scores
    )
    with pytest.raises(InferenceServerException, match="not found"):
        transport.infer("tasks", values, parameters={"task": "three"})


def test_reading_ones_own_writes(transport: Transport, world: World) -> None:
    result = transport.infer(
        "numbers", rows(1), parameters={"min_applied_sequence": world.live_version}
    )
    assert transport.version_of(result) == str(world.live_version)


def code_of(error: InferenceServerException) -> str:
    return str(error.status()).removeprefix("StatusCode.")


BAD, MISSING = ("INVALID_ARGUMENT", "400"), ("NOT_FOUND", "404")


@pytest.mark.parametrize(
    ("model", "shape", "datatype", "arguments", "code", "text"),
    [
        ("letters", (1, 4), "FP32", {}, MISSING, 'model "letters" not found'),
        ("numbers", (1, 4), "FP32", {"model_version": "1"}, MISSING, "version"),
        ("numbers", (1, 4), "FP32", {"model_version": "one"}, BAD, "model_version"),
        ("numbers", (1, 3), "FP32", {}, BAD, r"expected \[rows,4\]"),
        ("numbers", (1025, 4), "FP32", {}, BAD, "batch 1025 exceeds 1024"),
        ("numbers", (1, 4), "FP32", {"parameters": {"task": 3}}, BAD, "parameters.task"),
    ],
)
def test_what_is_wrong_is_named(
    transport: Transport,
    model: str,
    shape: tuple[int, int],
    datatype: str,
    arguments: dict[str, Any],
    code: tuple[str, str],
    text: str,
) -> None:
    with pytest.raises(InferenceServerException, match=text) as caught:
        transport.infer(model, np.zeros(shape, np.float32), **arguments)
    assert code_of(caught.value) in code


def test_wrong_values_and_names_are_refused(transport: Transport) -> None:
    values = rows(1)
    values[0, 2] = np.nan
    with pytest.raises(InferenceServerException, match=r"features\[2\]: is NaN"):
        transport.infer("numbers", values)
    with pytest.raises(InferenceServerException, match='unknown output "logits"'):
        transport.infer("numbers", rows(1), outputs=[transport.output("logits")])
    tensor = transport.module.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(rows(1))
    with pytest.raises(InferenceServerException, match='one input, "features", got "x"'):
        transport.client.infer("numbers", [tensor])
    with pytest.raises(InferenceServerException, match=r"inputs\[1\].name"):
        transport.client.infer("numbers", [transport.tensor(rows(1))] * 2)
    text = np.array([["1", "2", "drei", "4"]], dtype=object)
    with pytest.raises(InferenceServerException, match=r"features\[2\].*not a number"):
        transport.client.infer("numbers", [transport.tensor(text, "BYTES")])


def test_models_that_are_not_there(transport: Transport) -> None:
    client = transport.client
    for call in (
        client.get_model_metadata,
        client.get_model_config,
        client.get_inference_statistics,
    ):
        with pytest.raises(InferenceServerException, match='model "letters" not found'):
            call("letters")
    if transport.name == "http":
        assert not client.is_model_ready("letters")
    else:
        with pytest.raises(InferenceServerException, match="not found"):
            client.is_model_ready("letters")


def test_shared_memory_is_refused_rather_than_ignored(transport: Transport) -> None:
    tensor = transport.tensor(rows(1))
    tensor.set_shared_memory("region", 16)
    with pytest.raises(InferenceServerException, match="shared memory is not supported"):
        transport.client.infer("numbers", [tensor])


def test_concurrent_calls_of_one_client(transport: Transport, world: World) -> None:
    batches = [rows(8, seed=seed) for seed in range(20)]
    if transport.name == "grpc":
        import queue

        answers: queue.Queue[Any] = queue.Queue()
        for at, values in enumerate(batches):
            transport.client.async_infer(
                "numbers",
                [transport.tensor(values)],
                callback=lambda result, error, at=at: answers.put((at, result, error)),
            )
        results = dict()
        for _ in batches:
            at, result, error = answers.get(timeout=30)
            assert error is None
            results[at] = result
    else:
        pending = [
            transport.client.async_infer("numbers", [transport.tensor(values)])
            for values in batches
        ]
        results = {at: each.get_result() for at, each in enumerate(pending)}
    for at, values in enumerate(batches):
        np.testing.assert_array_equal(
            results[at].as_numpy("scores"), world.numbers.predict(values).scores
        )


# --- what tritonclient's HTTP client never sends ---


def exchange(world: World, verb: str, path: str, body: bytes = b"", **headers: str) -> Any:
    connection = http.client.HTTPConnection(world.server.http_address, timeout=30)
    try:
        connection.request(
            verb, path, body, {name.replace("_", "-"): value for name, value in headers.items()}
        )
        reply = connection.getresponse()
        return reply.status, json.loads(reply.read())
    finally:
        connection.close()


def test_json_alone_is_enough(world: World) -> None:
    values = rows(2, seed=12)
    body = {
        "id": "by hand",
        "inputs": [
            {"name": "features", "shape": [2, 4], "datatype": "FP32", "data": values.tolist()}
        ],
    }
    status, reply = exchange(
        world,
        "POST",
        "/v2/models/numbers/infer",
        json.dumps(body).encode(),
        Content_Type="application/json",
    )
    expected = world.numbers.predict(values)
    assert status == 200
    assert reply["id"] == "by hand"
    label, scores = reply["outputs"]
    assert label == {"name": "label", "datatype": "INT64", "shape": [2], "data": expected.labels}
    assert scores["shape"] == [2, CLASSES]
    np.testing.assert_array_equal(
        np.array(scores["data"], np.float32).reshape(2, CLASSES), expected.scores
    )


@pytest.mark.parametrize(
    ("verb", "path", "body", "headers", "status"),
    [
        ("POST", "/v2/models/numbers/infer", b"{", {}, 400),
        ("POST", "/v2/models/numbers/infer", b"", {}, 400),
        ("POST", "/v2/models/numbers/infer", b"{}", {}, 400),
        ("POST", "/v2/models/numbers/infer", b"{}", {"Content_Encoding": "gzip"}, 400),
        ("POST", "/v2/models/numbers/infer", b"{}", {"Inference_Header_Content_Length": "3"}, 400),
        ("POST", "/v2/models/numbers/infer", b"{}", {"Inference_Header_Content_Length": "x"}, 400),
        ("GET", "/v2/models/numbers/infer", b"", {}, 405),
        ("POST", "/v2/models/numbers", b"{}", {}, 405),
        ("DELETE", "/v2", b"", {}, 405),
        ("GET", "/v2/nothing", b"", {}, 404),
        ("GET", "/v2/models", b"", {}, 404),
        ("GET", "/v2/models/numbers/versions", b"", {}, 404),
        ("GET", "/v2/models/numbers/versions/", b"", {}, 404),
        ("GET", "/v2/models/numbers/versions/1", b"", {}, 404),
        ("GET", "/v2/models/numbers/versions/one", b"", {}, 400),
        ("GET", "/v2/models/numbers/ready/now", b"", {}, 404),
    ],
)
def test_bad_http_gets_an_error_in_json(
    world: World, verb: str, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    code, reply = exchange(world, verb, path, body, **headers)
    assert code == status, reply
    assert list(reply) == ["error"]
    assert reply["error"]


def test_health_paths_say_it_in_code_and_body(world: World) -> None:
    assert exchange(world, "GET", "/v2/health/live") == (200, {"live": True})
    assert exchange(world, "GET", "/v2/health/ready") == (200, {"ready": True})
    assert exchange(world, "GET", "/v2/models/numbers/ready") == (200, {"ready": True})
    status, statistics = exchange(world, "GET", "/v2/models/stats")
    assert status == 200
    assert isinstance(statistics["model_stats"][0]["inference_count"], int)
