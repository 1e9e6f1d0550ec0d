"""Completion in real shells: keys go in by a terminal, what the shell makes of them comes out."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from engram_command import ENGRAM, objects, succeed
from engram_server import EngramServer
from terminal import Terminal

# bash is everywhere; zsh is asked where it is installed (deploy/install_dependencies does).
SHELLS = [name for name in ("bash", "zsh") if shutil.which(name)]


@pytest.fixture(params=SHELLS, name="shell")
def _shell(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Terminal]:
    """A shell that knows `engram`, in a folder with rows.csv and rows.jsonl."""
    script = succeed("", "completion", request.param)
    (tmp_path / "_engram").write_text(script)
    for name in ("rows.csv", "rows.jsonl"):
        (tmp_path / name).write_text("")
    path = f"{Path(ENGRAM).parent}:{os.environ['PATH']}"
    command = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
    start = {
        "bash": "PS1='$ '; bind 'set bell-style none'; bind 'set show-all-if-ambiguous on';"
        f" cd '{tmp_path}'; source ./_engram; clear\n",
        "zsh": f"PS1='$ '; unsetopt beep list_beep; cd '{tmp_path}'; fpath=($PWD $fpath);"
        " autoload -U compinit; compinit -u -D; clear\n",
    }
    with Terminal(command[request.param], {"PATH": path, "HISTFILE": ""}, columns=120) as terminal:
        terminal.send(start[request.param])
        terminal.wait_for(lambda text: text.strip() == "$")
        yield terminal


def completed(shell: Terminal, line: str, expected: str) -> None:
    """Types `line` and a tab; `expected` must come to stand on the screen, then all is wiped."""
    shell.send(line + "\t")
    shell.wait_for(lambda text: expected in text)
    shell.send("\x15\x0c")  # wipe the line, then the screen
    shell.wait_for(lambda text: text.strip() == "$")


def test_words_of_verbs(shell: Terminal) -> None:
    completed(shell, "engram rep", "engram report")
    completed(shell, "engram checkpoint cr", "engram checkpoint create")
    completed(shell, "engram --json tune pro", "engram --json tune promote")
    completed(shell, "engram model ", "resume")


def test_flags_and_what_they_take(shell: Terminal) -> None:
    completed(shell, "engram report m --sv", "engram report m --svg")
    completed(shell, "engram learn m --form", "engram learn m --format")
    completed(shell, "engram learn m --format js", "engram learn m --format jsonl")
    completed(shell, "engram learn m --format=c", "engram learn m --format=csv")
    completed(shell, "engram learn m --csv rows.c", "engram learn m --csv rows.csv")
    completed(shell, "engram learn m --jsonl rows.jsonl rows.c", "rows.jsonl rows.csv")
    completed(shell, "engram model create m --hea", "engram model create m --head")
    completed(shell, "engram completion z", "engram completion zsh")
    completed(shell, "engram scenario run perm", "engram scenario run permuted-mnist")
    completed(shell, "engram --tok", "engram --token_file")


def test_names_that_the_server_knows(shell: Terminal, shared_server: EngramServer) -> None:
    server = shared_server.grpc_address
    if not objects(server, "model", "list"):
        succeed(server, "model", "create", "digits", "--features", "2", "--hidden", "4")
        succeed(server, "checkpoint", "create", "digits", "before-import")
    engram = f"engram --server {server}"
    completed(shell, f"{engram} report di", f"{engram} report digits")
    completed(shell, f"{engram} rollback digits be", f"{engram} rollback digits before-import")
    completed(shell, f"{engram} strategy explain onl", f"{engram} strategy explain online_ewc")
    completed(shell, f"engram --server={server} model pause d", "model pause digits")
    completed(shell, f"engram tune stop --server {server} d", "digits")
    completed(shell, f"{engram} checkpoint export --out rows digits be", "digits before-import")


def test_what_a_server_calls_its_models_is_never_run(shell: Terminal, tmp_path: Path) -> None:
    names = ["$(touch owned)", "`touch owned`", "${x:=$(touch owned)}", "fine"]
    (tmp_path / "names").write_text("".join(f'{{"name":"{name}"}}\n' for name in names))
    shell.send("engram() { cat names; }\n\x0c")
    shell.wait_for(lambda text: text.strip() == "$")
    completed(shell, "engram report f", "engram report fine")
    assert not (tmp_path / "owned").exists()


def test_without_a_server_it_offers_nothing_and_stays_quiet(shell: Terminal) -> None:
    shell.send("engram --server 127.0.0.1:1 report x\t")
    completed(shell, "\x15engram doc", "engram doctor")
    assert b"UNAVAILABLE" not in shell.output
