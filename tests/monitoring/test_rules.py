"""The rules by Prometheus's own tools, and that every alert is tested both ways."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_program import DEPLOYED, ROOT, run_promtool

TESTS = sorted(Path(__file__).parent.glob("*_rules_test.yml"))
OPERATING = ROOT / "deploy" / "OPERATING.md"

Yaml = dict[str, Any]


@cache
def read(path: Path) -> Yaml:
    content: Yaml = yaml.safe_load(path.read_text())
    return content


def rules(kind: str) -> dict[str, Yaml]:
    """By name: the rules of one kind (`alert` or `record`) of every deployed file."""
    found = {}
    for path in DEPLOYED.glob("*_rules.yml"):
        for group in read(path)["groups"]:
            for rule in group["rules"]:
                if kind in rule:
                    assert rule[kind] not in found, f"{rule[kind]} is there twice"
                    found[rule[kind]] = rule
    return found


def cases(alert: str) -> list[tuple[Yaml, Yaml]]:
    """Every test case of an alert, each behind the test with the series that it is about."""
    return [
        (test, case)
        for path in TESTS
        for test in read(path)["tests"]
        for case in test["alert_rule_test"]
        if case["alertname"] == alert
    ]


def test_prometheus_takes_configuration_and_rules() -> None:
    said = run_promtool("check", "config", str(DEPLOYED / "prometheus.yml"))
    assert "2 rule files found" in said


def test_every_alert_fires_and_is_silent_as_written() -> None:
    said = run_promtool("test", "rules", *map(str, TESTS))
    assert said.count("SUCCESS") == len(TESTS) == 2


@pytest.mark.parametrize("alert", sorted(rules("alert")))
def test_no_alert_lacks_a_firing_or_a_silent_case(alert: str) -> None:
    fires = [(test, case) for test, case in cases(alert) if case["exp_alerts"]]
    silent = [(test, case) for test, case in cases(alert) if not case["exp_alerts"]]
    assert fires, f"{alert} has no case in {TESTS} in which it fires"
    assert silent, f"{alert} has no case in {TESTS} in which it is silent"
    for test, case in fires:
        # Silent next to it, at the same moment: the rule tells the good from the bad.
        subjects = {re.sub(r"^\w+", "", series["series"]) for series in test["input_series"]}
        assert len(case["exp_alerts"]) == 1 < len(subjects), f"{alert}: nothing in it stays good"
    # A case without series would be silent whatever the rule says.
    assert all(test["input_series"] for test, _ in silent)


@pytest.mark.parametrize("alert", sorted(rules("alert")))
def test_every_alert_has_a_severity_a_summary_and_a_line_to_go_to(alert: str) -> None:
    rule = rules("alert")[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["summary"]
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    assert OPERATING.name == page
    line = [each for each in OPERATING.read_text().splitlines() if f'<a id="{anchor}">' in each]
    assert len(line) == 1, f"{OPERATING} has {len(line)} lines with the anchor {anchor}"
    assert line[0].startswith(f"| {alert} |")


def test_what_an_expression_takes_from_recording_rules_is_recorded() -> None:
    recorded = set(rules("record"))
    every = {**rules("alert"), **rules("record")}
    taken = {name for rule in every.values() for name in re.findall(r"\w+:\w+:\w+", rule["expr"])}
    assert taken, "the pattern finds nothing"
    assert taken <= recorded
