"""The dashboard in headless Chromium: what it shows, what it asks for, what it complains about."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message
from selenium import webdriver
from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

Seen = TypeVar("Seen")

_ARGUMENTS = (
    "--headless=new",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    # Names cannot be looked up: a page that needs another machine shows it here too.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    # The browser ends with its driver, also when that one is killed.
    "--remote-debugging-pipe",
)


def _installed(program: str) -> str:
    path = shutil.which(program)
    assert path, f"{program} is not installed; deploy/install_dependencies installs it"
    return path


class _MortalDriver(Service):
    """chromedriver that ends with the test process, also when a time limit kills that one."""

    def __init__(self) -> None:
        super().__init__(_installed("setpriv"))

    def command_line_args(self) -> list[str]:
        driver = _installed("chromedriver")
        return ["--pdeathsig", "KILL", driver, *super().command_line_args()]


def start_browser(profile: Path) -> webdriver.Chrome:
    """Chromium that logs its console and its network."""
    options = Options()
    options.binary_location = _installed("chromium")
    for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    if os.geteuid() == 0:  # Chromium's sandbox refuses to run as root
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=_MortalDriver())


def number(text: str) -> float:
    """As the page writes numbers: narrow spaces between thousands, a real minus."""
    return float(re.sub(r"[^\d.\-]", "", text.replace("−", "-")))


def in_percent(ratio: float) -> object:
    """What one decimal of a percentage may be off."""
    return pytest.approx(100 * ratio, abs=0.0501)


def shows(text: str, message: Message | None, ratio: str) -> bool:
    """Whether a cell shows that optional field as a percentage, or its absence."""
    if message is None or not message.HasField(ratio):
        return text in ("·", "–")
    return number(text) == in_percent(getattr(message, ratio))


class Page:
    """One dashboard, open at `url`. close() fails on what no page may do, whatever the test saw."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser = browser
        self.url = url
        # Refusals that the test asks for: Chromium writes each to the console as an error.
        self.expected_errors: tuple[str, ...] = ()
        self._requests: list[str] = []

    def open(
        self, model: str = "", width: int = 1400, height: int = 1800, dark: bool = False
    ) -> None:
        """Loads the page anew; waits until it shows the server's numbers, or asks for a token."""
        self.look(width, height, dark)
        self.browser.get("about:blank")
        self._drain_logs()
        self.browser.get(f"{self.url}/#{model}")
        self.until(lambda: self.link in ("live", "locked") and self.link)

    def look(self, width: int, height: int, dark: bool) -> None:
        """A screen of that size, in one of the two themes."""
        self.browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [theme]})

    @property
    def link(self) -> str:
        """What the page knows of its connection: live, stale, lost, locked ..."""
        return self.one("#link").get_attribute("data-state") or ""

    def one(self, selector: str) -> WebElement:
        return self.browser.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.one(selector).text

    def script(self, code: str, *arguments: Any) -> Any:
        return self.browser.execute_script(code, *arguments)

    def table(self, selector: str) -> list[list[str]]:
        """Rows of a table, head and foot too, as the texts of their cells."""
        rows: list[list[str]] = self.script(
            "return [...document.querySelectorAll(arguments[0] + ' tr')]"
            ".map(row => [...row.cells].map(cell => cell.innerText.trim()))",
            selector,
        )
        return rows

    def fact(self, name: str) -> str:
        """The value of one of the facts in the first card."""
        facts: dict[str, str] = self.script(
            "return Object.fromEntries([...document.querySelectorAll('#facts > div')]"
            ".map(pair => [pair.children[0].innerText, pair.children[1].innerText]))"
        )
        return facts[name]

    def until(self, look: Callable[[], Seen], within_seconds: float = 30.0) -> Seen:
        """Looks again until there is something to see. The page draws while it is looked at."""
        deadline = time.monotonic() + within_seconds
        while True:
            try:
                seen = look()
            except (NoSuchElementException, StaleElementReferenceException, KeyError):
                seen = None
            if seen:
                return seen
            assert time.monotonic() < deadline, f"not seen; the page: {self.text('body')[:3000]}"
            time.sleep(0.05)

    def keep_picture(self, name: str) -> None:
        """A screenshot in the build folder."""
        folder = Path(os.environ.get("ENGRAM_SCREENSHOTS", "dashboard_screenshots"))
        folder.mkdir(parents=True, exist_ok=True)
        self.browser.save_screenshot(str(folder / f"{name}.png"))

    def requests(self) -> list[str]:
        """Every address that was asked for since open(), in order."""
        self._requests += [
            event["request"]["url"] for event in self._events("Network.requestWillBeSent")
        ]
        return self._requests

    def close(self) -> None:
        """Fails on an error in the console, or a request to anybody but the server."""
        asked = self.requests()
        assert asked, "the network log is empty: nothing was checked"
        foreign = [url for url in asked if not url.startswith((f"{self.url}/", "about:", "blob:"))]
        assert not foreign, f"requests that leave the server: {foreign}"
        complaints = [
            entry["message"]
            for entry in self.browser.get_log("browser")
            if not any(expected in entry["message"] for expected in self.expected_errors)
        ]
        assert not complaints, f"the console: {complaints}"
        self.browser.get("about:blank")

    def _events(self, method: str) -> Iterator[dict[str, Any]]:
        for entry in self.browser.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == method:
                yield message["params"]

    def _drain_logs(self) -> None:
        self._requests = []
        self.browser.get_log("performance")
        self.browser.get_log("browser")
