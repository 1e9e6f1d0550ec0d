"""What happened to a model, as the page marks it: its guard fired, a boundary came by drift."""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from engram.v1 import model_pb2
from engram_server import EngramServer
from page import Page
from selenium import webdriver
from teacher import PETS, TREES, Teacher, small_spec

COLUMN = Path(__file__).with_name("column.js").read_text()
APPEND_DRIFT = os.environ.get(
    "APPEND_DRIFT", Path(__file__).parents[2] / "build/release/tests/dashboard/append_drift"
)


def forgetful_spec() -> model_pb2.ModelSpec:
    """Nothing keeps what it learned, and its guard says so."""
    spec = small_spec(0)
    del spec.strategies[:]
    spec.optimizer.learning_rate = 0.1
    spec.guard.canary_drop = 0.3
    return spec


def learn_task(teacher: Teacher, labels: tuple[str, str]) -> None:
    teacher.learn(labels, rows=200, held_out=20)  # the guard judges 30 rows and more


@dataclass
class Ink:
    """Of a column of the accuracy chart."""

    share: float
    name: str  # of the colour that it comes nearest to, "warn" or "muted": lines cross it


def ink_at(page: Page, sequence: int) -> Ink:
    seen = page.script(COLUMN, sequence)
    distances = {name: math.dist(seen["colour"], colour(page, name)) for name in ("warn", "muted")}
    return Ink(seen["share"], min(distances, key=lambda name: distances[name]))


def colour(page: Page, name: str) -> list[float]:
    """Red, green and blue of a colour of the style sheet."""
    text: str = page.script(
        "return getComputedStyle(document.documentElement).getPropertyValue(arguments[0]).trim()",
        f"--{name}",
    )
    return [float(int(text[i : i + 2], 16)) for i in (1, 3, 5)]


@pytest.fixture
def server(start_server: Callable[..., EngramServer]) -> EngramServer:
    """For one test alone: it is stopped and started again."""
    return start_server()


@pytest.fixture
def page(browser: webdriver.Chrome, server: EngramServer) -> Iterator[Page]:
    shown = Page(browser, server.http_url)
    shown.expected_errors = ("ERR_CONNECTION_REFUSED", "ERR_CONNECTION_RESET", "ERR_EMPTY_RESPONSE")
    yield shown
    shown.close()


def test_a_canary_and_a_boundary_by_drift_are_marked(page: Page, server: EngramServer) -> None:
    teacher = Teacher(server.grpc_address, "marked", forgetful_spec())
    learn_task(teacher, PETS)
    teacher.end_task("trees")
    teacher.settle()
    page.open("marked")
    page.until(lambda: len(page.table("#matrix")) == 3)
    learn_task(teacher, TREES)
    teacher.end_task("birds")
    teacher.settle()
    fired = teacher.report().canaries
    assert [each.task for each in fired] == ["pets"], "the guard did not fire"
    first, second = (row.sequence for row in teacher.report().rows)
    assert fired[0].version == second

    best, now = 100 * fired[0].best, 100 * fired[0].now
    fell = f"Task pets fell from {best:.1f} % to {now:.1f} %: reported."
    page.until(lambda: fell in page.text("#events"))
    assert fell in page.text("#announcer")
    page.until(lambda: ink_at(page, second).name == "warn")
    assert ink_at(page, second).share > 0.95
    assert ink_at(page, first).share > 0.95
    assert ink_at(page, first).name == "muted"
    assert ink_at(page, (first + second) // 2).share < 0.3, "a mark where nothing happened"
    page.keep_picture("canary")

    # Birds that look like trees: nothing is forgotten, so that no canary lies on the boundary.
    teacher.learn(TREES, rows=200)
    server.stop()
    subprocess.run([APPEND_DRIFT, server.data_dir, "marked", "fish"], check=True, timeout=60)
    server.start()
    teacher.settle()
    drifted = teacher.report().rows[2]
    assert drifted.drift
    page.until(lambda: "Drift: task birds ended." in page.text("#events"))
    page.until(lambda: len(page.table("#matrix")) == 5)
    assert [row[0] for row in page.table("#matrix")[1:4]] == ["pets", "trees", "birdsdrift"]
    # Dashes: half of it is ink.
    page.until(lambda: 0.35 < ink_at(page, drifted.sequence).share < 0.8)
    assert ink_at(page, first).share > 0.95
    page.keep_picture("drift")
    teacher.close()
