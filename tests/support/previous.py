"""The release before this one, to be run beside it: its source as git has it, in this environment's Python."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import pytest

from weft.lab.lab import agent_command

RELEASE = "2531a44bd44e5c7d9c8b1cf5f994182c74eae957"
"""The commit. With each release it becomes the one that was released before."""
PLACE = "WEFT_PREVIOUS"
"""Variable: another commit, or a folder with the source of another version."""
_ROOT = Path(__file__).parents[2]

Command = Callable[[str, str], Sequence[str]]


def source(folder: Path) -> Path:
    """Where Python finds the package `weft` of that version, put into `folder` if need be. Skips the test where this is no
    checkout with the history."""
    wanted = os.environ.get(PLACE, "") or RELEASE
    if Path(wanted, "src", "weft").is_dir():
        return Path(wanted, "src")
    done = subprocess.run(["git", "-C", _ROOT, "archive", wanted, "src"], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"this checkout does not have {wanted} ({done.stderr.decode().strip()}); {PLACE} names a folder")
    subprocess.run(["tar", "-x", "-C", folder], input=done.stdout, check=True)
    return folder / "src"


def words(source: Path) -> list[str]:
    """The command `weft` of the version there."""
    return ["env", f"PYTHONPATH={source}", sys.executable, "-m", "weft"]


def beside(source: Path, former: Collection[str]) -> Command:
    """How agents are started: those of the hosts in `former`, which may change, as that version's."""

    def command(host: str, url: str) -> list[str]:
        usual = agent_command(host, url)
        return [*words(source), *usual[3:]] if host in former else list(usual)

    return command
