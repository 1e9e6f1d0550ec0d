"""A producer's stream of examples and boundaries into one model, exactly once; for asyncio.

As learn.LearnStream, with coroutines in place of threads. Of one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any

import grpc
import numpy.typing as npt

from engram._calls import LEARN
from engram._connection import pause_async
from engram._window import Outgoing, StreamOptions, Window
from engram.errors import EngramError, error_of, from_rpc_error
from engram.examples import AnyExample, Examples, LearnDefaults, messages_of
from engram.results import Ack, LearnSummary
from engram.v1 import learning_pb2


class AsyncLearnStream:
    """Made by AsyncClient.learn_stream, which greets the server: `async with` it, or await open().

    Several tasks may send; each message is numbered as it gets its place in the window.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        metadata: Sequence[tuple[str, str]],
        options: StreamOptions,
        defaults: LearnDefaults,
        on_ack: Callable[[Ack], Awaitable[None] | None] | None = None,
    ) -> None:
        self._channel = channel
        self._metadata = metadata
        self._method = channel.stream_stream(
            LEARN, response_deserializer=learning_pb2.LearnResponse.FromString
        )
        self._options = options
        self.defaults = defaults
        self._on_ack = on_ack
        self._window = Window(options)
        self._sending = asyncio.Lock()
        self._event = asyncio.Event()
        self._finishing = False
        self._over = False
        self._cancelled = False
        self._complete = False  # the server confirmed the end record
        self._error: Exception | None = None
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> AsyncLearnStream:
        """Returns after the server's welcome."""
        self._keeper = asyncio.create_task(self._keep(), name="engram-learn")
        try:
            await self._until(lambda: self._window.opened or self._over)
            self._raise_if_failed()
        except BaseException:
            await self.cancel()
            raise
        return self

    async def send(
        self,
        examples: Examples | AnyExample | AsyncIterable[AnyExample],
        labels: npt.ArrayLike | None = None,
    ) -> int:
        """Rows with their labels, one example, or an iterable of examples, async or not. Returns
        the last producer sequence."""
        if isinstance(examples, AsyncIterable):
            if labels is not None:
                raise TypeError("labels: asynchronous examples bring their own, (features, label)")
            await self._send_async(examples)
            return self._window.next_sequence - 1
        for request in messages_of(examples, labels, self.defaults):
            await self.send_request(request)
        return self._window.next_sequence - 1

    async def _send_async(self, examples: AsyncIterable[AnyExample]) -> None:
        batch: list[AnyExample] = []
        async for example in examples:
            batch.append(example)
            if len(batch) >= self.defaults.batch:
                await self.send(batch)
                batch = []
        if batch:
            await self.send(batch)

    async def boundary(self, next_task: str = "") -> int:
        """Ends the current task; "" lets the server name the next one. Returns its producer
        sequence."""
        request = learning_pb2.LearnRequest()
        request.message.boundary.next_task = next_task
        await self.send_request(request)
        return self._window.next_sequence - 1

    async def send_request(self, request: learning_pb2.LearnRequest) -> None:
        """A LearnRequest with a message of 1 to 1 024 examples or a boundary, without number."""
        async with self._sending:
            self._raise_if_failed()
            if self._finishing:
                raise ValueError("the stream is finished")
            if self._window.skip_stored():
                return
            request.message.producer_sequence = self._window.next_sequence
            payload = request.SerializeToString()
            await self._until(lambda: self._over or self._window.has_room_for(len(payload)))
            self._raise_if_failed()
            self._window.push(payload, len(request.message.examples))
            self._notify()

    async def flush(self) -> LearnSummary:
        """Waits until everything sent is durable or rejected."""
        await self._until(lambda: self._over or self._window.empty)
        self._raise_if_failed()
        return self._window.snapshot()

    async def finish(self) -> LearnSummary:
        """Sends the end record and waits for the last ack and the server's status."""
        async with self._sending:
            self._finishing = True
            self._notify()
            await self._until(lambda: self._over)
            self._raise_if_failed()
            return self._window.snapshot()

    async def cancel(self) -> None:
        """Ends a stream that was not finished; what was not acked may or may not be stored."""
        self._cancelled = True
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self._over = True
        self._notify()

    async def _abandon(self) -> None:
        """Of a client that is closed: whoever waits for the stream hears of it."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    @property
    def summary(self) -> LearnSummary:
        """How far it got."""
        return self._window.snapshot()

    async def __aenter__(self) -> AsyncLearnStream:
        return self if self._keeper is not None else await self.open()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            await self.cancel()
        elif not self._cancelled:  # of a stream that failed meanwhile, finish says so
            await self.finish()

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise self._error
        if self._over and not self._complete:
            raise ValueError("the stream was cancelled")

    def _notify(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def _until(self, reached: Callable[[], bool]) -> None:
        while not reached():
            await self._event.wait()

    # The keeper task.

    async def _keep(self) -> None:
        try:
            while not await self._run_one_connection():
                pass
        except Exception as failure:  # to whoever calls next, whatever it is
            self._error = failure
        except asyncio.CancelledError:
            if not self._cancelled:
                self._error = error_of(grpc.StatusCode.CANCELLED, "the client was closed")
            raise
        finally:
            self._over = True
            self._notify()

    async def _run_one_connection(self) -> bool:
        """True: the stream is over. Raises what no other connection mends."""
        call = self._method(metadata=self._metadata)
        error: EngramError | None
        try:
            error = await self._speak(call)
        except grpc.RpcError as failure:
            error = _broken(failure)
        finally:
            call.cancel()
        if error is None:
            self._complete = True
            return True
        delay = self._window.reconnect_delay(error, time.monotonic())
        await pause_async(self._channel, delay, error.retry_delay_seconds is not None)
        return False

    async def _speak(self, call: Any) -> EngramError | None:
        """Hello to status; what was wrong with an end that the server called OK."""
        try:
            response = await asyncio.wait_for(self._greet(call), self._options.handshake_seconds)
        except asyncio.TimeoutError:
            return self._window.no_welcome()
        except asyncio.InvalidStateError:  # the call was over before the hello was written
            return await self._status_of(call, None)
        if response is grpc.aio.EOF:
            return await self._status_of(call, None)
        outgoing = self._window.on_welcome(response.welcome)
        self._notify()
        writer = asyncio.create_task(self._write_all(call, outgoing))
        try:
            await self._read_all(call)
        finally:
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
        return await self._status_of(call, outgoing)

    async def _greet(self, call: Any) -> Any:
        await call.write(self._window.hello())
        return await call.read()

    async def _status_of(self, call: Any, outgoing: Outgoing | None) -> EngramError | None:
        if await call.code() is grpc.StatusCode.OK:
            return self._window.outcome_of_end(outgoing)
        raise grpc.aio.AioRpcError(
            await call.code(),
            await call.initial_metadata(),
            await call.trailing_metadata(),
            details=await call.details(),
        )

    async def _read_all(self, call: Any) -> None:
        while (response := await call.read()) is not grpc.aio.EOF:
            ack = self._window.on_ack(response.ack)
            self._notify()
            told = None if self._on_ack is None else self._on_ack(ack)
            if told is not None:
                await told

    async def _write_all(self, call: Any, outgoing: Outgoing) -> None:
        """Returns once the end record is written."""
        while True:
            await self._until(
                lambda: self._finishing or self._window.find(outgoing.next_sequence) is not None
            )
            pending = self._window.find(outgoing.next_sequence)
            if pending is None:
                await call.write(outgoing.end_record())
                await call.done_writing()
                return
            await call.write(outgoing.count(pending))


def _broken(failure: grpc.RpcError) -> EngramError:
    """A write that fails before the server's status is there gives grpc.aio a status of its own;
    the sync client would say UNAVAILABLE, which is what it is."""
    error = from_rpc_error(failure)
    if error.code is grpc.StatusCode.INTERNAL and error.message == "Internal error from Core":
        return error_of(grpc.StatusCode.UNAVAILABLE, "the connection broke while writing")
    return error
