"""What the command writes for other programs to read: manual pages and pictures."""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from engram_command import ENGRAM, objects, succeed, write_rows
from engram_server import EngramServer, program

SVG = "{http://www.w3.org/2000/svg}"


def manual(page: str) -> str:
    """A page as the build makes it."""
    if page == "engram.1":
        return succeed("", "help", "--man")
    # Abseil's --help ends with 1.
    said = subprocess.run(
        [program("engramd"), "--help"], capture_output=True, text=True, check=False
    )
    return subprocess.run(
        [ENGRAM, "help", "--man", "engramd"],
        input=said.stdout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("page", ["engram.1", "engramd.8"])
def test_manual_pages_are_right(page: str, tmp_path: Path) -> None:
    text = manual(page)
    (tmp_path / page).write_text(text)
    assert shutil.which("mandoc"), "deploy/install_dependencies installs mandoc"
    lint = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", tmp_path / page],
        capture_output=True,
        text=True,
        check=False,
    )
    # A date would make two builds differ.
    told = [line for line in lint.stdout.splitlines() if "missing date" not in line]
    assert told == []
    shown = subprocess.run(
        ["mandoc", "-T", "utf8", tmp_path / page], capture_output=True, text=True, check=True
    ).stdout
    plain = shown.replace("\b", "")
    assert "EXIT STATUS" in text and len(plain) > 1000


def test_every_flag_of_the_server_has_its_entry() -> None:
    text = manual("engramd.8")
    for flag in ("data_dir", "listen", "http_listen", "config"):
        assert f"\\-\\-{flag}" in text


def test_the_picture_says_what_the_report_says(shared_server: EngramServer, tmp_path: Path) -> None:
    server = shared_server.grpc_address
    succeed(
        server,
        "model",
        "create",
        "drawn",
        "--features",
        "2",
        "--hidden",
        "8",
        "--first_task",
        "morning",
        "--held_out_fraction",
        "0.1",
    )
    succeed(server, "learn", "drawn", "--csv", str(write_rows(tmp_path / "a.csv", 600)), "--wait")
    succeed(server, "boundary", "drawn", "evening", "--wait")
    succeed(server, "checkpoint", "create", "drawn", "kept")
    succeed(
        server, "learn", "drawn", "--csv", str(write_rows(tmp_path / "b.csv", 600, 2)), "--wait"
    )
    succeed(server, "boundary", "drawn", "night", "--wait")
    succeed(server, "rollback", "drawn", "kept")
    picture = tmp_path / "report.svg"
    succeed(server, "report", "drawn", "--svg", str(picture))
    svg = ElementTree.parse(picture).getroot()
    assert svg.tag == f"{SVG}svg" and svg.get("role") == "img"
    assert "drawn" in (svg.findtext(f"{SVG}title") or "")
    assert "1 rollbacks" in (svg.findtext(f"{SVG}desc") or "")
    words = [text.text for text in svg.iter(f"{SVG}text")]
    report = objects(server, "report", "drawn")[0]
    for row in report["rows"]:
        for cell in row["cells"]:
            if "accuracy" in cell:
                assert f"{100 * cell['accuracy']:.1f}" in words
    assert "rollback to" in " ".join(word or "" for word in words)
    width, height = float(svg.get("width", 0)), float(svg.get("height", 0))
    for text in svg.iter(f"{SVG}text"):
        assert 0 <= float(text.get("x", -1)) < width and 0 <= float(text.get("y", -1)) < height
