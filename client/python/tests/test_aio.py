"""The asyncio client: the same calls, and the same promises of its stream."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import engram
import numpy as np
import pytest
from engram_server import EngramServer

from conftest import FEATURES, toy_spec
from tcp_proxy import TcpProxy

PATIENT = engram.RetryOptions(attempts=50)


def run(address: str, body: Callable[[engram.AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with engram.AsyncClient(address, retry=PATIENT) as client:
            await body(client)

    asyncio.run(main())


def test_both_clients_have_the_same_calls() -> None:
    def surface(kind: type) -> dict[str, list[str]]:
        return {
            name: list(inspect.signature(method).parameters)
            for name, method in inspect.getmembers(kind, inspect.isfunction)
            if not name.startswith("_")
        }

    assert surface(engram.AsyncClient) == surface(engram.Client)
    streams = surface(engram.AsyncLearnStream)
    del streams["open"]  # what LearnStream does as it is made
    assert streams == surface(engram.LearnStream)


def test_a_session(shared_server: EngramServer, toy_rows: Any) -> None:
    rows, labels = toy_rows(400)

    async def body(client: engram.AsyncClient) -> None:
        await client.create_model("aio", toy_spec())
        assert "aio" in [each.name for each in await client.list_models()]
        learned = await client.learn("aio", rows, labels)
        assert learned.accepted_examples == 400
        acks = [each async for each in client.learn_acks("aio", rows, labels, batch=50)]
        assert sum(each.examples for each in acks) == 400
        kept = await client.create_checkpoint(
            "aio", "kept", min_applied_sequence=learned.durable_sequence
        )
        exported = await client.export_checkpoint("aio", "kept")
        assert (await client.import_model("aio-again", exported.content)).name == "aio-again"
        marked = await client.boundary("aio", "next")
        await client.wait_applied("aio", marked.sequence, evaluated=True)
        prediction = await client.predict("aio", rows)
        assert np.mean(prediction.labels == labels) > 0.9
        assert (await client.evaluate("aio", rows[:9], labels[:9])).examples == 9
        async for event in client.watch("aio"):
            assert event.report.model == "aio"
            break
        undone = await client.rollback("aio", "kept", dry_run=True)
        assert undone.restored_sequence == kept.applied_sequence
        assert (await client.erase("aio", producer=client.producer)).erased_examples == 800
        assert (await client.limits())["examples_per_message"] == "1024"
        await client.delete_model("aio")
        with pytest.raises(engram.NotFoundError, match="aio"):
            await client.report("aio")
        with pytest.raises(engram.NotFoundError):
            await client.learn("aio", rows, labels)

    run(shared_server.grpc_address, body)


def test_examples_may_come_asynchronously_and_be_rejected(
    shared_server: EngramServer,
) -> None:
    async def examples() -> AsyncIterator[Any]:
        for number in range(30):
            await asyncio.sleep(0)
            value = np.nan if number == 15 else number
            yield (np.full(FEATURES, value, np.float32), number % 2)

    async def body(client: engram.AsyncClient) -> None:
        await client.create_model("async-examples", toy_spec())
        with pytest.raises(engram.RejectedError) as refused:
            await client.learn("async-examples", examples(), batch=10)
        assert refused.value.summary.accepted_examples == 20
        async with client.learn_stream("async-examples") as stream:
            await stream.send((np.zeros(FEATURES), 1))
            assert (await stream.flush()).accepted_examples == 1
            await stream.boundary("next")
        assert (await client.get_model("async-examples")).current_task == "next"

    run(shared_server.grpc_address, body)


async def endless() -> AsyncIterator[Any]:
    while True:
        await asyncio.sleep(0)
        yield (np.zeros(FEATURES, np.float32), 1)


async def cancelled_once(reached: Callable[[], bool], job: Coroutine[Any, Any, Any]) -> None:
    """The job is cancelled in the middle, and leaves no task of its own."""
    task = asyncio.create_task(job)
    deadline = asyncio.get_running_loop().time() + 30
    while not reached():
        assert asyncio.get_running_loop().time() < deadline, "the job did not get so far"
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    left = [each.get_coro().__qualname__ for each in asyncio.all_tasks()]
    assert not [name for name in left if name.startswith("AsyncLearnStream")]


def test_cancelled_in_the_middle_of_learning(shared_server: EngramServer) -> None:
    async def body(client: engram.AsyncClient) -> None:
        await client.create_model("endless", toy_spec())
        acks: list[engram.Ack] = []
        await cancelled_once(
            lambda: bool(acks), client.learn("endless", endless(), batch=10, on_ack=acks.append)
        )
        # The producer's name is free for the next.
        assert (await client.learn("endless", [(np.zeros(FEATURES), 1)])).accepted_examples == 1

    run(shared_server.grpc_address, body)


def test_cancelled_before_the_welcome(shared_server: EngramServer) -> None:
    async def body(_: engram.AsyncClient) -> None:
        with TcpProxy(shared_server.grpc_address) as proxy:
            proxy.swallow_answers()
            async with engram.AsyncClient(proxy.address) as far:
                await cancelled_once(lambda: proxy.connections > 0, far.learn("any", endless()))

    run(shared_server.grpc_address, body)


def test_a_client_closed_beneath_its_stream_ends_it(shared_server: EngramServer) -> None:
    async def body(client: engram.AsyncClient) -> None:
        await client.create_model("closed", toy_spec())
        async with engram.AsyncClient(shared_server.grpc_address) as other:
            stream = await other.learn_stream("closed").open()
        with pytest.raises(engram.CancelledError, match="closed"):
            await asyncio.wait_for(stream.finish(), 30)

    run(shared_server.grpc_address, body)


def test_whoever_takes_acks_slowly_slows_the_stream(shared_server: EngramServer) -> None:
    sent = 0

    def counted() -> Iterator[Any]:
        nonlocal sent
        while True:
            sent += 1
            yield (np.zeros(FEATURES, np.float32), 1)

    async def body(client: engram.AsyncClient) -> None:
        await client.create_model("slow", toy_spec())
        acks = client.learn_acks("slow", counted(), batch=1, window_messages=4)
        await acks.__anext__()
        seen = 0
        while seen < sent:
            assert sent < 1000, "64 acks of at most 4 messages each wait, and the window"
            seen = sent
            await asyncio.sleep(0.5)  # still: nobody takes an ack
        await asyncio.wait_for(acks.aclose(), 30)

    run(shared_server.grpc_address, body)


def test_a_block_that_raises_cancels_its_stream(shared_server: EngramServer) -> None:
    async def body(client: engram.AsyncClient) -> None:
        await client.create_model("cancelled", toy_spec())
        with pytest.raises(KeyError):
            async with client.learn_stream("cancelled") as stream:
                raise KeyError
        with pytest.raises(ValueError, match="cancelled"):
            await stream.send((np.zeros(FEATURES), 1))

    run(shared_server.grpc_address, body)


def disturbed(count: int, every: int, disturb: Callable[[], None]) -> Iterator[Any]:
    for number in range(count):
        if number and number % every == 0:
            disturb()
        yield (np.full(FEATURES, number % 7, np.float32), number % 2)


def test_cuts_lose_nothing_and_double_nothing(shared_server: EngramServer) -> None:
    async def body(client: engram.AsyncClient) -> None:
        await client.create_model("aio-cut", toy_spec())
        with TcpProxy(shared_server.grpc_address) as proxy:
            async with engram.AsyncClient(proxy.address, retry=PATIENT) as far:
                summary = await far.learn("aio-cut", disturbed(3000, 500, proxy.cut), batch=20)
        assert summary.accepted_examples == 3000
        await client.wait_applied("aio-cut")
        assert (await client.report("aio-cut")).train_examples == 3000

    run(shared_server.grpc_address, body)


def test_a_server_killed_in_the_middle_of_a_stream(engram_server: EngramServer) -> None:
    async def body(client: engram.AsyncClient) -> None:
        await client.create_model("m", toy_spec())
        examples = disturbed(4000, 2000, lambda: engram_server.restart(kill=True))
        summary = await client.learn("m", examples, batch=25)
        assert (summary.accepted_examples, summary.reconnects >= 1) == (4000, True)
        await client.wait_applied("m")
        assert (await client.report("m")).train_examples == 4000

    run(engram_server.grpc_address, body)
