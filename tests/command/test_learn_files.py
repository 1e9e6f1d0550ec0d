"""`engram learn` with files: a bar on a terminal, and every row once, whatever comes between."""

from __future__ import annotations

import gzip
import re
import signal
import struct
import subprocess
import time
from pathlib import Path

import pytest
from engram_command import ENGRAM, ENVIRONMENT, engram, objects, succeed, write_rows
from engram_server import EngramServer
from terminal import Terminal

# Enough messages that a break falls between the first and the last.
ROWS = 120_000


def create(server: str, name: str, features: int = 2) -> None:
    succeed(
        server,
        "model",
        "create",
        name,
        "--features",
        str(features),
        "--hidden",
        "4",
        "--batch_size",
        "256",
        "--held_out_fraction",
        "0",
    )


def examples(server: str, name: str) -> int:
    """What the model has learned once it has learned all that is durable."""
    succeed(server, "learn", name, "--producer", "counting", "--wait")
    return int(objects(server, "report", name)[0]["train_examples"])


def start(server: str, name: str, rows: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [ENGRAM, "--server", server, "learn", name, "--csv", str(rows), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def wait_for_some(server: str, name: str) -> None:
    """Until some rows are durable."""
    deadline = time.monotonic() + 30
    while int(objects(server, "model", "show", name)[0]["durable_sequence"]) < 2000:
        assert time.monotonic() < deadline, "nothing was stored in time"


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_goes_on_after_it_was_ended(
    shared_server: EngramServer, tmp_path: Path, end: signal.Signals
) -> None:
    server, name = shared_server.grpc_address, f"ended-{end}"
    create(server, name)
    rows = write_rows(tmp_path / "rows.csv", ROWS)
    first = start(server, name, rows)
    wait_for_some(server, name)
    first.send_signal(end)
    said, _ = first.communicate(timeout=30)
    assert first.returncode == (1 if end == signal.SIGINT else -signal.SIGKILL)
    if end == signal.SIGINT:
        assert '"event":"stopped"' in said, said
    second = objects(server, "learn", name, "--csv", str(rows))[0]
    assert second["event"] == "learned"
    assert 0 < int(second["rows_before"]) < ROWS, second
    assert examples(server, name) == ROWS
    assert objects(server, "learn", name, "--csv", str(rows))[0]["examples"] == 0
    assert examples(server, name) == ROWS


def test_lives_through_a_kill_of_the_server(engram_server: EngramServer, tmp_path: Path) -> None:
    server = engram_server.grpc_address
    create(server, "killed")
    run = start(server, "killed", write_rows(tmp_path / "rows.csv", ROWS))
    wait_for_some(server, "killed")
    engram_server.restart(kill=True)
    said, wrong = run.communicate(timeout=60)
    assert run.returncode == 0, wrong
    assert '"reconnects":0' not in said, said
    assert examples(server, "killed") == ROWS


def test_the_same_rows_again_are_another_pass(shared_server: EngramServer, tmp_path: Path) -> None:
    server = shared_server.grpc_address
    create(server, "passes")
    rows = str(write_rows(tmp_path / "rows.csv", 1000))
    for _ in range(2):
        succeed(server, "learn", "passes", "--csv", rows)
    assert examples(server, "passes") == 1000
    succeed(server, "learn", "passes", "--csv", rows, "--pass", "2")
    assert examples(server, "passes") == 2000


def test_idx_files_zipped_or_not(shared_server: EngramServer, tmp_path: Path) -> None:
    server = shared_server.grpc_address
    create(server, "idx", features=4)
    images = struct.pack(">IIII", 2051, 300, 2, 2) + bytes(i % 251 for i in range(1200))
    labels = struct.pack(">II", 2049, 300) + bytes(i % 3 for i in range(300))
    (tmp_path / "images").write_bytes(images)
    (tmp_path / "images.gz").write_bytes(gzip.compress(images))
    (tmp_path / "labels.gz").write_bytes(gzip.compress(labels))
    plain = [str(tmp_path / "images"), str(tmp_path / "labels.gz")]
    zipped = [str(tmp_path / "images.gz"), str(tmp_path / "labels.gz")]
    assert objects(server, "learn", "idx", "--idx", *plain)[0]["examples"] == 300
    assert objects(server, "learn", "idx", "--idx", *zipped)[0]["rows_before"] == 300
    assert examples(server, "idx") == 300


def test_a_bar_on_a_terminal(shared_server: EngramServer, tmp_path: Path) -> None:
    server = shared_server.grpc_address
    create(server, "bar")
    rows = str(write_rows(tmp_path / "rows.csv", ROWS))
    command = [ENGRAM, "--server", server, "learn", "bar", "--csv", rows]
    with Terminal(command, columns=120) as terminal:
        page = terminal.wait_for(lambda text: "[=" in text)
        assert re.search(r"rows\.csv \[=+>? *\] +\d+% \d+/120000 examples acked, \d+/s", page), page
        terminal.send("\x03")
        assert terminal.exit_code() == 1
        assert re.search(
            r"stopped after \d+ of 120000 rows; the same command goes on", terminal.text()
        ), terminal.text()
    with Terminal(command, columns=120) as terminal:
        assert terminal.exit_code() == 0
        assert re.search(r"120000 rows, [1-9]\d* of them answered before", terminal.text())


def test_a_bad_line_is_named_before_a_row_is_sent(
    shared_server: EngramServer, tmp_path: Path
) -> None:
    server = shared_server.grpc_address
    create(server, "bad")
    rows = write_rows(tmp_path / "rows.csv", 600)
    whole = rows.read_text()
    rows.write_text(whole + "1,two,3\n")
    done = engram(server, "learn", "bad", "--csv", str(rows))
    assert done.returncode == 1
    assert f'{rows}: line 601: column 2: expected a number, got "two"' in done.stderr
    # Mended it is another file: nothing of it may have been learned already.
    rows.write_text(whole + "1,2,3\n")
    succeed(server, "learn", "bad", "--csv", str(rows))
    assert examples(server, "bad") == 601


def test_an_error_begins_its_own_line_below_the_bar(
    shared_server: EngramServer, tmp_path: Path
) -> None:
    server = shared_server.grpc_address
    create(server, "lines")
    rows = write_rows(tmp_path / "rows.csv", ROWS)
    rows.write_text(rows.read_text() + "1,two,3\n")
    command = [ENGRAM, "--server", server, "learn", "lines", "--file", str(rows)]
    with Terminal(command, columns=120) as terminal:
        assert terminal.exit_code() == 1
        assert re.search(r"^learn lines \d+ examples", terminal.text()), terminal.text()
        assert re.search(r"^engram: INVALID_ARGUMENT: ", terminal.text(), re.M), terminal.text()
