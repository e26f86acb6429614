"""All metrics, as `weft.agent.measures` declares them."""

from __future__ import annotations

from tools.reference.markdown import block, code, page, table, text
from weft.agent.config import METRICS_EXAMPLE
from weft.agent.measures import MEASURES, Measure


def pages() -> dict[str, str]:
    rows = [(code(m.shown), m.kind, ", ".join(map(code, m.labels)), _help(m)) for m in MEASURES]
    return {
        "metrics.md": page(
            "Metrics",
            "Each agent tells Prometheus of its host: at `/metrics` on the API's socket, and over TCP where the setting"
            " [`metrics`](settings.md) says so. Names and labels stay; new ones may come.",
            block(f"curl http://{METRICS_EXAMPLE}/metrics"),
            "A histogram has the usual three: `…_bucket`, `…_sum` and `…_count`.",
            table(("metric", "kind", "labels", ""), rows),
        )
    }


def _help(measure: Measure) -> str:
    return text(measure.help) + (f" (only with {measure.of})" if measure.of else "")
