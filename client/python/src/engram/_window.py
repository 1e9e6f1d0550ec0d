"""A producer's side of the Learn protocol, without a socket: numbers, the window, acks, the end.

Messages are numbered from the server's last producer sequence + 1 and kept, serialised once, until
they are acked. After a break everything unacked goes again under the same numbers, also what the
server may hold: its answer to a repeat says again which were rejected. learn.py and aio_learn.py
put this on a wire, with threads and with asyncio.
"""

from __future__ import annotations

import zlib
from collections import deque
from dataclasses import dataclass, replace

import grpc

from engram.errors import EngramError, error_of, from_status
from engram.results import Ack, LearnSummary, Rejection
from engram._retry import Backoff, RetryOptions, is_retryable
from engram.v1 import learning_pb2

_REJECTIONS_KEPT = 1000


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Of one LearnStream.

    first_sequence: the producer sequence of the first message that will be sent. Messages that the
    server has from an earlier run are then skipped, so that a program that was cut may run again
    from its beginning. None: after the last one that the server has.
    give_up_after_seconds: without an ack while the connection is down. retry: delays between
    connections; its attempts bound only the tries for the first welcome.
    """

    model: str
    producer: str
    first_sequence: int | None = None
    window_messages: int = 64
    window_bytes: int = 8 << 20
    handshake_seconds: float = 10.0
    give_up_after_seconds: float = 60.0
    retry: RetryOptions = RetryOptions()


@dataclass(frozen=True, slots=True)
class Pending:
    """A message without an ack: a serialised LearnRequest."""

    sequence: int
    payload: bytes
    examples: int


class Outgoing:
    """What one connection has written: its next sequence, and the end record over it."""

    def __init__(self, first_sequence: int) -> None:
        self.next_sequence = first_sequence
        self.ended = False
        self._messages = 0
        self._crc32 = 0

    def count(self, pending: Pending) -> bytes:
        """The bytes to write now."""
        self._crc32 = zlib.crc32(pending.payload, self._crc32)
        self._messages += 1
        self.next_sequence += 1
        return pending.payload

    def end_record(self) -> bytes:
        """Says what was sent, so that a cut stream can never look finished."""
        self.ended = True
        end = learning_pb2.LearnEnd(message_count=self._messages, crc32=self._crc32)
        return learning_pb2.LearnRequest(end=end).SerializeToString()


class Window:
    """Not thread-safe: whoever puts it on a wire guards it."""

    def __init__(self, options: StreamOptions) -> None:
        if options.first_sequence is not None and options.first_sequence < 1:
            raise ValueError(f"first_sequence: expected 1 or more, got {options.first_sequence}")
        self.options = options
        self.summary = LearnSummary(producer=options.producer)
        self.opened = False
        self._pending: deque[Pending] = deque()
        self._bytes = 0
        self._sent = 0
        self._stuck_since: float | None = None
        self._failures_before_welcome = 0
        self._backoff = Backoff(options.retry)

    # What the caller sends.

    @property
    def next_sequence(self) -> int:
        """Of the next message to be pushed."""
        return self._sent + 1

    @property
    def empty(self) -> bool:
        """Everything is acked."""
        return not self._pending

    def skip_stored(self) -> bool:
        """True: the server has the next message; it is counted and need not be pushed."""
        if self.next_sequence > self.summary.producer_sequence:
            return False
        self._sent += 1
        self.summary.skipped_messages += 1
        return True

    def has_room_for(self, size: int) -> bool:
        """One message larger than the window passes when it is empty."""
        if not self._pending:
            return True
        return (
            len(self._pending) < self.options.window_messages
            and self._bytes + size <= self.options.window_bytes
        )

    def push(self, payload: bytes, examples: int) -> int:
        """The message must carry next_sequence, which is returned."""
        self._sent += 1
        self._pending.append(Pending(self._sent, payload, examples))
        self._bytes += len(payload)
        return self._sent

    def find(self, sequence: int) -> Pending | None:
        """None: not pushed yet."""
        if not self._pending:
            return None
        index = sequence - self._pending[0].sequence
        return self._pending[index] if 0 <= index < len(self._pending) else None

    def snapshot(self) -> LearnSummary:
        """The summary as it stands, which later acks do not change."""
        return replace(self.summary, rejections=list(self.summary.rejections))

    # What the server says.

    def hello(self) -> bytes:
        """Opens a connection. After the first it shows the acks that we hold."""
        hello = learning_pb2.LearnHello(
            model=self.options.model,
            producer=self.options.producer,
            last_acked_sequence=self.summary.producer_sequence if self.opened else 0,
        )
        return learning_pb2.LearnRequest(hello=hello).SerializeToString()

    def on_welcome(self, welcome: learning_pb2.LearnWelcome) -> Outgoing:
        """Raises EngramError when what the server holds cannot be ours."""
        last = int(welcome.last_producer_sequence)
        summary = self.summary
        if not self.opened:
            self._open_at(last)
        elif last < summary.producer_sequence:
            raise error_of(
                grpc.StatusCode.DATA_LOSS,
                f'producer "{self.options.producer}" holds ack {summary.producer_sequence}, '
                f"the server has {last}",
            )
        elif last > max(self._sent, summary.producer_sequence):  # which may be skipped yet
            raise error_of(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'producer "{self.options.producer}" sent up to {self._sent}, the server has '
                f"{last}: another client uses this name; give each its own producer",
            )
        summary.epoch = int(welcome.epoch)
        summary.durable_sequence = int(welcome.durable_sequence)
        summary.applied_sequence = int(welcome.applied_sequence)
        if not self._pending:
            self._stuck_since = None
        if self._pending:
            return Outgoing(self._pending[0].sequence)
        return Outgoing(max(self._sent, summary.producer_sequence) + 1)

    def _open_at(self, last: int) -> None:
        first = self.options.first_sequence
        if first is not None and first > last + 1:
            raise error_of(
                grpc.StatusCode.OUT_OF_RANGE,
                f'first_sequence: producer "{self.options.producer}" has {last} messages at the '
                f"server, expected at most {last + 1}, got {first}",
            )
        self._sent = last if first is None else first - 1
        self.summary.producer_sequence = last
        self.opened = True

    def on_ack(self, ack: learning_pb2.LearnAck) -> Ack:
        """Forgets what is settled. Raises EngramError for an ack of what was never sent."""
        if ack.producer_sequence > max(self._sent, self.summary.producer_sequence):
            raise error_of(
                grpc.StatusCode.INTERNAL,
                f"the server acked {ack.producer_sequence}, sent were {self._sent}",
            )
        rejections = tuple(self._rejection(each) for each in ack.rejections)
        settled = self._settle(int(ack.producer_sequence))
        summary = self.summary
        rejected = sum(each.examples for each in rejections)
        summary.accepted_examples += settled - rejected
        summary.rejected_examples += rejected
        summary.rejected_messages += len(rejections)
        summary.rejections += rejections[: _REJECTIONS_KEPT - len(summary.rejections)]
        summary.durable_sequence = max(summary.durable_sequence, int(ack.durable_sequence))
        summary.applied_sequence = int(ack.applied_sequence)
        summary.duplicates += int(ack.duplicates)
        return Ack(
            producer_sequence=summary.producer_sequence,
            durable_sequence=summary.durable_sequence,
            applied_sequence=summary.applied_sequence,
            examples=settled,
            rejections=rejections,
            duplicates=int(ack.duplicates),
        )

    def _rejection(self, rejection: learning_pb2.Rejection) -> Rejection:
        pending = self.find(int(rejection.producer_sequence))
        return Rejection(
            producer_sequence=int(rejection.producer_sequence),
            error=from_status(rejection.status),
            examples=0 if pending is None else pending.examples,
        )

    def _settle(self, sequence: int) -> int:
        examples = 0
        while self._pending and self._pending[0].sequence <= sequence:
            settled = self._pending.popleft()
            self._bytes -= len(settled.payload)
            examples += settled.examples
        if sequence > self.summary.producer_sequence:
            self.summary.producer_sequence = sequence
            self._stuck_since = None
        return examples

    def outcome_of_end(self, outgoing: Outgoing | None) -> EngramError | None:
        """Of a connection that the server ended with OK; None: it never greeted us."""
        if outgoing is None or not outgoing.ended:
            return error_of(
                grpc.StatusCode.INTERNAL, "the server ended the stream before its end record"
            )
        if self._pending:
            return error_of(
                grpc.StatusCode.INTERNAL,
                f"the server finished the stream at {self.summary.producer_sequence}, "
                f"sent were {self._sent}",
            )
        return None

    def no_welcome(self) -> EngramError:
        """Of a connection that was not greeted in time."""
        return error_of(
            grpc.StatusCode.UNAVAILABLE,
            f"no welcome from the server within {self.options.handshake_seconds} s",
        )

    def reconnect_delay(self, error: EngramError, now: float) -> float:
        """Seconds until the next connection. Raises `error` when another one cannot mend it, or
        nothing went forward for too long."""
        if not self._is_mendable(error):
            raise error
        if self._stuck_since is None:
            self._stuck_since = now
            self._backoff.reset()
        if now - self._stuck_since > self.options.give_up_after_seconds:
            raise error
        if self.opened:
            self.summary.reconnects += 1
        else:
            self._failures_before_welcome += 1
            if self._failures_before_welcome >= self.options.retry.attempts:
                raise error
        return self._backoff.next(error.retry_delay_seconds)

    def _is_mendable(self, error: EngramError) -> bool:
        if error.code is grpc.StatusCode.ABORTED:
            return error.reason not in ("SEQUENCE_GAP", "STALE_EPOCH")
        return is_retryable(error, repeatable=True)
