#!/usr/bin/env python3
"""Prints the Grafana dashboard: make_dashboard.py > dashboards/engram.json

Grafana's JSON is four fifths repetition, in which a wrong query is easily overlooked. So what
differs between panels is in the tables of panels.py, and what they share is here, once. The JSON is
kept for whoever only wants the dashboard; tests/monitoring sees that the two agree.
"""

from __future__ import annotations

import json
from typing import Any

from panels import ANNOTATIONS, ROWS, Panel, Query

Json = dict[str, Any]

_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
_COLUMNS = 24
_MODELS = 'label_values(engram_tasks{instance=~"$instance"}, model)'
_COLORS = {"good": "green", "bad": "red"}


def _target(query: Query, letter: str, as_table: bool) -> Json:
    target: Json = {
        "datasource": _DATASOURCE,
        "refId": letter,
        "expr": query.expr,
        "legendFormat": query.legend,
        "editorMode": "code",
    }
    if as_table:
        return target | {"format": "table", "instant": True, "range": False}
    return target | {"range": True}


def _thresholds(panel: Panel) -> Json:
    steps: list[Json] = [{"color": _COLORS["good"], "value": None}]
    if panel.bad_above is not None:
        steps.append({"color": _COLORS["bad"], "value": panel.bad_above})
    if panel.bad_below is not None:
        steps = [{"color": _COLORS["bad"], "value": None}]
        steps.append({"color": _COLORS["good"], "value": panel.bad_below})
    return {"mode": "absolute", "steps": steps}


def _defaults(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "thresholds": _thresholds(panel)}
    if panel.unit == "percentunit" and panel.kind != "stat":
        defaults |= {"max": 1} if panel.signed else {"min": 0, "max": 1}
    elif not panel.signed:
        defaults["min"] = 0
    if panel.kind == "timeseries":
        defaults["color"] = {"mode": "palette-classic"}
        defaults["custom"] = {
            "drawStyle": "line",
            "lineInterpolation": "stepAfter" if panel.steps else "linear",
            "lineWidth": 1,
            "fillOpacity": 30 if panel.stacked else 5,
            "showPoints": "never",
            "spanNulls": False,
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "scaleDistribution": {"type": "log", "log": 10} if panel.log else {"type": "linear"},
            "thresholdsStyle": {"mode": "off"},
        }
        if panel.log:
            del defaults["min"]
    else:
        defaults["color"] = {"mode": "thresholds"}
    return defaults


def _options(panel: Panel) -> Json:
    if panel.kind == "stat":
        return {
            "colorMode": "value",
            "graphMode": "area",
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            "textMode": "auto",
        }
    if panel.kind == "table":
        return {"showHeader": True, "cellHeight": "sm"}
    return {
        "legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull"]},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _columns(panel: Panel) -> list[Json]:
    """A table's queries as columns of one table, named by their legends, its labels before them."""
    names = {f"Value #{chr(ord('A') + i)}": query.legend for i, query in enumerate(panel.queries)}
    hidden = {"Time": True, "__name__": True, "job": True}
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": hidden, "renameByName": names}},
    ]


def _panel(panel: Panel, number: int, x: int, y: int) -> Json:
    table = panel.kind == "table"
    drawn: Json = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _DATASOURCE,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _options(panel),
        "targets": [
            _target(query, chr(ord("A") + i), table) for i, query in enumerate(panel.queries)
        ],
    }
    if table:
        drawn["transformations"] = _columns(panel)
    return drawn


def _panels() -> list[Json]:
    """Left to right, a line as high as its highest, each row of the table under its heading."""
    drawn: list[Json] = []
    y = 0
    for title, panels in ROWS:
        drawn.append(
            {
                "id": len(drawn) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "gridPos": {"h": 1, "w": _COLUMNS, "x": 0, "y": y},
                "panels": [],
            }
        )
        y += 1
        x = line = 0
        for panel in panels:
            if x + panel.width > _COLUMNS:
                x, y, line = 0, y + line, 0
            drawn.append(_panel(panel, len(drawn) + 1, x, y))
            x, line = x + panel.width, max(line, panel.height)
        y += line
    return drawn


def _choice(name: str, label: str, query: str) -> Json:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _DATASOURCE,
        "definition": query,
        "query": {"qryType": 1, "query": query, "refId": "PrometheusVariableQueryEditor"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _annotation(name: str, color: str, expr: str, title: str) -> Json:
    return {
        "name": name,
        "datasource": _DATASOURCE,
        "enable": True,
        "iconColor": color,
        "expr": expr,
        "titleFormat": title,
        "useValueForTime": "start_time" in expr,
    }


def dashboard() -> Json:
    """The whole dashboard, as Grafana imports and provisions it."""
    source: Json = {"name": "datasource", "label": "Prometheus", "type": "datasource"}
    source |= {"query": "prometheus", "refresh": 1}
    return {
        "uid": "engram",
        "title": "Engram: forgetting",
        "description": "What models learn and forget, and how the server fares meanwhile.",
        "tags": ["engram"],
        "schemaVersion": 38,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "15s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                source,
                _choice("instance", "Server", "label_values(engram_build_info, instance)"),
                _choice("model", "Model", _MODELS),
            ]
        },
        "annotations": {"list": [_annotation(*each) for each in ANNOTATIONS]},
        "panels": _panels(),
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=2))
