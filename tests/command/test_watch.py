"""`engram watch` on a terminal: what it shows, follows, and leaves behind."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from engram_command import ENGRAM, engram, succeed, write_rows
from engram_server import EngramServer
from terminal import Terminal


def make_model(server: str, name: str, folder: Path) -> None:
    """A model of two tasks, a boundary between them, a checkpoint."""
    succeed(
        server,
        "model",
        "create",
        name,
        "--features",
        "2",
        "--hidden",
        "8",
        "--first_task",
        "morning",
        "--held_out_fraction",
        "0.1",
    )
    succeed(server, "learn", name, "--csv", str(write_rows(folder / "a.csv", 400)), "--wait")
    succeed(server, "boundary", name, "evening", "--wait")
    succeed(server, "checkpoint", "create", name, "kept")
    succeed(server, "learn", name, "--csv", str(write_rows(folder / "b.csv", 400, 2)), "--wait")


def watch(server: str, *arguments: str, **options: Any) -> Terminal:
    """The verb on a terminal; looks often, so that a test need not wait."""
    return Terminal([ENGRAM, "--server", server, "watch", "--every", "0.1", *arguments], **options)


def test_shows_the_model_and_follows_it(shared_server: EngramServer, tmp_path: Path) -> None:
    server = shared_server.grpc_address
    make_model(server, "shown", tmp_path)
    with watch(server, "shown") as terminal:
        page = terminal.wait_for(lambda text: "evening*" in text and "q quits" in text)
        assert page.startswith("shown  SERVING  task evening"), page
        assert re.search(r"^morning +[▁▂▃▄▅▆▇█]+ +\d+\.\d +\d+\.\d", page, re.M), page
        assert "checkpoint  kept" in page and "boundary    ended morning" in page, page
        succeed(server, "rollback", "shown", "kept")
        terminal.wait_for(lambda text: "rollback    to" in text and "examples dropped" in text)
        terminal.send("q")
        assert terminal.exit_code() == 0


@pytest.mark.parametrize("end", ["q", "\x03", signal.SIGTERM])
def test_leaves_the_terminal_as_it_was(
    shared_server: EngramServer, tmp_path: Path, end: str | int
) -> None:
    server = shared_server.grpc_address
    name = f"left-{ord(end) if isinstance(end, str) else end}"
    make_model(server, name, tmp_path)
    command = (
        f"echo before; read -r; '{ENGRAM}' --server {server} watch {name}; echo after $?; read -r"
    )
    with Terminal(["bash", "-c", command], {"TERM": "xterm-256color"}) as terminal:
        terminal.wait_for(lambda text: "before" in text)
        before = terminal.modes()
        terminal.send("\n")
        terminal.wait_for(lambda text: "q quits" in text)
        assert terminal.modes() != before, "it draws with the line discipline of a shell"
        if isinstance(end, str):
            terminal.send(end)
        else:
            # To the watcher: the shell's child.
            child = (
                Path(f"/proc/{terminal.pid}/task/{terminal.pid}/children").read_text().split()[0]
            )
            os.kill(int(child), end)
        terminal.wait_for(lambda text: "after 0" in text or "after 130" in text)
        assert terminal.modes() == before
        # The page that was there is back, and the cursor can be seen.
        assert b"\x1b[?1049h" in terminal.output and b"\x1b[?1049l" in terminal.output
        assert terminal.output.rfind(b"\x1b[?25h") > terminal.output.rfind(b"\x1b[?25l")
        terminal.send("\n")
        assert terminal.exit_code() == 0


def test_follows_the_size_of_the_window(shared_server: EngramServer, tmp_path: Path) -> None:
    server = shared_server.grpc_address
    make_model(server, "sized", tmp_path)
    with watch(server, "sized") as terminal:
        terminal.wait_for(lambda text: text.endswith("other tasks"))
        for columns, lines in ((60, 12), (120, 40), (40, 8)):
            terminal.resize(columns, lines)
            page = terminal.wait_for(
                lambda text: text.startswith("sized  SERVING")
                and text.splitlines()[-1].startswith("q quits")
            )
            assert len(page.splitlines()) == lines


def test_draws_only_what_changes(shared_server: EngramServer, tmp_path: Path) -> None:
    server = shared_server.grpc_address
    make_model(server, "still", tmp_path)
    with watch(server, "still") as terminal:
        terminal.wait_for(lambda text: "q quits" in text)
        while terminal.read(1.0) and len(terminal.output) < 20000:
            pass
        settled = len(terminal.output)
        for _ in range(8):
            terminal.read(0.25)
        # Two seconds of a model that does nothing: rates fall to 0, the page is not sent again.
        assert len(terminal.output) - settled < 500, terminal.output[settled:]
        assert terminal.output.count(b"\x1b[2J") + terminal.output.count(b"\x1b[J") <= 2


def test_colour_is_for_those_who_want_it(shared_server: EngramServer, tmp_path: Path) -> None:
    server = shared_server.grpc_address
    make_model(server, "inked", tmp_path)
    colour = re.compile(rb"\x1b\[[0-9;]*3[0-7](;|m)")
    for no_colour, expected in (("", True), ("1", False)):
        with watch(server, "inked", environment={"NO_COLOR": no_colour}) as terminal:
            terminal.wait_for(lambda text: "q quits" in text)
            assert (colour.search(terminal.output) is not None) == expected, terminal.output


def test_says_it_when_the_server_is_away_and_goes_on(
    engram_server: EngramServer, tmp_path: Path
) -> None:
    make_model(engram_server.grpc_address, "lasting", tmp_path)
    with watch(engram_server.grpc_address, "lasting") as terminal:
        terminal.wait_for(lambda text: "q quits" in text)
        engram_server.stop()
        page = terminal.wait_for(lambda text: "no server answers at" in text)
        assert "morning" in page, "what was known stays"
        engram_server.start()
        terminal.wait_for(lambda text: "no server answers at" not in text)
        terminal.send("q")
        assert terminal.exit_code() == 0


def test_without_a_terminal_it_prints_lines(shared_server: EngramServer, tmp_path: Path) -> None:
    server = shared_server.grpc_address
    make_model(server, "lines", tmp_path)
    done = engram(server, "watch", "lines", "--count", "1")
    assert done.returncode == 0 and done.stdout.startswith("report      version"), done
    assert "\x1b" not in done.stdout
    missing = engram(server, "watch", "nobody")
    assert missing.returncode == 1 and "NOT_FOUND" in missing.stderr
