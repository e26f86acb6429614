"""What is packed: this checkout, its version, and the moment that all files in a package bear."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from weft import __version__

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build/package"
"""What is kept between two builds: the Python packages of others."""


def version() -> str:
    """`0.1.0` at the tag `v0.1.0`; else `0.1.0.dev812+g1227752`, which is before it (PEP 440); `0.1.0` where no git tells."""
    if f"v{__version__}" in _git("tag", "--points-at", "HEAD").split():
        return __version__
    count, commit = _git("rev-list", "--count", "HEAD"), _git("rev-parse", "--short=7", "HEAD")
    return f"{__version__}.dev{count}+g{commit}" if count and commit else __version__


def debian_version(version: str) -> str:
    """The same for dpkg, which sorts `~` before the end of a version (deb-version(7))."""
    return version.replace(".dev", "~dev")


def epoch() -> int:
    """Seconds since 1970: SOURCE_DATE_EPOCH, else when HEAD was committed. The same source makes the same package."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or _git("log", "-1", "--format=%ct") or 0)


def architecture() -> str:
    """As dpkg calls it: `amd64`, `arm64`."""
    return run("dpkg", "--print-architecture").strip()


def run(*command: str | Path, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """What it printed. Raises SystemExit with what it complained of."""
    found = subprocess.run(
        [*map(str, command)], cwd=cwd, env={**os.environ, **(env or {})}, text=True, capture_output=True, check=False
    )
    if found.returncode:
        lines = (found.stderr or found.stdout).strip().splitlines()[-15:]
        raise SystemExit("\n".join([f"package: {' '.join(map(str, command))} failed ({found.returncode})", *lines]))
    return found.stdout


def _git(*words: str) -> str:
    """Nothing where this is no git checkout, or another user's."""
    try:
        found = subprocess.run(["git", *words], cwd=ROOT, text=True, capture_output=True, check=False)
    except FileNotFoundError:
        return ""
    return found.stdout.strip() if found.returncode == 0 else ""
