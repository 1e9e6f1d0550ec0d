"""A real engramd on free ports, for tests in Python.

One server on one data folder: it can be stopped, killed and started again on the same folder, as
operators and power cuts do. It ends with the test process, however that ends.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

_PROGRAMS = Path(__file__).resolve().parents[2] / "build" / "release"
# A test that its time limit kills runs no fixture's end; the kernel ends the server then. By a
# program rather than preexec_fn, which is not safe where threads run, and gRPC has some.
DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL")


def program(name: str) -> Path:
    """The built `engramd` or `engram`; ctest names it by the variable ENGRAMD or ENGRAM."""
    folder = {"engramd": "server", "engram": "client"}[name]
    return Path(os.environ.get(name.upper(), _PROGRAMS / folder / name))


class EngramServer:
    """engramd on `folder`/state, started at once. `config`: text of an engram.v1.ServerConfig.

    A restarted server gets the ports that it had, as a real one does: what holds its address
    finds it again.
    """

    def __init__(
        self,
        folder: Path,
        config: str = "",
        flags: tuple[str, ...] = (),
        ready_within_seconds: float = 60.0,
    ) -> None:
        self.data_dir = folder / "state"
        self.log_file = folder / "engramd.log"
        self.config_file = folder / "engramd.textproto"
        self.config_file.write_text(config)
        self._flags = flags
        self._ready_within_seconds = ready_within_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self.grpc_address = "127.0.0.1:0"
        self.http_address = "127.0.0.1:0"
        self.start()

    @property
    def http_url(self) -> str:
        """Of the HTTP listener, no slash at the end."""
        scheme = "https" if "http_tls" in self.config_file.read_text() else "http"
        return f"{scheme}://{self.http_address}"

    @property
    def pid(self) -> int:
        """Of the running engramd."""
        assert self._process is not None, "engramd is not running"
        return self._process.pid

    def start(self) -> None:
        """Starts and returns once /readyz says yes. Raises RuntimeError with the log's end."""
        assert self._process is None, f"engramd runs already as {self._process.pid}"
        endpoints = self.data_dir / "endpoints.json"
        endpoints.unlink(missing_ok=True)  # a killed server left its own
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *DIE_WITH_PARENT,
                    str(program("engramd")),
                    f"--data_dir={self.data_dir}",
                    f"--listen={self.grpc_address}",
                    f"--http_listen={self.http_address}",
                    f"--config={self.config_file}",
                    *self._flags,
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + self._ready_within_seconds
        while not self._is_ready(endpoints):
            code = self._process.poll()
            if code is None and time.monotonic() < deadline:
                time.sleep(0.01)
                continue
            self.kill()
            what = f"ended with {code}" if code is not None else "was not ready in time"
            raise RuntimeError(f"engramd {what}; the end of its log:\n{self.log()[-4000:]}")

    def stop(self, within_seconds: float = 60.0) -> int:
        """SIGTERM: the server drains. Returns its exit code; kills and raises when it is late."""
        assert self._process is not None, "engramd is not running"
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(within_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(
                f"engramd did not drain; its log ends:\n{self.log()[-4000:]}"
            ) from None
        self._process = None
        return code

    def kill(self) -> None:
        """SIGKILL, as when the machine goes: nothing is drained. Does nothing when none runs."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._process = None

    def restart(self, kill: bool = False) -> None:
        """Stops it (or kills it) and starts it on the same folder and ports."""
        if kill:
            self.kill()
        else:
            self.stop()
        self.start()

    def log(self) -> str:
        """Everything that engramd wrote, over all its starts."""
        return self.log_file.read_text(errors="replace")

    def get(self, path: str, within_seconds: float = 10.0) -> tuple[int, str]:
        """GET of a path of the HTTP listener: status and body."""
        trusting = ssl.create_default_context()
        trusting.check_hostname = False
        trusting.verify_mode = ssl.CERT_NONE
        try:
            with urllib.request.urlopen(
                self.http_url + path, timeout=within_seconds, context=trusting
            ) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def _is_ready(self, endpoints: Path) -> bool:
        try:
            addresses = json.loads(endpoints.read_text())
            self.grpc_address, self.http_address = addresses["grpc"], addresses["http"]
            return self.get("/readyz")[0] == 200
        except (OSError, ValueError):  # not written, or not whole, or not listening yet
            return False
