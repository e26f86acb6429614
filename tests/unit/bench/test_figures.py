from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from bench import report
from bench.figures import Figure, Goal, Named, beside, paired, single

NAMED = Named("group", "name", "ms", "reference")


@pytest.mark.parametrize(
    ("goal", "between", "verdict"),
    [
        (Goal("ratio", least=0.98), (0.90, 0.99, 1.00), "met"),
        (Goal("ratio", least=0.98), (0.90, 0.95, 1.00), "unclear"),
        (Goal("ratio", least=0.98), (0.90, 0.95, 0.97), "missed"),
        (Goal("ratio", most=1.0), (0.9, 1.0, 1.1), "met"),
        (Goal("ratio", most=1.0), (0.9, 1.1, 1.2), "unclear"),
        (Goal("ratio", most=1.0), (1.05, 1.1, 1.2), "missed"),
    ],
)
def test_a_goal_within_the_scatter_is_neither_met_nor_missed(
    goal: Goal, between: tuple[float, float, float], verdict: str
) -> None:
    assert goal.verdict(*between) == verdict


def test_paired_takes_the_median_of_the_ratios() -> None:
    figure = paired(NAMED, [10, 30, 10], [10, 10, 20], Goal("ratio", most=1.0))
    assert (figure.value, figure.reference, figure.ratio, figure.verdict) == (10, 10, 1.0, "met")


def test_a_goal_may_be_of_the_value_though_there_is_a_ratio() -> None:
    figure = beside(NAMED, (4.0, [4.0]), (1.0, [1.0]), Goal("value", most=5.0))
    assert (figure.ratio, figure.verdict) == (4.0, "met")
    assert single(NAMED, 6.0, [6.0], Goal("value", most=5.0)).verdict == "missed"
    assert single(NAMED, 6.0, [6.0]).verdict == ""


def test_the_table_fits_and_shows_every_figure() -> None:
    long = "attach on node-1 → answer from node-4, p99"
    figures = [
        paired(NAMED, [1.0, 1.1], [1.0, 1.0], Goal("ratio", most=1.0)),
        single(Named("convergence on sqlite with a long title that goes on and on", long, "ms"), 0.123, [0.123]),
    ]
    out = io.StringIO()
    report.show(figures, Console(file=out, width=report.WIDTH))
    text = out.getvalue()
    assert all(len(line.rstrip()) <= report.WIDTH for line in text.splitlines())
    assert long in text and "0.123 ms" in text and "≤ 1×" in text and "1.050 1.00–1.10" in text


def test_json_holds_all_samples() -> None:
    figure = paired(NAMED, [1.0, 2.0], [1.0, 1.0])
    again = msgspec.json.decode(msgspec.json.encode(figure), type=Figure)
    assert again.samples == {"value": [1.0, 2.0], "reference": [1.0, 1.0]}
