"""This checkout as if it were installed on booted hosts: the command `weft` by its Python environment, and its units."""

from __future__ import annotations

import sys
from pathlib import Path

from support.machines import Machine

HERE = Path(__file__).parents[2]
_COMMAND = f"""#!/bin/sh
PYTHONPATH={HERE}/src exec {sys.executable} -c 'import sys; from weft.cli import main; sys.exit(main())' "$@"
"""


def binds() -> dict[Path, str]:
    """What a host has to see of this machine."""
    return {path: str(path) for path in {HERE, Path(sys.prefix)}}


def install(machine: Machine) -> None:
    machine.write("/usr/local/bin/weft", _COMMAND, 0o755)
    for unit in (HERE / "packaging/systemd").glob("*.service"):
        machine.write(f"/etc/systemd/system/{unit.name}", unit.read_text())
    machine.sh("systemctl daemon-reload")
