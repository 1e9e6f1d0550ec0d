"""When a failed call is worth repeating, and how long to wait first.

A repeat carries the same bytes, and so the same producer sequence: the server acks what it holds
already without applying it again, which makes repeating safe.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import grpc

from engram.errors import EngramError


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """Repeats of unary calls, and the delays between the connections of a stream.

    attempts: tries of a unary call in all; 1 = never repeat.
    jitter: each delay is drawn from [1 - jitter, 1 + jitter] times its length, so that producers
    that lost the same server do not come back in step.
    """

    attempts: int = 5
    delay_first_seconds: float = 0.1
    delay_max_seconds: float = 5.0
    multiplier: float = 2.0
    jitter: float = 0.2


def is_retryable(error: EngramError, repeatable: bool) -> bool:
    """`repeatable`: executing the call twice equals once (reads, and what carries a sequence).

    Other calls are repeated only when the server attached RetryInfo, which it does before any
    effect.
    """
    if error.code is grpc.StatusCode.UNAVAILABLE:
        return repeatable or error.retry_delay_seconds is not None
    if error.code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return error.retry_delay_seconds is not None
    return False


class Backoff:
    """The lengthening delays of one sequence of tries."""

    def __init__(self, options: RetryOptions) -> None:
        self._options = options
        self._nominal = options.delay_first_seconds

    def next(self, asked: float | None) -> float:
        """The next delay in seconds; never below what the server asked for."""
        options = self._options
        delay = self._nominal * random.uniform(1 - options.jitter, 1 + options.jitter)
        self._nominal = min(self._nominal * options.multiplier, options.delay_max_seconds)
        return delay if asked is None else max(delay, asked)

    def reset(self) -> None:
        """After progress: the next delay is the first again."""
        self._nominal = self._options.delay_first_seconds


class Repeats:
    """The tries of one unary call: what to do after each failure."""

    def __init__(self, options: RetryOptions, repeatable: bool) -> None:
        self._left = options.attempts - 1
        self._repeatable = repeatable
        self._backoff = Backoff(options)

    def delay_after(self, error: EngramError) -> float:
        """Seconds to wait before the next try. Raises `error` when there is none."""
        if self._left <= 0 or not is_retryable(error, self._repeatable):
            raise error
        self._left -= 1
        return self._backoff.next(error.retry_delay_seconds)
