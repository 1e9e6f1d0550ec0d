"""Prometheus and promtool for tests: where they are, and a real Prometheus on a folder.

The server ends with the test process, however that ends.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engram_server import DIE_WITH_PARENT

ROOT = Path(__file__).resolve().parents[2]
DEPLOYED = ROOT / "deploy" / "prometheus"

_UNPACKED = ROOT / "build" / "tools" / "usr" / "bin"


def prometheus_program(name: str) -> str:
    """`prometheus` or `promtool`: the installed one, or what install_dependencies unpacked."""
    found = shutil.which(name) or shutil.which(name, path=str(_UNPACKED))
    if found is None:
        raise RuntimeError(
            f"{name} is neither on the PATH nor in {_UNPACKED}; run deploy/install_dependencies"
        )
    return found


def run_promtool(*words: str) -> str:
    """What promtool printed; its complaint as an AssertionError."""
    done = subprocess.run(
        [prometheus_program("promtool"), *words], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_for(what: str, holds: Callable[[], bool], within_seconds: float = 30.0) -> None:
    """Polls until it holds; says what did not within the time."""
    deadline = time.monotonic() + within_seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_seconds} s: {what}"
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Prometheus:
    """Runs the deployed configuration, every second instead of every 15, on one target."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder = folder
        for rules in DEPLOYED.glob("*_rules.yml"):
            shutil.copy(rules, folder)
        text = (DEPLOYED / "prometheus.yml").read_text()
        assert text.count("15s") == 2, "the two intervals of prometheus.yml"
        (folder / "prometheus.yml").write_text(text.replace("15s", "1s"))
        (folder / "engram_targets.yml").write_text(f'- targets: ["{target}"]\n')
        self.started = time.time()
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""

    def start(self) -> None:
        """Returns once it answers. Another process may take the free port before: tried anew."""
        for _ in range(3):
            address = f"127.0.0.1:{_free_port()}"
            self._url = f"http://{address}"
            with (self.folder / "log").open("ab") as log:
                process = subprocess.Popen(
                    [
                        *DIE_WITH_PARENT,
                        prometheus_program("prometheus"),
                        f"--config.file={self.folder / 'prometheus.yml'}",
                        f"--storage.tsdb.path={self.folder / 'series'}",
                        f"--web.listen-address={address}",
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            self._process = process
            wait_for("Prometheus is ready", lambda: self._is_ready() or self._has_ended())
            if not self._has_ended():
                return
        raise RuntimeError(f"Prometheus ended; its log:\n{(self.folder / 'log').read_text()}")

    def stop(self) -> None:
        """SIGKILL: nothing of its folder is read again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def get(self, path: str, **parameters: str | float) -> Any:
        """`data` of an answer of the HTTP API; a refusal as an AssertionError with its reason."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=20) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as refusal:
            raise AssertionError(f"{path} {parameters}: {refusal.read().decode()}") from refusal

    def now(self, query: str) -> list[dict[str, Any]]:
        """Series of an instant query, each with `metric` and `value`."""
        series: list[dict[str, Any]] = self.get("query", query=query)["result"]
        return series

    def ever(self, query: str) -> list[dict[str, Any]]:
        """Series of a range query since the start, a step a second, each with `values`."""
        # One step more: the last whole one may lie before the newest sample.
        end = time.time() + 1
        data = self.get("query_range", query=query, start=self.started, end=end, step=1)
        series: list[dict[str, Any]] = data["result"]
        return series

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:  # not listening yet, or not ready
            return False
