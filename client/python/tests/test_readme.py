"""The README's example, as it is written there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from engram_server import EngramServer

README = (Path(__file__).parents[1] / "README.md").read_text()


def examples() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(examples())))
def test_an_example_runs_as_written(shared_server: EngramServer, number: int) -> None:
    """But for the address: the README's is the default one."""
    code = examples()[number]
    assert "127.0.0.1:7401" in code
    exec(code.replace("127.0.0.1:7401", shared_server.grpc_address), {"__name__": "__main__"})


def test_the_first_example_is_ten_lines() -> None:
    assert len(examples()[0].splitlines()) == 10
