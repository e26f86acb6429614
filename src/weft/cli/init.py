"""`weft init`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from weft.cli.options import example, single

app = single()

_FILE = "FILE"


@app.command(
    epilog=example(
        "weft init",
        "weft init --store etcds://weft@10.0.0.5 --store-ca ca.pem --store-password-file password",
        "weft init --join 10.0.0.11 10.0.0.12 10.0.0.13",
        "weft init --join 10.0.0.11 10.0.0.12 10.0.0.13 --mesh-secret - <mesh.secret",
        "weft init --dry-run",
    )
)
def init(
    more: Annotated[list[str] | None, typer.Argument(metavar="HOST...", help="Further hosts for --join.")] = None,
    store: Annotated[
        str,
        typer.Option(
            "--store", metavar="URL", help="etcds://USER@HOST:PORT[,HOST:PORT...][/PREFIX]; else a file here."
        ),
    ] = "",
    join: Annotated[
        list[str] | None,
        typer.Option(
            "--join", metavar="HOST", help="Hosts that keep the store themselves (mesh); the same on all hosts."
        ),
    ] = None,
    node: Annotated[
        str, typer.Option("--node", metavar="NAME", help="This host's name in the cluster; else its own.")
    ] = "",
    iface: Annotated[str, typer.Option("--iface", metavar="IF", help="The uplink; else the default route's.")] = "",
    address: Annotated[
        list[str] | None,
        typer.Option("--address", metavar="IP", help="This host's address; once for each family. Else it is chosen."),
    ] = None,
    store_ca: Annotated[str, typer.Option("--store-ca", metavar=_FILE, help="Who signed etcd's certificates.")] = "",
    store_cert: Annotated[str, typer.Option("--store-cert", metavar=_FILE, help="This host's own certificate.")] = "",
    store_key: Annotated[str, typer.Option("--store-key", metavar=_FILE, help="The key of that.")] = "",
    store_password_file: Annotated[
        str,
        typer.Option("--store-password-file", metavar=_FILE, help="The password of the store's user; - reads stdin."),
    ] = "",
    mesh_secret: Annotated[
        str, typer.Option("--mesh-secret", metavar=_FILE, help="What all hosts of a mesh share; - reads stdin.")
    ] = "",
    config: Annotated[
        Path, typer.Option("--config", "-c", metavar=_FILE, help="Where the settings are written.")
    ] = Path("/etc/weft/weft.toml"),
    start: Annotated[bool, typer.Option("--start/--no-start", help="Whether the agent is started, too.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask, on a terminal either.")] = False,
) -> None:
    """Make this host one with a running agent: check it, write the settings, start the service.

    Without options the host is a cluster of its own. Where something is wrong nothing is changed, and the same command again
    changes nothing. Settings and comments that are in the file stay. On a terminal it asks once; else it asks nothing.
    """
    from weft.setup.decide import Wanted
    from weft.setup.run import Ask
    from weft.setup.run import init as run

    if more and not join:
        raise typer.BadParameter("hosts are named for --join only", param_hint="'HOST...'")
    wanted = Wanted(
        store=store,
        join=tuple(host for text in (*(join or ()), *(more or ())) for host in text.split(",") if host),
        node=node,
        iface=iface,
        address=tuple(address or ()),
        store_ca=store_ca,
        store_cert=store_cert,
        store_key=store_key,
        store_password_file=store_password_file,
        mesh_secret=mesh_secret,
    )
    asks = not yes and sys.stdin.isatty() and sys.stdout.isatty()
    run(wanted, config, Ask(typer.echo, _warn, (lambda: typer.confirm("Do it?")) if asks else lambda: True, sys.stdin.read),
        start=start, dry=dry_run)  # fmt: skip


def _warn(line: str) -> None:
    typer.echo(line, err=True)
