"""Rules of alerts and the dashboard speak of metrics that there are."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tools.dashboard import FILE, ROWS, text
from weft.agent.measures import MEASURES

RULES = Path(__file__).parents[2] / "packaging/prometheus/weft.rules.yml"
_NAME = re.compile(r"\bweft_[a-z_]+")
_SUFFIX = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
KNOWN = {f"{m.shown}{suffix}" for m in MEASURES for suffix in _SUFFIX[m.kind]}


def test_alerts_ask_for_metrics_that_there_are() -> None:
    [group] = yaml.safe_load(RULES.read_text())["groups"]
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"])
    for rule in group["rules"]:
        assert set(_NAME.findall(rule["expr"])) <= KNOWN, rule["alert"]
        assert {"summary", "description", "action"} == set(rule["annotations"]), rule["alert"]


def test_panels_ask_for_metrics_that_there_are() -> None:
    for query in (query for row in ROWS for panel in row.panels for query in panel.queries):
        assert set(_NAME.findall(query.expression)) <= KNOWN | {"weft"}, query


def test_the_dashboard_is_as_it_is_made() -> None:
    assert FILE.read_text() == text(), "run `python -m tools.dashboard`"
