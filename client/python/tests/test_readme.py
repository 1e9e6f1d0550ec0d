"""The README's commands and examples, as they are written there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from engram_server import EngramServer

ROOT = Path(__file__).parents[3]
README = (Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
EXAMPLES = [text for kind, text in BLOCKS if kind == "python"]
LOCAL = [text for text in EXAMPLES if "ca=" not in text]


def test_every_block_is_run() -> None:
    assert {kind for kind, _ in BLOCKS} == {"python", "sh"}


@pytest.mark.parametrize("number", range(len(LOCAL)))
def test_an_example_runs_as_written(shared_server: EngramServer, number: int) -> None:
    """But for the address: the README's is the default one."""
    code = LOCAL[number]
    assert "127.0.0.1:7401" in code
    exec(code.replace("127.0.0.1:7401", shared_server.grpc_address), {"__name__": "__main__"})


def test_the_first_example_is_ten_lines() -> None:
    assert len(EXAMPLES[0].splitlines()) == 10


def test_the_example_with_a_token(
    start_server: Callable[..., EngramServer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(
        [ROOT / "deploy" / "development_credentials", tmp_path / "credentials", "127.0.0.1"],
        check=True,
        capture_output=True,
    )
    monkeypatch.chdir(tmp_path / "credentials")
    server = start_server(Path("engramd.textproto").read_text())
    (code,) = [text for text in EXAMPLES if text not in LOCAL]
    assert "engram.example.com:7401" in code
    exec(code.replace("engram.example.com:7401", server.grpc_address), {"__name__": "__main__"})


def test_the_installation_runs_as_written(tmp_path: Path) -> None:
    """In a copy of the repository and an environment that has no client yet. What pip would fetch
    lies in the environment that runs this test."""
    repository, fresh = tmp_path / "repository", tmp_path / "fresh"
    shutil.copytree(ROOT / "proto", repository / "proto")
    shutil.copytree(
        ROOT / "client" / "python",
        repository / "client" / "python",
        ignore=shutil.ignore_patterns("build", "*.egg-info"),
    )
    venv.create(fresh, with_pip=False)
    (site,) = fresh.glob("lib/python*/site-packages")
    (site / "shared.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    pip = fresh / "bin" / "pip"
    pip.write_text(f'#!/bin/sh\nexec {fresh}/bin/python -m pip "$@"\n')
    pip.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
        "PATH": f"{fresh}/bin:{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the value of build_isolation
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    (command,) = [text for kind, text in BLOCKS if kind == "sh"]
    for program in (command, "python -W error -c 'import engram; print(engram.__file__)'"):
        shown = subprocess.run(
            ["bash", "-euc", program],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert shown.returncode == 0, shown.stdout + shown.stderr
    assert Path(shown.stdout.strip()).is_relative_to(site)
