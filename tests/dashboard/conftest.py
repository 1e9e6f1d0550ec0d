"""A browser for all tests of a file, and models that have learned something."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from engram_server import EngramServer
from page import Page, start_browser
from selenium import webdriver
from teacher import Teacher, small_spec


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    chromium = start_browser(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.quit()


@pytest.fixture
def page(browser: webdriver.Chrome, shared_server: EngramServer) -> Iterator[Page]:
    """The shared server's page, not opened yet; afterwards its console and network are judged."""
    shown = Page(browser, shared_server.http_url)
    yield shown
    shown.close()


@pytest.fixture
def new_teacher(shared_server: EngramServer) -> Iterator[Callable[..., Teacher]]:
    """new_teacher(model, memory_size=40) creates a model on the shared server."""
    teachers: list[Teacher] = []

    def create(model: str, memory_size: int = 40) -> Teacher:
        teachers.append(Teacher(shared_server.grpc_address, model, small_spec(memory_size)))
        return teachers[-1]

    yield create
    for teacher in teachers:
        teacher.close()
