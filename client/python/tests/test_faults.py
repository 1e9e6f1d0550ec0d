"""Exactly once, whatever happens on the way: kill -9, cuts, restarts of either side, refusals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import engram
import grpc
import numpy as np
import pytest
from engram.v1 import model_pb2
from engram_server import EngramServer
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from conftest import FEATURES, toy_spec
from tcp_proxy import TcpProxy

PATIENT = engram.RetryOptions(attempts=50)


def assert_each_was_learned_once(client: engram.Client, model: str, count: int) -> None:
    """Nothing is held out, so what was trained is what the log holds."""
    client.wait_applied(model)
    assert client.report(model).train_examples == count


def disturbed(count: int, every: int, disturb: Callable[[], None]) -> Iterator[Any]:
    """Examples, with something happening between two of them."""
    for number in range(count):
        if number and number % every == 0:
            disturb()
        yield (np.full(FEATURES, number % 7, np.float32), number % 2)


def test_a_server_killed_in_the_middle_of_a_stream(engram_server: EngramServer) -> None:
    with engram.Client(engram_server.grpc_address, retry=PATIENT) as client:
        client.create_model("m", toy_spec())
        examples = disturbed(6000, 2000, lambda: engram_server.restart(kill=True))
        summary = client.learn("m", examples, batch=25)
        assert summary.accepted_examples == 6000
        assert summary.reconnects >= 2
        assert_each_was_learned_once(client, "m", 6000)


def test_a_server_that_drains_in_the_middle_of_a_stream(engram_server: EngramServer) -> None:
    with engram.Client(engram_server.grpc_address, retry=PATIENT) as client:
        client.create_model("m", toy_spec())
        examples = disturbed(2000, 1000, engram_server.restart)
        acks = list(client.learn_acks("m", examples, batch=25))
        assert sum(each.examples for each in acks) == 2000
        assert_each_was_learned_once(client, "m", 2000)


def test_a_connection_that_is_cut_again_and_again(
    client: engram.Client, shared_server: EngramServer
) -> None:
    client.create_model("cut", toy_spec())
    with TcpProxy(shared_server.grpc_address) as proxy:
        with engram.Client(proxy.address, retry=PATIENT) as far:
            summary = far.learn("cut", disturbed(5000, 500, proxy.cut), batch=20)
        # A cut may meet a connection that is being made after the one before it.
        assert summary.reconnects >= 3
        assert proxy.connections >= 4
    assert summary.accepted_examples == 5000
    assert_each_was_learned_once(client, "cut", 5000)


def test_what_was_stored_but_not_acked_is_sent_again_and_not_stored_again(
    client: engram.Client, shared_server: EngramServer
) -> None:
    client.create_model("unacked", toy_spec())

    def lose_the_acks_of_what_is_stored() -> None:
        deadline = time.monotonic() + 30
        while client.get_model("unacked").durable_sequence < 200:
            assert time.monotonic() < deadline, "the server did not store what it was sent"
            time.sleep(0.01)
        proxy.cut()

    def examples() -> Iterator[Any]:
        proxy.swallow_answers()
        yield from disturbed(400, 200, lose_the_acks_of_what_is_stored)

    with TcpProxy(shared_server.grpc_address) as proxy:
        with engram.Client(proxy.address, retry=PATIENT) as far:
            summary = far.learn("unacked", examples(), batch=10)
    assert summary.duplicates == 20
    assert_each_was_learned_once(client, "unacked", 400)


def test_a_program_that_was_cut_runs_again_from_its_beginning(
    client: engram.Client, model: str, toy_rows: Any
) -> None:
    rows, labels = toy_rows(1000)

    def cut_short() -> Iterator[Any]:
        yield from zip(rows[:420], labels[:420], strict=True)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.learn(model, cut_short(), batch=10, first_sequence=1)
    summary = client.learn(model, rows, labels, batch=10, first_sequence=1)
    # What the first run sent last may or may not have got there.
    assert summary.skipped_messages <= 42
    assert summary.producer_sequence == 100
    assert_each_was_learned_once(client, model, 1000)
    again = client.learn(model, rows, labels, batch=10, first_sequence=1)
    assert (again.skipped_messages, again.accepted_examples) == (100, 0)
    assert_each_was_learned_once(client, model, 1000)


def test_a_second_stream_of_a_producer_fences_the_first(client: engram.Client, model: str) -> None:
    first = client.learn_stream(model)
    with client.learn_stream(model) as second:
        second.send((np.zeros(FEATURES), 1))
    first.send((np.ones(FEATURES), 0))
    with pytest.raises(engram.AbortedError) as fenced:
        first.finish()
    assert fenced.value.reason == "STALE_EPOCH"


def test_a_window_smaller_than_the_stream_slows_the_sender(
    client: engram.Client, model: str
) -> None:
    client.pause(model)
    unacked = []
    with client.learn_stream(model, window_messages=3, batch=1) as stream:
        for _ in range(200):
            sent = stream.send((np.zeros(FEATURES), 1))
            unacked.append(sent - stream.summary.producer_sequence)
    assert max(unacked) <= 3


def test_a_server_that_reads_little_at_a_time_loses_nothing(
    start_server: Callable[..., EngramServer],
) -> None:
    server = start_server("limits { unacked_messages: 1 }")
    with engram.Client(server.grpc_address) as client:
        client.create_model("m", toy_spec())
        client.learn("m", disturbed(5000, 5000, lambda: None), batch=50)
        assert_each_was_learned_once(client, "m", 5000)


def test_patience_ends(engram_server: EngramServer) -> None:
    with engram.Client(engram_server.grpc_address, retry=PATIENT) as client:
        client.create_model("m", toy_spec())
        examples = disturbed(100, 50, engram_server.kill)
        with pytest.raises(engram.UnavailableError):
            client.learn("m", examples, batch=10, give_up_after_seconds=0.5)
        with pytest.raises(engram.UnavailableError):
            engram.Client(
                engram_server.grpc_address, retry=engram.RetryOptions(attempts=2)
            ).list_models()


class _BusyServer(grpc.GenericRpcHandler):
    """Refuses every method's first calls with RetryInfo, then answers as an empty Engram."""

    def __init__(self, refusals: int, delay_seconds: float) -> None:
        self._refusals = refusals
        self._delay_seconds = delay_seconds
        self.times: list[float] = []

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.times.append(time.monotonic())
        if len(self.times) <= self._refusals:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(int(self._delay_seconds * 1000))
            packed = any_pb2.Any()
            packed.Pack(retry)
            rich = status_pb2.Status(code=8, message="busy", details=[packed])
            context.set_trailing_metadata((("grpc-status-details-bin", rich.SerializeToString()),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        return model_pb2.Model(name="answered").SerializeToString()


@pytest.fixture
def busy() -> Iterator[Callable[..., tuple[_BusyServer, engram.Client]]]:
    servers: list[grpc.Server] = []

    def start(refusals: int, delay_seconds: float) -> tuple[_BusyServer, engram.Client]:
        handler = _BusyServer(refusals, delay_seconds)
        servers.append(grpc.server(futures.ThreadPoolExecutor(1), handlers=[handler]))
        port = servers[-1].add_insecure_port("127.0.0.1:0")
        servers[-1].start()
        return handler, engram.Client(f"127.0.0.1:{port}")

    yield start
    for server in servers:
        server.stop(None).wait()


def test_back_pressure_is_waited_for_as_long_as_the_server_says(busy: Any) -> None:
    handler, client = busy(2, 0.4)
    # A call that acts is repeated too: the server refused it before any effect.
    assert client.create_model("m", toy_spec()).name == "answered"
    first, second, third = handler.times
    assert second - first >= 0.4 and third - second >= 0.4


def test_back_pressure_that_does_not_end_is_told(busy: Any) -> None:
    handler, client = busy(100, 0.01)
    with pytest.raises(engram.ResourceExhaustedError, match="busy") as told:
        client.get_model("m")
    assert told.value.retry_delay_seconds == 0.01
    assert len(handler.times) == 5


def test_streams_wait_for_a_place_among_the_callers(
    start_server: Callable[..., EngramServer], tmp_path: Any
) -> None:
    tokens = tmp_path / "tokens"
    token = "a" * 64
    tokens.touch(mode=0o600)
    digest = "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"
    tokens.write_text(f"admin only {digest}\n")
    server = start_server(
        f'authentication {{ token_file: "{tokens}" }} quota {{ learn_streams: 1 }}'
    )
    with engram.Client(server.grpc_address, token=token, retry=PATIENT) as client:
        client.create_model("m", toy_spec())
        first = client.learn_stream("m", producer="first")
        ended = threading.Timer(1.0, first.finish)
        ended.start()
        summary = client.learn("m", disturbed(50, 50, lambda: None), producer="second")
        assert not ended.is_alive() or ended.finished.is_set()
        assert summary.accepted_examples == 50
