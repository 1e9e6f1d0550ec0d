"""A producer's stream of examples and boundaries into one model, exactly once; with threads.

send() returns once the message is in the window and blocks while the window is full: that is how a
producer is slowed to the speed of the server. A thread keeps the connection; when it breaks, that
thread opens a new one and sends again what was not acked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Any

import grpc
import numpy.typing as npt

from engram._calls import LEARN
from engram._connection import pause
from engram._window import Outgoing, StreamOptions, Window
from engram.errors import EngramError, from_rpc_error
from engram.examples import AnyExample, Examples, LearnDefaults, messages_of
from engram.results import Ack, LearnSummary
from engram.v1 import learning_pb2


class _Connection:
    """One connection of a stream; guarded by the stream's lock."""

    def __init__(self) -> None:
        self.outgoing: Outgoing | None = None  # from the welcome on
        self.welcome_missed = False
        self.over = False


class LearnStream:
    """Made by Client.learn_stream. Send from any thread; messages are numbered as they come in.

    As a context manager it finishes at the end of the block, and cancels when the block raises.
    A broken connection, and a server that asks for a repeat, are mended silently until nothing was
    acked for give_up_after_seconds. Any other end is final: every later call raises it. A rejected
    message does not end the stream: its ack carries it, and the summary.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        metadata: Sequence[tuple[str, str]],
        options: StreamOptions,
        defaults: LearnDefaults,
        on_ack: Callable[[Ack], None] | None = None,
    ) -> None:
        """Blocks until the server's welcome. on_ack is called on the stream's own thread, in
        order, and must not call into the stream."""
        self._channel = channel
        self._metadata = metadata
        self._method = channel.stream_stream(
            LEARN, response_deserializer=learning_pb2.LearnResponse.FromString
        )
        self._options = options
        self.defaults = defaults
        self._on_ack = on_ack
        self._sending = threading.Lock()  # numbering and pushing are one step for other senders
        self._changed = threading.Condition()  # of everything below
        self._window = Window(options)
        self._connection = _Connection()
        self._call: Any = None
        self._finishing = False
        self._stopping = threading.Event()
        self._over = False
        self._complete = False  # the server confirmed the end record
        self._error: Exception | None = None
        self._keeper = threading.Thread(target=self._keep, name="engram-learn", daemon=True)
        self._keeper.start()
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._window.opened or self._over)
                self._raise_if_failed()
        except BaseException:
            self.cancel()
            raise

    def send(self, examples: Examples | AnyExample, labels: npt.ArrayLike | None = None) -> int:
        """Rows with their labels, one example, or an iterable of examples; the last message may be
        a partial one. Returns the last producer sequence."""
        for request in messages_of(examples, labels, self.defaults):
            self.send_request(request)
        return self._window.next_sequence - 1

    def boundary(self, next_task: str = "") -> int:
        """Ends the current task; "" lets the server name the next one. Returns its producer
        sequence."""
        request = learning_pb2.LearnRequest()
        request.message.boundary.next_task = next_task
        self.send_request(request)
        return self._window.next_sequence - 1

    def send_request(self, request: learning_pb2.LearnRequest) -> None:
        """A LearnRequest with a message of 1 to 1 024 examples or a boundary, without number."""
        with self._sending:
            with self._changed:
                self._raise_if_failed()
                if self._finishing:
                    raise ValueError("the stream is finished")
                if self._window.skip_stored():
                    return
                request.message.producer_sequence = self._window.next_sequence
            payload = request.SerializeToString()
            with self._changed:
                self._changed.wait_for(
                    lambda: self._over or self._window.has_room_for(len(payload))
                )
                self._raise_if_failed()
                self._window.push(payload, len(request.message.examples))
                self._changed.notify_all()

    def flush(self) -> LearnSummary:
        """Blocks until everything sent is durable or rejected."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._window.empty)
            self._raise_if_failed()
            return self._window.snapshot()

    def finish(self) -> LearnSummary:
        """Sends the end record and waits for the last ack and the server's status."""
        with self._sending, self._changed:
            self._finishing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._over)
            self._raise_if_failed()
            return self._window.snapshot()

    def cancel(self) -> None:
        """Ends a stream that was not finished; what was not acked may or may not be stored."""
        with self._changed:
            self._stopping.set()
            call = self._call
            self._changed.notify_all()
        if call is not None:
            call.cancel()
        self._keeper.join()

    @property
    def summary(self) -> LearnSummary:
        """How far it got."""
        return self._window.snapshot()

    def __enter__(self) -> LearnStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.cancel()
        elif not self._stopping.is_set():  # of a stream that failed meanwhile, finish says so
            self.finish()

    def _raise_if_failed(self) -> None:
        if self._error is not None:
            raise self._error
        if self._over and not self._complete:
            raise ValueError("the stream was cancelled")

    # The keeper thread.

    def _keep(self) -> None:
        error: Exception | None = None
        try:
            while not self._run_one_connection():
                pass
        except Exception as failure:  # to whoever calls next, whatever it is
            error = failure
        with self._changed:
            self._error = error
            self._over = True
            self._changed.notify_all()

    def _run_one_connection(self) -> bool:
        """True: the stream is over, well or by cancel(). Raises what no other connection mends."""
        connection = _Connection()
        with self._changed:
            if self._stopping.is_set():
                return True
            self._connection = connection
            self._call = call = self._method(self._outgoing(connection), metadata=self._metadata)
        error = self._read_all(connection, call)
        if error is None:
            self._complete = True
            return True
        with self._changed:
            if self._stopping.is_set():
                return True
            delay = self._window.reconnect_delay(error, time.monotonic())
        pause(self._channel, delay, error.retry_delay_seconds is not None, self._stopping)
        return self._stopping.is_set()

    def _read_all(self, connection: _Connection, call: Any) -> EngramError | None:
        """Until the server's status; what was wrong with it."""
        timer = threading.Timer(
            self._options.handshake_seconds, self._miss_welcome, (connection, call)
        )
        timer.daemon = True
        timer.start()
        try:
            for response in call:
                timer.cancel()
                self._take(connection, response)
            return self._window.outcome_of_end(connection.outgoing)
        except grpc.RpcError as failure:
            missed = connection.welcome_missed
            return self._window.no_welcome() if missed else from_rpc_error(failure)
        finally:
            timer.cancel()
            call.cancel()  # after an error of ours; does nothing after the server's status
            with self._changed:
                connection.over = True
                self._changed.notify_all()

    def _miss_welcome(self, connection: _Connection, call: Any) -> None:
        connection.welcome_missed = True
        call.cancel()

    def _take(self, connection: _Connection, response: learning_pb2.LearnResponse) -> None:
        with self._changed:
            if response.HasField("welcome"):
                connection.outgoing = self._window.on_welcome(response.welcome)
                self._changed.notify_all()
                return
            ack = self._window.on_ack(response.ack)
            self._changed.notify_all()
        if self._on_ack is not None:
            self._on_ack(ack)

    # gRPC's thread that writes.

    def _outgoing(self, connection: _Connection) -> Iterator[bytes]:
        yield self._window.hello()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: connection.over or self._has_next(connection))
                if connection.over or connection.outgoing is None:
                    return
                pending = self._window.find(connection.outgoing.next_sequence)
                if pending is None:
                    payload = connection.outgoing.end_record()
                else:
                    payload = connection.outgoing.count(pending)
            yield payload
            if pending is None:
                return

    def _has_next(self, connection: _Connection) -> bool:
        if connection.outgoing is None:
            return False
        found = self._window.find(connection.outgoing.next_sequence)
        return found is not None or self._finishing
