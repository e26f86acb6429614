"""`weft cni install`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weft.cli.options import example, group
from weft.cli.output import say

app = group("The CNI plugin, for containerd, Podman, Kubernetes.", "weft cni install")


@app.command("install", epilog=example("weft cni install", "weft cni install --bin-dir /usr/lib/cni"))
def install(
    bin_dir: Annotated[
        Path, typer.Option("--bin-dir", metavar="DIR", help="Where the engine looks for plugins.")
    ] = Path("/opt/cni/bin"),
) -> None:
    """Put the plugin `weft-cni` where container engines look for it."""
    from weft.cni import launcher

    say(f"installed {launcher.install(bin_dir)}")


@app.callback()
def cni() -> None:
    """Typer makes an app of one command that command, unless there is a callback."""
