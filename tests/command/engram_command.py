"""Runs the `engram` command, and makes what it needs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from engram_server import program

ENGRAM = str(program("engram"))
# Nothing of the machine that runs the suite: no server's address, no taste in colours.
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if name not in ("ENGRAM_SERVER", "NO_COLOR")
}


def engram(server: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """One run to its end; `server` as HOST:PORT."""
    return subprocess.run(
        [ENGRAM, "--server", server, *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=ENVIRONMENT,
    )


def succeed(server: str, *arguments: str, stdin: str = "") -> str:
    """The same, for what must not fail. Returns what it printed."""
    done = engram(server, *arguments, stdin=stdin)
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(server: str, *arguments: str) -> list[dict[str, Any]]:
    """What it prints with --json."""
    return [json.loads(line) for line in succeed(server, *arguments, "--json").splitlines()]


def write_rows(path: Path, rows: int, first_label: int = 0) -> Path:
    """CSV of two features, two classes that a line divides."""
    with path.open("w") as file:
        for i in range(rows):
            label = i % 2
            jitter = (i * 7919 % 1000) / 1000
            file.write(f"{first_label + label},{label + jitter / 2:.3f},{jitter:.3f}\n")
    return path
