"""Figures as a table of at most 100 columns, and as JSON with every sample."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from bench.figures import Figure, Goal
from weft import __version__

WIDTH = 100
_STYLES = {"met": "green", "missed": "red", "unclear": "yellow", "": ""}


def show(figures: Sequence[Figure], console: Console) -> None:
    for group in dict.fromkeys(figure.group for figure in figures):
        table = Table(title=group, title_justify="left", title_style="bold", box=None, pad_edge=False)
        for title in ("", "measured", "reference", "", "ratio (95 %)", "goal", ""):
            table.add_column(title, header_style="dim", overflow="fold")
        for figure in figures:
            if figure.group == group:
                table.add_row(*_row(figure), style=_STYLES[figure.verdict])
        console.print(table)
        console.print()


def _row(figure: Figure) -> list[str]:
    return [
        figure.name,
        f"{_number(figure.value)} {figure.unit}",
        figure.against,
        "" if figure.reference is None else f"{_number(figure.reference)} {figure.unit}",
        _ratio(figure),
        "" if figure.goal is None else goal_text(figure.goal, figure.unit),
        figure.verdict,
    ]


def _ratio(figure: Figure) -> str:
    if figure.ratio is None:
        return ""
    spread = "" if figure.between is None else f" {figure.between[0]:.2f}–{figure.between[1]:.2f}"
    return f"{figure.ratio:.3f}{spread}" if figure.ratio < 10 else _number(figure.ratio)


def goal_text(goal: Goal, unit: str) -> str:
    limit, sign = (goal.least, "≥") if goal.least is not None else (goal.most, "≤")
    return f"{sign} {limit:g}{f' {unit}' if goal.of == 'value' else '×'}"


def _number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> dict[str, Any]:
    """What the figures depend on; nothing that tells whose machine it is."""
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown"
    )
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "0")
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "weft": __version__,
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "cpu": cpu,
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mib": int(memory) // 1024,
        "load": os.getloadavg(),
    }


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def write(path: Path, figures: Sequence[Figure], about: dict[str, Any]) -> None:
    document = {"machine": about, "figures": figures}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
