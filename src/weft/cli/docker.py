"""`weft docker run|setup`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weft.cli.agent import LogFormat, LogLevel
from weft.cli.options import example, group
from weft.cli.output import say
from weft.cli.session import session

app = group(
    "Docker's containers in Weft's networks: a network and IPAM driver.", "weft docker setup", "weft docker run"
)


@app.command(
    "run",
    epilog=example(
        "weft docker run",
        "docker network create -d weft --ipam-driver weft --subnet 10.1.0.0/16 \\",
        "  -o weft.network=blue -o weft.driver=vxlan blue",
    ),
)
def run(
    ctx: typer.Context,
    plugin_socket: Annotated[
        Path | None, typer.Option("--plugin-socket", metavar="PATH", help="Else /run/docker/plugins/weft.sock.")
    ] = None,
    spec: Annotated[
        Path | None,
        typer.Option("--spec", metavar="FILE", help="Write this file for Docker: /etc/docker/plugins/weft.spec."),
    ] = None,
    docker_socket: Annotated[
        str | None, typer.Option("--docker-socket", metavar="PATH", help="Docker's API; else /run/docker.sock.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="FILE", help="Else /var/lib/weft/docker.json.")
    ] = None,
    interval: Annotated[
        float | None,
        typer.Option("--interval", metavar="SECONDS", min=0.5, help="Between two looks at what Docker has."),
    ] = None,
    patience: Annotated[
        float | None,
        typer.Option(
            "--patience",
            metavar="SECONDS",
            min=0.0,
            help="How long a container that is to start waits for an agent that does not answer yet; else 60.",
        ),
    ] = None,
    log_format: Annotated[LogFormat, typer.Option("--log-format", help="Of the log on stderr.")] = LogFormat.TEXT,
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="The least that is logged.")] = LogLevel.INFO,
) -> None:
    """Run Docker's plugin in the foreground, beside the agent.

    It ends with SIGTERM or SIGINT; containers keep their networks. It may be restarted at any time.
    """
    from weft.agent.logs import set_up
    from weft.client import DEFAULT_SOCKET
    from weft.docker.engine import DEFAULT_SOCKET as DOCKER
    from weft.docker.server import PATIENCE, SOCKET, STATE, Settings
    from weft.docker.server import run as serve
    from weft.docker.sweep import INTERVAL

    set_up(log_format.value, log_level.value)
    serve(
        Settings(
            agent=session(ctx).socket or DEFAULT_SOCKET,
            socket=plugin_socket or SOCKET,
            spec=spec,
            state=state or STATE,
            docker=docker_socket or DOCKER,
            interval=interval or INTERVAL,
            patience=PATIENCE if patience is None else patience,
        )
    )


@app.command("setup", epilog=example("weft docker setup"))
def setup() -> None:
    """Have the plugin start with the host, and now; `weft agent purge` undoes it.

    Docker itself stays as it is: it finds the plugin by its socket.
    """
    from weft.setup import engines

    say(engines.docker())
