"""A terminal of the test's own: a program runs on a pty, and pyte keeps what its screen shows."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import termios
import time
from collections.abc import Callable, Sequence

import pyte


class Terminal:
    """`command` on a screen of `columns` x `lines`; ends with the `with` block."""

    def __init__(
        self,
        command: Sequence[str],
        environment: dict[str, str] | None = None,
        columns: int = 80,
        lines: int = 24,
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.output = b""
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "linux", "LC_ALL": "C.UTF-8", **(environment or {})})
            os.execvp(command[0], list(command))
        self._closed = False
        self._code: int | None = None
        self.resize(columns, lines)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)

    def resize(self, columns: int, lines: int) -> None:
        """The window's size; the kernel tells the program."""
        self.screen.resize(lines, columns)
        fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def modes(self) -> list[object]:
        """What stty would show: input, output, control and local modes, characters."""
        return list(termios.tcgetattr(self._fd))

    def send(self, keys: str) -> None:
        """As if typed."""
        os.write(self._fd, keys.encode())

    def text(self) -> str:
        """The screen, a line a row."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def read(self, within_seconds: float) -> bool:
        """Feeds what comes in time to the screen; false when nothing came, or nothing more can."""
        if self._closed or not select.select([self._fd], [], [], within_seconds)[0]:
            return False
        try:
            got = os.read(self._fd, 65536)
        except OSError:  # how Linux says that the other side is gone
            got = b""
        self._closed = not got
        self.output += got
        self._stream.feed(got)
        return bool(got)

    def wait_for(self, seen: Callable[[str], bool], within_seconds: float = 20) -> str:
        """The screen's text once `seen` is true of it."""
        deadline = time.monotonic() + within_seconds
        while not seen(self.text()):
            assert time.monotonic() < deadline, f"not seen in time; the screen:\n{self.text()}"
            assert self.read(0.1) or not self._closed, f"the program ended:\n{self.text()}"
        return self.text()

    def exit_code(self, within_seconds: float = 20) -> int:
        """Reads on until the program ends."""
        deadline = time.monotonic() + within_seconds
        while self._code is None:
            self.read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
            assert self._code is not None or time.monotonic() < deadline, self.text()
        while self.read(0):
            pass
        return self._code
