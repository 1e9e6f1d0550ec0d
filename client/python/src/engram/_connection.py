"""Where the server is and who we are: address, TLS, token, limits of a channel."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

MESSAGE_BYTES_MAX = 4 << 20
_LOCAL = re.compile(r"^(dns:///|ipv4:|ipv6:)?(127\.|localhost(:|$)|\[::1\]|%5B::1%5D)|^unix:")

# PEM as bytes, or the path of a file of it.
Pem = bytes | str | os.PathLike[str]


def default_producer(kind: str) -> str:
    """A name that stays the same from run to run: the server keeps a counter for each it ever saw."""
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
        if self.token and self.ca is None and not _LOCAL.match(self.address):
            raise ValueError(
                f"token: goes to {self.address} over TLS only, give the authority of the server: ca="
            )

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


def channel_arguments() -> Sequence[tuple[str, int]]:
    """Of every channel.

    The server allows a ping every 30 s; one a minute finds a dead peer. A restarted server is back
    within a second or two: the channel's own backoff must not grow past it. gRPC's retries are off:
    ours know which calls may be repeated.
    """
    return (
        ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
        ("grpc.max_receive_message_length", 64 << 20),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1_000),
        ("grpc.enable_retries", 0),
    )


def _pem(given: Pem) -> bytes:
    return given if isinstance(given, bytes) else Path(given).read_bytes()
