"""A real Prometheus scrapes a real server: no panel, rule or choice stays empty."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engram_server import EngramServer, program
from prometheus_program import ROOT, Prometheus, wait_for

GRAFANA = ROOT / "deploy" / "grafana"
MODEL = "pets"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "engram.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


class Watched:
    """A server that has lived a little, and the Prometheus that saw it all."""

    def __init__(self, folder: Path) -> None:
        config = f'backups {{ folder: "{folder / "backups"}" }}'
        self.began = time.time()
        self.server = EngramServer(folder, config)
        (folder / "prometheus").mkdir()
        self.prometheus = Prometheus(folder / "prometheus", self.server.http_address)

    def engram(self, *words: str, text: str | None = None, code: int = 0) -> None:
        done = subprocess.run(
            [str(program("engram")), "--server", self.server.grpc_address, *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, f"{words}: {done.stdout}{done.stderr}"

    def wait_scraped(self, query: str) -> None:
        wait_for(f"{query} has a value", lambda: bool(self.prometheus.now(query)))

    def live(self) -> None:
        """Two tasks with a checkpoint between them, a rollback to it, predictions, a refusal."""
        strategies = "experience_replay:memory_size=60+ewc"
        spec = f"--features 2 --hidden 16 --first_task indoors --strategy {strategies}"
        self.engram("model", "create", MODEL, *spec.split())
        for task, first_label in (("indoors", 0), ("outdoors", 2)):
            self.learn(first_label, 60, "--task", task, "--held_out")
        self.wait_scraped(f'engram_tasks{{model="{MODEL}"}} == 2')
        self.learn(0, 400)
        self.engram("boundary", MODEL, "outdoors", "--wait")
        self.engram("checkpoint", "create", MODEL, "indoors-only")
        self.learn(2, 400)
        self.engram("boundary", MODEL, "--wait")
        self.wait_scraped(f'engram_forgetting_ratio{{model="{MODEL}", task="indoors"}}')
        for _ in range(3):
            self.engram("predict", MODEL, text="0.5,0.5\n2.0,-1.0\n")
        self.engram("predict", "no-such-model", text="0.5,0.5\n", code=1)
        self.engram("model", "pause", MODEL)
        self.wait_scraped(f'engram_model_paused{{model="{MODEL}"}} == 1')
        self.engram("model", "resume", MODEL)
        self.engram("backup", "create")
        self.wait_scraped("engram_backups == 1")
        self.engram("rollback", MODEL, "indoors-only")
        self.wait_scraped(f'engram_rollbacks_total{{model="{MODEL}", trigger="manual"}} == 1')
        # Another rate after the last of it: rates want two samples.
        before = self.scrapes()
        wait_for("two more scrapes", lambda: self.scrapes() >= before + 2)
        self.server.restart()
        self.learn(2, 100)
        self.engram("boundary", MODEL, "--wait")
        self.wait_scraped(f'engram_forgetting_ratio{{model="{MODEL}", task="indoors"}}')
        self.wait_scraped("changes(process_start_time_seconds[30s]) == 1")
        self.wait_scraped(f'model:engram_applied_lag:seconds{{model="{MODEL}"}}')

    def learn(self, first_label: int, count: int, *flags: str) -> None:
        draw = random.Random(first_label + count)
        rows = []
        for row in range(count):
            label = first_label + row % 2
            x, y = draw.random() + 1.5 * (label % 2), draw.random() - label
            rows.append(f"{label},{x:.3f},{y:.3f}\n")
        self.engram("learn", MODEL, "--file", "-", "--wait", *flags, text="".join(rows))

    def scrapes(self) -> float:
        seen = self.prometheus.now("count_over_time(up[1h])")
        return float(seen[0]["value"][1]) if seen else 0.0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    both = Watched(tmp_path_factory.mktemp("watched"))
    try:
        both.prometheus.start()
        wait_for("the first scrape", lambda: both.scrapes() > 0)
        both.live()
        yield both
    finally:
        both.prometheus.stop()
        both.server.kill()


def filled_in(query: str, server: EngramServer) -> str:
    """As Grafana does: choices become escaped alternatives, the interval four scrapes."""
    query = query.replace("$__rate_interval", "4s")
    for name, value in {"$instance": server.http_address, "$model": MODEL}.items():
        query = query.replace(name, re.escape(value).replace("\\", "\\\\"))
    assert "$" not in query, f"no value for a variable of {query}"
    return query


def test_the_dashboard_is_what_its_tables_say() -> None:
    made = subprocess.run(
        [sys.executable, str(GRAFANA / "make_dashboard.py")], capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == DASHBOARD, "run make_dashboard.py again: see deploy/grafana"


def test_forgetting_comes_first_and_no_panel_lies_on_another() -> None:
    assert DASHBOARD["panels"][0]["title"] == "Forgetting"
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_every_query_of_every_panel_returns_data(watched: Watched, panel: dict[str, Any]) -> None:
    assert panel["targets"]
    assert panel["description"]
    for target in panel["targets"]:
        query = filled_in(target["expr"], watched.server)
        series = watched.prometheus.ever(query)
        assert series, f"no series of {query}"
        numbers = {value for one in series for _, value in one["values"]}
        assert numbers - {"NaN"}, f"only NaN in {query}"
        shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert all(shown <= set(one["metric"]) for one in series), f"legend of {query}"
        if target.get("instant"):
            assert watched.prometheus.now(query), f"nothing now of {query}"


@pytest.mark.parametrize(
    "annotation", DASHBOARD["annotations"]["list"], ids=lambda annotation: annotation["name"]
)
def test_every_annotation_marks_what_happened(watched: Watched, annotation: dict[str, Any]) -> None:
    marks = watched.prometheus.ever(filled_in(annotation["expr"], watched.server))
    assert marks
    if annotation["useValueForTime"]:
        starts = {float(value) / 1000 for mark in marks for _, value in mark["values"]}
        assert len(starts) == 2, "the first start and the restart"
        assert all(watched.began - 5 < start < time.time() + 5 for start in starts)


def test_the_choices_offer_the_server_and_the_model(watched: Watched) -> None:
    offered = {}
    for choice in DASHBOARD["templating"]["list"]:
        if choice["type"] != "query":
            continue
        asked = re.fullmatch(r"label_values\((.+), (\w+)\)", choice["query"]["query"])
        assert asked is not None, choice["query"]["query"]
        series = filled_in(asked[1], watched.server)
        offered[choice["name"]] = watched.prometheus.get(
            f"label/{asked[2]}/values", **{"match[]": series}
        )
    assert offered == {"instance": [watched.server.http_address], "model": [MODEL]}


def test_every_rule_evaluates_and_every_recording_has_a_value(watched: Watched) -> None:
    groups = watched.prometheus.get("rules")["groups"]
    every = [rule for group in groups for rule in group["rules"]]
    assert {rule["type"] for rule in every} == {"alerting", "recording"}
    for rule in every:
        assert rule["health"] == "ok", f"{rule['name']}: {rule.get('lastError')}"
        if rule["type"] == "recording":
            assert watched.prometheus.ever(rule["name"]), f"{rule['name']} never had a value"


def test_nothing_fires_for_a_rollback_and_a_restart(watched: Watched) -> None:
    assert watched.prometheus.ever("ALERTS"), "the restart alone is pending for a moment"
    fired = watched.prometheus.ever('ALERTS{alertstate="firing"}')
    assert not fired, {one["metric"]["alertname"] for one in fired}
