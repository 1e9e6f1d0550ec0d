"""Measures a stream from this client into a server on the same cores: examples/s until durable.

    PYTHONPATH=build/release/python_client:tests/python \
        build/release/python/bin/python client/python/bench_learn.py [--cores 0,1]

Prints one JSON object a run: rows of 784 float32 (and of uint8) in messages of 256, with the sync
and the asyncio client. `durable` is until the last ack, `learned` until the served model has all of
it; client_cpu_share is this process's time on a core.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import engram
import numpy as np
from engram_server import EngramServer

FEATURES = 784


def rows_of(kind: str, count: int) -> Any:
    rows = np.random.default_rng(1).integers(0, 256, size=(count, FEATURES), dtype=np.uint8)
    return rows if kind == "uint8" else rows.astype(np.float32) / 255


def learn(address: str, model: str, client_kind: str, rows: Any, labels: Any) -> float:
    """Seconds from the call to the last ack."""
    start = time.perf_counter()
    if client_kind == "sync":
        with engram.Client(address) as client:
            client.learn(model, rows, labels)
    else:

        async def stream() -> None:
            async with engram.AsyncClient(address) as client:
                await client.learn(model, rows, labels)

        asyncio.run(stream())
    return time.perf_counter() - start


def measure(server: EngramServer, client_kind: str, rows_kind: str, count: int) -> dict[str, Any]:
    rows = rows_of(rows_kind, count)
    labels = np.arange(count) % 10
    model = f"{client_kind}-{rows_kind}"
    with engram.Client(server.grpc_address) as client:
        client.create_model(model, feature_count=FEATURES, hidden=[256, 256], batch_size=32)
        cpu, start = time.process_time(), time.perf_counter()
        durable = learn(server.grpc_address, model, client_kind, rows, labels)
        used = time.process_time() - cpu
        client.wait_applied(model)
        learned = time.perf_counter() - start
        client.delete_model(model)
    return {
        "client": client_kind,
        "rows": rows_kind,
        "examples": count,
        "durable_examples_per_second": round(count / durable),
        "learned_examples_per_second": round(count / learned),
        "client_cpu_share": round(used / durable, 2),
        "load": os.getloadavg()[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--cores", default="", help="as 0,1: of server and client together")
    arguments = parser.parse_args()
    if arguments.cores:
        os.sched_setaffinity(0, {int(core) for core in arguments.cores.split(",")})
    with tempfile.TemporaryDirectory() as folder:
        server = EngramServer(Path(folder))
        try:
            for client_kind in ("sync", "asyncio"):
                for rows_kind in ("float32", "uint8"):
                    print(json.dumps(measure(server, client_kind, rows_kind, arguments.examples)))
        finally:
            server.kill()


if __name__ == "__main__":
    main()
