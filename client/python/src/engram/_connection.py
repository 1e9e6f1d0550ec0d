"""Where the server is and who we are: address, TLS, token, limits of a channel."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

MESSAGE_BYTES_MAX = 4 << 20
_LOCAL = re.compile(
    r"(dns:///|ipv4:|ipv6:)?(127(\.\d{1,3}){3}|localhost|\[::1\]|%5B::1%5D)(:\d+)?|unix:.*"
)

# PEM as bytes, or the path of a file of it.
Pem = bytes | str | os.PathLike[str]


def default_producer(kind: str) -> str:
    """The same from run to run: the server keeps a counter for each name that it ever saw."""
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname()) or "host"
    return f"{kind}-{host}"[:128]


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """See engram.Client for what each means."""

    address: str
    token: str | None = None
    ca: Pem | None = None
    certificate: Pem | None = None
    key: Pem | None = None

    def __post_init__(self) -> None:
        if not self.address:
            raise ValueError('address: expected "HOST:PORT", got ""')
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate, key: they go together, give both")
        if self.ca is None and self.certificate is not None:
            raise ValueError("certificate: needs the authority of the server too, give ca=")
        if self.token and self.ca is None and not self.is_local():
            raise ValueError(
                f"token: goes to {self.address} over TLS only; give the server's authority: ca="
            )

    def is_local(self) -> bool:
        """Bytes to this address cannot leave this machine."""
        return _LOCAL.fullmatch(self.address) is not None

    def credentials(self) -> grpc.ChannelCredentials | None:
        """None: in the clear, which the server takes from this machine only."""
        if self.ca is None:
            return None
        return grpc.ssl_channel_credentials(
            root_certificates=_pem(self.ca),
            private_key=None if self.key is None else _pem(self.key),
            certificate_chain=None if self.certificate is None else _pem(self.certificate),
        )

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Goes with every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()


def channel_arguments(options: ConnectionOptions) -> Sequence[tuple[str, int]]:
    """Of every channel.

    The server allows a ping every 30 s; one a minute finds a dead peer. A restarted server is back
    within a second or two: the channel's own backoff must not grow past it. gRPC's retries are off:
    ours know which calls may be repeated. A proxy that the environment names is not asked for what
    is on this machine: it could not get there, and would see the token.
    """
    return (
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_receive_message_length", 64 << 20),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.enable_retries", 0),
        ("grpc.enable_http_proxy", 0 if options.is_local() else 1),
    )


# Before a connection that is ready again cuts a delay short: whatever answers UNAVAILABLE at once
# must not be asked in a circle.
_LEAST_PAUSE_SECONDS = 0.05


def pause(
    channel: grpc.Channel,
    seconds: float,
    in_full: bool,
    stopping: threading.Event | None = None,
) -> None:
    """Waits before a repeat; unless in_full, no longer than until the server is back.

    gRPC for Python connects only while somebody looks: asleep without that, every repeat would find
    the failure of the one before.
    """
    stopped = stopping or threading.Event()
    wake = threading.Event()
    ready = grpc.channel_ready_future(channel)
    try:
        least = seconds if in_full else min(seconds, _LEAST_PAUSE_SECONDS)
        if stopped.wait(least):
            return
        ready.add_done_callback(lambda _: wake.set())
        deadline = time.monotonic() + seconds - least
        while not wake.is_set() and not stopped.is_set() and time.monotonic() < deadline:
            wake.wait(min(_LEAST_PAUSE_SECONDS, max(0.0, deadline - time.monotonic())))
    finally:
        ready.cancel()


async def pause_async(channel: grpc.aio.Channel, seconds: float, in_full: bool) -> None:
    """The same for asyncio, whose channels connect by themselves."""
    if in_full:
        await asyncio.sleep(seconds)
        return
    await asyncio.sleep(min(seconds, _LEAST_PAUSE_SECONDS))
    try:
        await asyncio.wait_for(channel.channel_ready(), max(0.0, seconds - _LEAST_PAUSE_SECONDS))
    except asyncio.TimeoutError:
        pass


def _pem(given: Pem) -> bytes:
    return given if isinstance(given, bytes) else Path(given).read_bytes()
