"""What goes wrong for people, against a real server: each message says what, and what to do."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from engram_command import engram, succeed
from engram_server import EngramServer

CREDENTIALS = Path(__file__).resolve().parents[2] / "deploy" / "development_credentials"
# Nothing listens on it: it is below what this machine gives away.
NO_PORT = "127.0.0.1:1"


@dataclass(frozen=True)
class Failure:
    """Arguments after --server; both texts must stand on stderr."""

    arguments: tuple[str, ...]
    what: str
    fix: str
    code: int = 1
    stdin: str = ""


def check(server: str, failure: Failure) -> None:
    done = engram(server, *failure.arguments, stdin=failure.stdin)
    assert done.returncode == failure.code, done
    assert failure.what in done.stderr, done.stderr
    assert failure.fix in done.stderr, done.stderr
    # The error is the last thing on the screen, not something above a page of help.
    assert len(done.stderr.splitlines()) <= 3, done.stderr
    assert done.stdout == "" or failure.stdin, done.stdout


PLAIN = {
    "no model": Failure(("report", "nobody"), "NOT_FOUND", '"engram model list" shows the models'),
    "name taken": Failure(
        ("model", "create", "m", "--features", "2"), "ALREADY_EXISTS", "engram model delete"
    ),
    "no checkpoint": Failure(
        ("rollback", "m", "yesterday"), "NOT_FOUND", '"engram checkpoint list MODEL"'
    ),
    "bad line": Failure(
        ("learn", "m"), 'line 2: column 3: expected a number, got "x"', "", stdin="1,2,3\n1,2,x\n"
    ),
    "header": Failure(
        ("learn", "m"),
        'line 1: column 2: expected a number, got "age"',
        "--label NAME",
        stdin="who,age,size\n1,2,3\n",
    ),
    "columns": Failure(("learn", "m"), "expected 2 values", "", stdin="1,2,3,4\n"),
    "no file": Failure(("learn", "m", "--csv", "/nonexistent"), "/nonexistent: no such file", ""),
    "mistyped verb": Failure(("repotr", "m"), 'unknown verb "repotr"', 'did you mean "report"?', 2),
    "unknown flag": Failure(
        ("report", "m", "--sgv", "x"), "unknown flag --sgv", '"engram help report"', 2
    ),
    "missing argument": Failure(
        ("rollback", "m"),
        "missing argument CHECKPOINT",
        "usage: engram rollback MODEL CHECKPOINT",
        2,
    ),
    "certificate without a key": Failure(
        ("doctor", "--tls_certificate", "x"), "go together: give both", ""
    ),
}


@pytest.fixture(scope="module", name="served")
def _served(shared_server: EngramServer) -> str:
    """The address of a server with a model of two features, "m"."""
    succeed(shared_server.grpc_address, "model", "create", "m", "--features", "2", "--hidden", "4")
    return shared_server.grpc_address


@pytest.mark.parametrize("case", PLAIN)
def test_without_tls(served: str, case: str) -> None:
    check(served, PLAIN[case])


def test_no_server() -> None:
    check(
        NO_PORT, Failure(("report", "m"), f"no server answers at {NO_PORT}", "engramd --data_dir")
    )
    check(
        NO_PORT,
        Failure(("learn", "m"), f"no server answers at {NO_PORT}", "ENGRAM_SERVER", stdin="1,2\n"),
    )
    check("no-such-host.invalid:1", Failure(("report", "m"), "has no address", "--server"))


@pytest.fixture(scope="module", name="secrets")
def _secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two authorities with a server's certificate each: `here` is localhost, `there` elsewhere."""
    folder = tmp_path_factory.mktemp("secrets")
    for name, host in (("here", "localhost"), ("there", "elsewhere.example")):
        subprocess.run([CREDENTIALS, folder / name, host], check=True, capture_output=True)
    return folder


def test_with_tls(start_server: Callable[..., EngramServer], secrets: Path) -> None:
    here, there = secrets / "here", secrets / "there"
    config = (here / "engramd.textproto").read_text()
    port = start_server(config).grpc_address.rsplit(":", 1)[1]
    server = f"localhost:{port}"
    tls = ("--tls_ca", str(here / "ca.pem"))
    reader = (*tls, "--token_file", str(here / "reader.token"))
    assert "engramd" in succeed(server, *reader, "doctor")
    check(server, Failure(("doctor",), "UNAVAILABLE", "--tls_ca FILE"))
    check(server, Failure((*tls, "doctor"), "UNAUTHENTICATED", "--token_file FILE"))
    check(server, Failure((*reader, "model", "delete", "m"), "PERMISSION_DENIED", "admin"))
    check(
        server,
        Failure(
            (*tls, "--token_file", str(there / "reader.token"), "doctor"),
            "UNAUTHENTICATED",
            "does not know this token",
        ),
    )
    check(
        server,
        Failure(
            ("--tls_ca", str(there / "ca.pem"), "doctor"),
            "not from the authority in --tls_ca",
            "ca.pem",
        ),
    )
    check(
        f"127.0.0.1:{port}",
        Failure((*reader, "doctor"), "made for other names", "--server NAME:PORT"),
    )


def test_tls_where_there_is_none(shared_server: EngramServer, secrets: Path) -> None:
    ca = str(secrets / "here" / "ca.pem")
    check(
        shared_server.grpc_address,
        Failure(("--tls_ca", ca, "doctor"), "does not speak TLS", "leave out --tls_ca"),
    )
