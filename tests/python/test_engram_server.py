"""The server of the other tests: it serves, keeps its folder, and ends as it is told."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest
from engram.v1 import model_pb2, model_pb2_grpc
from engram_server import EngramServer

MODEL = 'models { name: "toy" spec { feature_count: 2 } }'


def model_names(server: EngramServer) -> list[str]:
    with grpc.insecure_channel(server.grpc_address) as channel:
        reply = model_pb2_grpc.ModelsStub(channel).ListModels(
            model_pb2.ListModelsRequest(), timeout=10
        )
        return [model.name for model in reply.models]


def test_the_config_reaches_the_server(start_server: Callable[..., EngramServer]) -> None:
    server = start_server(MODEL)
    assert model_names(server) == ["toy"]
    assert "engram_build_info" in server.get("/metrics")[1]
    assert server.get("/no-such-page")[0] == 404


@pytest.mark.parametrize("kill", [False, True])
def test_a_restart_keeps_folder_and_ports(
    start_server: Callable[..., EngramServer], kill: bool
) -> None:
    server = start_server(MODEL)
    before = (server.grpc_address, server.http_address, server.pid)
    server.config_file.write_text("")
    server.restart(kill=kill)
    assert (server.grpc_address, server.http_address) == before[:2]
    assert server.pid != before[2]
    assert model_names(server) == ["toy"]


def test_a_drained_server_leaves_with_zero(engram_server: EngramServer) -> None:
    assert engram_server.stop() == 0


def test_a_server_that_refuses_to_start_says_why(
    start_server: Callable[..., EngramServer],
) -> None:
    with pytest.raises(RuntimeError, match="no_such_field"):
        start_server("no_such_field: 1")
