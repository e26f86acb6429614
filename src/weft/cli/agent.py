"""`weft agent run|purge`."""

from __future__ import annotations

import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from weft.agent.config import METRICS_EXAMPLE
from weft.cli.options import Labels, example, given, group, pairs
from weft.cli.output import say
from weft.cli.session import Waiting, session

app = group("The node agent.", "weft agent run", "weft agent purge")


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class LogLevel(StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


ConfigFile = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Else /etc/weft/weft.toml, where there is one.")
]


StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="sqlite:///PATH, etcds://USER@HOST:PORT[,HOST:PORT...][/PREFIX] or mesh://HOST[,HOST...].",
    ),
]


MeshSecret = Annotated[
    str | None,
    typer.Option("--mesh-secret", metavar="FILE", help="What all hosts of a mesh share; for --store mesh://."),
]


@app.command(
    "run",
    epilog=example(
        "weft agent run",
        "weft agent run --store etcds://weft@10.0.0.1:2379,10.0.0.2:2379 --iface eth0",
        "weft agent run --store mesh://10.0.0.1,10.0.0.2,10.0.0.3 --mesh-secret /etc/weft/mesh.secret",
        f"weft agent run --config ./weft.toml --log-format json --metrics {METRICS_EXAMPLE}",
    ),
)
def run(
    ctx: typer.Context,
    config: ConfigFile = None,
    node: Annotated[
        str | None, typer.Option("--node", metavar="NAME", help="This node's name; else the host's.")
    ] = None,
    store: StoreUrl = None,
    mesh_secret: MeshSecret = None,
    iface: Annotated[
        str | None, typer.Option("--iface", metavar="IF", help="The uplink; else the default route's interface.")
    ] = None,
    address: Annotated[
        list[str] | None,
        typer.Option("--address", metavar="IP", help="This node's address; once for each family. Else it is chosen."),
    ] = None,
    label: Labels = None,
    asn: Annotated[
        int | None, typer.Option("--asn", metavar="N", help="This node's autonomous system; else the cluster's.")
    ] = None,
    metrics: Annotated[
        str | None, typer.Option("--metrics", metavar="ADDR", help="Serve Prometheus metrics at HOST:PORT.")
    ] = None,
    socket: Annotated[
        str | None, typer.Option("--socket", metavar="PATH", help="Where the API is served; else /run/weft/weft.sock.")
    ] = None,
    log_format: Annotated[LogFormat | None, typer.Option("--log-format", help="Of the log on stderr.")] = None,
    log_level: Annotated[LogLevel | None, typer.Option("--log-level", help="The least that is logged.")] = None,
) -> None:
    """Run the node agent in the foreground.

    It ends with SIGTERM or SIGINT; what it made in the kernel stays and carries packets on.
    What is given here goes before the configuration file. SIGHUP has the file read again: what can change while the agent
    runs does, and the log names what needs a restart.
    """
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the agent reads its settings when it has started
    from weft.agent import main
    from weft.agent.config import load

    overrides = given(
        node=node,
        store=store,
        mesh_secret=mesh_secret,
        iface=iface,
        address=address or None,
        labels=pairs("--label", label) or None,
        asn=asn,
        metrics=metrics,
        socket=socket or session(ctx).socket or None,
        log_format=log_format and log_format.value,
        log_level=log_level and log_level.value,
    )
    main.run(lambda: load(config, overrides))


@app.command("purge", epilog=example("systemctl stop weft-agent && weft agent purge --yes"))
def purge(
    config: ConfigFile = None,
    store: StoreUrl = None,
    mesh_secret: MeshSecret = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove all that is Weft's on this host.

    Devices, routes, rules: containers here lose their networks. Stop the agent first. The store is told that the node is
    gone, so that `weft node rm` on another host can remove it at once.
    """
    if not yes:
        if not sys.stdin.isatty():
            raise typer.BadParameter("nobody can be asked here: give --yes", param_hint="'--yes'")
        typer.confirm("Remove all that is Weft's on this host? Containers here lose their networks.", abort=True)

    from weft.agent import main
    from weft.agent.config import load
    from weft.setup import engines

    with Waiting("removing"):
        gone = main.purge(load(config, given(store=store, mesh_secret=mesh_secret)))
        gone += engines.undo()
    say(*(f"removed {what}" for what in gone))
    if not gone:
        say("nothing here is Weft's")
