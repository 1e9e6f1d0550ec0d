"""Tokens, roles and TLS."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import engram
import pytest
from engram_server import EngramServer

from conftest import toy_spec

CREDENTIALS = Path(__file__).parents[3] / "deploy" / "development_credentials"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, certificates, tokens, and the config that uses them."""
    made = tmp_path_factory.mktemp("credentials")
    subprocess.run([CREDENTIALS, made, "127.0.0.1"], check=True, capture_output=True)
    return made


@pytest.fixture
def secure(folder: Path, start_server: Callable[..., EngramServer]) -> EngramServer:
    return start_server((folder / "engramd.textproto").read_text())


def token(folder: Path, role: str) -> str:
    return (folder / f"{role}.token").read_text().strip()


def test_roles_over_tls(
    secure: EngramServer, folder: Path, toy_rows: Callable[..., object]
) -> None:
    ca = folder / "ca.pem"
    rows, labels = toy_rows(100)  # type: ignore[misc]
    with engram.Client(secure.grpc_address, token=token(folder, "admin"), ca=ca) as admin:
        admin.create_model("m", toy_spec())
    with engram.Client(
        secure.grpc_address, token=token(folder, "writer"), ca=ca.read_bytes()
    ) as writer:
        assert writer.learn("m", rows, labels).accepted_examples == 100
        with pytest.raises(engram.PermissionDeniedError, match="role writer"):
            writer.delete_model("m")
    with engram.Client(secure.grpc_address, token=token(folder, "reader"), ca=str(ca)) as reader:
        reader.wait_applied("m", 100)
        assert len(reader.predict("m", rows).labels) == 100
        with pytest.raises(engram.PermissionDeniedError, match="role reader"):
            reader.learn("m", rows, labels)
    with engram.Client(secure.grpc_address, token="0" * 64, ca=ca) as stranger:
        with pytest.raises(engram.UnauthenticatedError):
            stranger.list_models()
        with pytest.raises(engram.UnauthenticatedError):
            next(stranger.watch("m"))


def test_a_server_of_another_authority_is_not_spoken_to(
    secure: EngramServer, folder: Path, tmp_path: Path
) -> None:
    subprocess.run([CREDENTIALS, tmp_path / "other"], check=True, capture_output=True)
    with engram.Client(
        secure.grpc_address,
        token=token(folder, "admin"),
        ca=tmp_path / "other" / "ca.pem",
        retry=engram.RetryOptions(attempts=1),
    ) as client:
        with pytest.raises(engram.UnavailableError):
            client.list_models()


def test_a_certificate_says_who_we_are(
    folder: Path, start_server: Callable[..., EngramServer]
) -> None:
    config = (folder / "engramd.textproto").read_text()
    mutual = config.replace("\ntls {", f'\ntls {{\n  client_ca_file: "{folder}/ca.pem"')
    server = start_server(mutual)
    with engram.Client(
        server.grpc_address,
        ca=folder / "ca.pem",
        certificate=folder / "admin.pem",
        key=folder / "admin.key",
    ) as client:
        assert client.list_models() == []


@pytest.mark.parametrize(
    "address",
    ["engram.example.com:7401", "10.1.2.3:7401", "127.example.com:7401", "localhost.example.com"],
)
def test_a_token_does_not_leave_the_machine_in_the_clear(address: str) -> None:
    with pytest.raises(ValueError, match="over TLS only"):
        engram.Client(address, token="secret")


def test_a_proxy_is_not_asked_for_this_machine(
    engram_server: EngramServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with engram.Client(engram_server.grpc_address, token="secret") as client:
        assert client.list_models() == []


def test_half_of_an_identity_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="they go together"):
        engram.Client("h:1", ca=folder / "ca.pem", certificate=folder / "admin.pem")
    with pytest.raises(ValueError, match="HOST:PORT"):
        engram.Client("")
