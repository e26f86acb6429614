"""Grafana's dashboard, made from a table: `python -m tools.dashboard` writes packaging/grafana/weft.json anew."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

FILE = Path(__file__).parents[1] / "packaging/grafana/weft.json"
SOURCE = {"type": "prometheus", "uid": "${source}"}
WIDTH = 24
"""Of Grafana's grid, in columns."""


class Query(NamedTuple):
    expression: str
    legend: str = "{{instance}}"


class Panel(NamedTuple):
    """`bad`: from which value on it is red; None: it has no bad values. `least`: below it, instead."""

    title: str
    about: str
    queries: tuple[Query, ...]
    kind: Literal["stat", "timeseries"] = "timeseries"
    unit: str = "short"
    bad: float | None = None
    least: bool = False


class Row(NamedTuple):
    title: str
    panels: tuple[Panel, ...]
    each: int
    """How many stand beside each other."""


def _quantile(metric: str, q: float = 0.9) -> str:
    return f"histogram_quantile({q}, sum by (instance, le) (rate({metric}_bucket{{instance=~'$instance'}}[$__rate_interval])))"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{instance=~'$instance'}}[$__rate_interval]))"


def _sum(metric: str, by: str, more: str = "") -> str:
    return f"sum by ({by}) ({metric}{{instance=~'$instance'{more}}})"


ROWS = (
    Row(
        "The cluster",
        (
            Panel(
                "Hosts that are well",
                "As `weft status --check` says on each.",
                (Query("sum(weft_healthy) / count(weft_healthy)", "well"),),
                "stat",
                "percentunit",
                bad=1,
                least=True,
            ),
            Panel("Agents", "That answer.", (Query("sum(up{job='weft'})", "agents"),), "stat"),
            Panel(
                "Nodes without an agent",
                "Known to the cluster, and nobody speaks for them.",
                (Query("max(weft_nodes) - max(weft_nodes_alive)", "missing"),),
                "stat",
                bad=1,
            ),
            Panel(
                "Hosts without the store",
                "Packets go on; nothing can be changed there.",
                (Query("count(weft_store_connected == 0) or vector(0)", "hosts"),),
                "stat",
                bad=1,
            ),
            Panel("Containers", "In all networks.", (Query("sum(weft_endpoints)", "containers"),), "stat"),
            Panel(
                "Versions",
                "Of Weft, in the cluster.",
                (Query("count(count by (version) (weft_info))", "versions"),),
                "stat",
                bad=3,
            ),
        ),
        6,
    ),
    Row(
        "What is amiss",
        (
            Panel("Problems", "Listed by `weft status`.", (Query(_sum("weft_problems", "instance")),), bad=1),
            Panel(
                "Objects that cannot be made",
                "Devices, routes, rules: `weft status` says why.",
                (Query(_sum("weft_objects", "instance, kind", ",state='failed'"), "{{instance}} {{kind}}"),),
                bad=1,
            ),
            Panel(
                "Repairs", "What others undid, and was put right.", (Query(_rate("weft_repairs_total", "instance")),)
            ),
            Panel(
                "Since the last full comparison with the kernel",
                "A minute is usual.",
                (Query("weft_resync_age_seconds{instance=~'$instance'}"),),
                unit="s",
                bad=600,
            ),
        ),
        2,
    ),
    Row(
        "Changes",
        (
            Panel("A step of convergence, 90 %", "", (Query(_quantile("weft_converge_seconds")),), unit="s"),
            Panel("Attaching a container, 90 %", "", (Query(_quantile("weft_attach_seconds")),), unit="s"),
            Panel("From a commit to hearing of it, 90 %", "", (Query(_quantile("weft_watch_lag_seconds")),), unit="s"),
            Panel(
                "Objects written to the kernel", "", (Query(_rate("weft_kernel_writes_total", "instance")),), unit="wps"
            ),
            Panel("Containers by host", "", (Query("weft_endpoints{instance=~'$instance'}"),)),
            Panel("Objects by kind", "", (Query(_sum("weft_objects", "kind", ",state='desired'"), "{{kind}}"),)),
        ),
        3,
    ),
    Row(
        "Policy and services",
        (
            Panel(
                "Refused by policy",
                "Packets, by the policy that refused them.",
                (Query(_rate("weft_policy_drops_total", "policy, direction"), "{{policy}} {{direction}}"),),
                unit="pps",
            ),
            Panel(
                "Connections cut off",
                "Open ones that policy came to forbid.",
                (Query(_rate("weft_connections_cut_off_total", "instance")),),
            ),
            Panel(
                "Members of services",
                "By what their health checks say.",
                (
                    Query(
                        "max by (network, service, state) (weft_service_members)", "{{network}}/{{service}} {{state}}"
                    ),
                ),
            ),
            Panel(
                "Connections to services",
                "Open ones, to members on these hosts.",
                (Query(_sum("weft_service_connections", "network, service"), "{{network}}/{{service}}"),),
            ),
            Panel(
                "Questions for names",
                "Of containers; those for other servers; those that nobody could be asked.",
                (
                    Query(_rate("weft_names_questions_total", "instance"), "{{instance}} asked"),
                    Query(_rate("weft_names_forwarded_total", "instance"), "{{instance}} forwarded"),
                    Query(_rate("weft_names_refused_total", "instance"), "{{instance}} refused"),
                ),
                unit="reqps",
            ),
            Panel("Health checks that failed", "", (Query(_rate("weft_health_failures_total", "instance")),)),
        ),
        3,
    ),
    Row(
        "The fast path",
        (
            Panel(
                "Passed on past the rules",
                "By programs at devices; what a flowtable passes on is not counted.",
                (Query(_rate("weft_fast_packets_total", "instance, network"), "{{instance}} {{network}}"),),
                unit="pps",
            ),
            Panel(
                "Octets passed on",
                "The same.",
                (Query(_rate("weft_fast_octets_total", "instance, network"), "{{instance}} {{network}}"),),
                unit="Bps",
            ),
            Panel(
                "Asked again",
                "Packets that took the ordinary way, after which programs knew how to go on.",
                (Query(_rate("weft_fast_entered_total", "instance, network"), "{{instance}} {{network}}"),),
                unit="pps",
            ),
            Panel(
                "Flows that take it",
                "At the moment, by means.",
                (Query(_sum("weft_fast_flows", "network, means"), "{{network}} {{means}}"),),
            ),
        ),
        4,
    ),
    Row(
        "Between hosts",
        (
            Panel(
                "BGP sessions",
                "",
                (Query(_sum("weft_bgp_sessions", "instance, state"), "{{instance}} {{state}}"),),
            ),
            Panel(
                "Ways to other hosts",
                "Of driver mesh: the kernel's tunnel, the sleeve, or by way of another host.",
                (Query("count by (way) (weft_path{instance=~'$instance'} == 1)", "{{way}}"),),
            ),
            Panel(
                "Packets that a program carries",
                "Drivers udp and mesh.",
                (
                    Query(
                        _rate("weft_tunnel_packets_total", "instance, device, direction"),
                        "{{instance}} {{device}} {{direction}}",
                    ),
                ),
                unit="pps",
            ),
        ),
        3,
    ),
)


