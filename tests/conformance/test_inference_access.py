"""Who may call the Open Inference Protocol, and when the server says that it is ready."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from engram.v1 import checkpoints_pb2, checkpoints_pb2_grpc
from engram_server import EngramServer
from tritonclient.utils import InferenceServerException

MODEL = 'models { name: "toy" spec { feature_count: 2 labels { number: 1 } labels { number: 2 } } }'
ROLES = ("reader", "writer", "admin")


def calls(client: Any, module: Any) -> dict[str, Callable[..., Any]]:
    """Every call of a client that this server answers, by name; each takes `headers`."""
    tensor = module.InferInput("features", [1, 2], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 2), np.float32))
    return {
        "live": client.is_server_live,
        "ready": client.is_server_ready,
        "model_ready": lambda headers: client.is_model_ready("toy", headers=headers),
        "metadata": client.get_server_metadata,
        "model_metadata": lambda headers: client.get_model_metadata("toy", headers=headers),
        "config": lambda headers: client.get_model_config("toy", headers=headers),
        "statistics": lambda headers: client.get_inference_statistics(headers=headers),
        "index": client.get_model_repository_index,
        "infer": lambda headers: client.infer("toy", [tensor], headers=headers),
    }


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_every_call_is_open_to_readers_and_nobody_else(
    start_server: Callable[..., EngramServer], tmp_path: Path, transport: str
) -> None:
    tokens = {role: secrets.token_hex(16) for role in ROLES}
    token_file = tmp_path / "tokens"
    token_file.touch(0o600)
    token_file.write_text(
        "".join(
            f"{role} somebody {hashlib.sha256(token.encode()).hexdigest()}\n"
            for role, token in tokens.items()
        )
    )
    server = start_server(f'{MODEL} authentication {{ token_file: "{token_file}" }}')
    module = {"grpc": tritonclient.grpc, "http": tritonclient.http}[transport]
    address = {"grpc": server.grpc_address, "http": server.http_address}[transport]
    with module.InferenceServerClient(address) as client:
        for name, call in calls(client, module).items():
            for headers in ({}, {"authorization": "Bearer " + "0" * 32}):
                if transport == "http" and name in ("live", "ready", "model_ready"):
                    assert not call(headers=headers), name  # it looks at the code alone
                    continue
                with pytest.raises(InferenceServerException, match="credentials") as caught:
                    call(headers=headers)
                assert caught.value.status() in ("StatusCode.UNAUTHENTICATED", "401"), name
            for token in tokens.values():
                if name == "infer":  # nothing was learned: let in, then told so
                    continue
                assert call(headers={"authorization": f"Bearer {token}"}), name


def test_readiness_falls_before_the_socket_closes(
    start_server: Callable[..., EngramServer],
) -> None:
    server = start_server(MODEL)
    with (
        grpc.insecure_channel(server.grpc_address) as channel,
        tritonclient.grpc.InferenceServerClient(server.grpc_address) as client,
    ):
        assert client.is_server_ready()
        # A call that waits for what never comes: the drain lets it, for some seconds.
        checkpoints = checkpoints_pb2_grpc.CheckpointsStub(channel)
        waiting = checkpoints.CreateCheckpoint.future(
            checkpoints_pb2.CreateCheckpointRequest(model="toy", min_applied_sequence=10),
            timeout=60,
        )
        # One connection, in order: when later calls are answered, that one is being waited for.
        for _ in range(5):
            checkpoints.ListCheckpoints(
                checkpoints_pb2.ListCheckpointsRequest(model="toy"), timeout=10
            )
        os.kill(server.pid, signal.SIGTERM)
        deadline = time.monotonic() + 20
        while client.is_server_ready():  # raises once the socket is closed
            assert time.monotonic() < deadline
        assert client.is_server_live()
        tensor = tritonclient.grpc.InferInput("features", [1, 2], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 2), np.float32))
        with pytest.raises(InferenceServerException, match="shutting down"):
            client.infer("toy", [tensor])
        waiting.cancel()
    assert server.stop() == 0
