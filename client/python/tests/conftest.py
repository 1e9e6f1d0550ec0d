"""What the tests of the client share: a client of the file's server, and toy examples."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import engram
import numpy as np
import numpy.typing as npt
import pytest
from engram_server import EngramServer

FEATURES = 4


@pytest.fixture
def client(shared_server: EngramServer) -> Iterator[engram.Client]:
    with engram.Client(shared_server.grpc_address) as connected:
        yield connected


@pytest.fixture
def model(client: engram.Client, request: pytest.FixtureRequest) -> str:
    """A model of this test's own: four features, nothing held out unless a test says so."""
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:100]
    client.create_model(name, **toy_spec())
    return name


def toy_spec() -> dict[str, object]:
    return {"feature_count": FEATURES, "hidden": [8], "held_out_fraction": 0.0}


@pytest.fixture
def toy_rows() -> Callable[[int], tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
    """toy_rows(n): rows whose label is the sign of their first value."""

    def make(count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        rows = np.random.default_rng(7).normal(size=(count, FEATURES)).astype(np.float32)
        rows[:, 0] += np.where(rows[:, 0] > 0, 1, -1)
        return rows, (rows[:, 0] > 0).astype(np.int64)

    return make