def dashboard() -> dict[str, Any]:
    """As Grafana imports it (dashboard JSON model, schema 39)."""
    return {
        "title": "Weft",
        "uid": "weft",
        "tags": ["weft"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_source(), _instance()]},
        "panels": list(_panels()),
    }


def _source() -> dict[str, Any]:
    return {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"}


def _instance() -> dict[str, Any]:
    return {
        "name": "instance",
        "type": "query",
        "label": "Host",
        "datasource": SOURCE,
        "query": {"query": "label_values(weft_info, instance)", "refId": "instance"},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[dict[str, Any]]:
    y = number = 0
    for row in ROWS:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": False,
            "panels": [],
            "gridPos": {"x": 0, "y": y, "w": WIDTH, "h": 1},
        }
        y += 1
        width = WIDTH // row.each
        height = 4 if row.panels[0].kind == "stat" else 8
        for place, panel in enumerate(row.panels):
            number += 1
            at = {"x": place % row.each * width, "y": y + place // row.each * height, "w": width, "h": height}
            yield {"id": number, "gridPos": at, **_panel(panel)}
        y += -(-len(row.panels) // row.each) * height


def _panel(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "red" if panel.least else "green", "value": None}]
    if panel.bad is not None:
        steps.append({"color": "green" if panel.least else "red", "value": panel.bad})
    lines = {"custom": {"fillOpacity": 10, "lineWidth": 1}} if panel.kind == "timeseries" else {}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": query.expression, "legendFormat": query.legend}
            for n, query in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}, **lines},
            "overrides": [],
        },
    }


def text() -> str:
    return json.dumps(dashboard(), indent=2) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text())
