"""Fixtures that every Python test of the suite has; pytest.ini loads this file as a plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from engram_server import EngramServer


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., EngramServer]]:
    """start_server(config="", flags=()) starts engramd on a fresh folder, as often as asked."""
    servers: list[EngramServer] = []

    def start(config: str = "", flags: tuple[str, ...] = ()) -> EngramServer:
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        servers.append(EngramServer(folder, config, flags))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def engram_server(start_server: Callable[..., EngramServer]) -> EngramServer:
    """A fresh engramd with default settings, for this test alone."""
    return start_server()


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngramServer]:
    """One engramd for the tests of a file: a start costs half a second. Use models of your own."""
    server = EngramServer(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()
