"""Units of this host's systemd, by its own commands."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from weft.base.errors import Failed

PATIENCE = 120.0
"""Seconds for one command: to start a unit waits until it is ready."""
_RUNS = Path("/run/systemd/system")


class State(NamedTuple):
    """`there`: systemd knows such a unit. `enabled`: it starts with the host. `active`: it runs, or is about to."""

    there: bool
    enabled: bool
    active: bool
    pid: int = 0


def runs() -> bool:
    """Whether this host was booted with systemd (sd_booted(3))."""
    return _RUNS.is_dir()


def state(unit: str) -> State:
    words = ("show", "--property=LoadState,UnitFileState,ActiveState,MainPID", unit)
    found = dict(line.partition("=")[::2] for line in _systemctl(*words).stdout.splitlines())
    active = found.get("ActiveState") in ("active", "activating", "reloading")
    pid = int(found.get("MainPID") or 0)
    return State(found.get("LoadState") == "loaded", found.get("UnitFileState") == "enabled", active, pid)


def enable(unit: str) -> None:
    """Raises Failed."""
    _must("enable", unit)


def disable(unit: str) -> None:
    """Raises Failed."""
    _must("disable", unit)


def start(unit: str) -> None:
    """Returns when it is ready. Raises Failed, with the last line that it logged."""
    _begin("start", unit)


def restart(unit: str) -> None:
    """As `start`."""
    _begin("restart", unit)


def stop(unit: str) -> None:
    """Raises Failed."""
    _must("stop", unit)


def _begin(verb: str, unit: str) -> None:
    if _systemctl(verb, unit).returncode:
        raise Failed(f"{unit} does not start: {_last_words(unit)}")


def _last_words(unit: str) -> str:
    """What it said itself, not what systemd says of it."""
    words = [
        "journalctl",
        f"--unit={unit}",
        f"--identifier={unit.partition('-')[0]}",
        "--lines=1",
        "--output=cat",
        "--quiet",
    ]
    said = subprocess.run(words, capture_output=True, text=True, check=False, timeout=PATIENCE).stdout.strip()
    return said or f"see `journalctl -u {unit}`"


def _must(*words: str) -> None:
    done = _systemctl(*words)
    if done.returncode:
        raise Failed(f"systemctl {' '.join(words)}: {(done.stderr or done.stdout).strip() or done.returncode}")


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False, timeout=PATIENCE)
