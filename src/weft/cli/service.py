"""`weft service create|ls|show|set|rm|drain|report`."""

from __future__ import annotations

import math
from typing import Annotated, TypeVar

import typer

from weft.api import services as s
from weft.base.net import parse_address
from weft.cli import complete, service_report
from weft.cli import service_shown as shown
from weft.cli.declared import show_documents
from weft.cli.listing import listing
from weft.cli.options import OfNetwork, example, group
from weft.cli.output import Format, Output, due, listed, say, show_each
from weft.cli.session import Waiting, client
from weft.model import selector
from weft.services import health as checks
from weft.services.model import Health, parse_port

app = group(
    "Services: one name and one address for several containers, and ports of all hosts that lead to them.",
    "weft service create web --network blue --port 80:8080 --select app=web --publish 8000",
    "weft service show web",
    "weft service drain web web-3",
)

T = TypeVar("T")

AFFINITIES: tuple[s.Affinity, ...] = ("none", "client-ip")
MODES: tuple[s.Mode, ...] = ("vip", "names")
TRAFFICS: tuple[s.Traffic, ...] = ("local-first", "any")


def _seconds(value: float | None) -> float | None:
    """Not a number that is none ("nan", "inf"): it cannot be sent. Raises typer.BadParameter."""
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no number of seconds")
    return value


Ref = Annotated[
    str,
    typer.Argument(metavar="SERVICE", help="Its name, or NETWORK/NAME.", autocompletion=complete.services),
]
Refs = Annotated[
    list[str],
    typer.Argument(metavar="SERVICE...", help="Their names, or NETWORK/NAME.", autocompletion=complete.services),
]
Ports = Annotated[
    list[str] | None,
    typer.Option(
        "--port",
        metavar="[NAME=]PORT[:TARGET][/PROTO]",
        help="A port of the service, and the members' that it leads to: a number, or what they call it. Repeatable.",
    ),
]
Select = Annotated[
    str | None,
    typer.Option("--select", "-l", metavar="SELECTOR", help="The containers with these labels: app=web,!old."),
]
Members = Annotated[
    list[str] | None,
    typer.Option(
        "--member", metavar="NAME", help="These containers instead. Repeatable.", autocompletion=complete.endpoints
    ),
]
Publish = Annotated[
    list[str] | None,
    typer.Option(
        "--publish",
        "-p",
        metavar="[HOSTIP:][HOSTPORT][:PORT][/PROTO]",
        help="A port of all hosts that leads to the service's PORT. :PORT leaves the choice of the hosts' port to Weft. "
        "Repeatable.",
    ),
]
Ip = Annotated[
    list[str] | None,
    typer.Option("--ip", metavar="ADDRESS", help="Its virtual address; else a free one. One of each family."),
]
Affinity = Annotated[
    str | None, typer.Option(metavar="none|client-ip", help="Whether a client keeps its member.", show_default=False)
]
Mode = Annotated[
    str | None, typer.Option(metavar="vip|names", help="What its name says: a virtual address, or the members'.")
]
Traffic = Annotated[
    str | None,
    typer.Option(
        metavar="local-first|any", help="Of published ports: whether members on the host that is asked come first."
    ),
]
DrainTime = Annotated[
    float | None,
    typer.Option(
        "--drain", metavar="SECONDS", help="For the connections of a member that is drained.", callback=_seconds
    ),
]
HealthCheck = Annotated[
    str | None,
    typer.Option(
        "--health",
        metavar="tcp[:PORT]|http[:PORT]/PATH|api",
        help="Who takes connections: by a connection, by a request, or as the API is told.",
    ),
]
Interval = Annotated[float | None, typer.Option("--health-interval", metavar="SECONDS", help="Between two checks.")]
Timeout = Annotated[float | None, typer.Option("--health-timeout", metavar="SECONDS", help="For the answer.")]
Rise = Annotated[int | None, typer.Option("--health-rise", metavar="N", help="So many good answers: ready.")]
Fall = Annotated[int | None, typer.Option("--health-fall", metavar="N", help="So many bad ones: not any more.")]
Aliases = Annotated[list[str] | None, typer.Option("--alias", metavar="NAME", help="A further name. Repeatable.")]
Namespace = Annotated[
    str | None,
    typer.Option(metavar="NS", help="Only containers of this one.", autocompletion=complete.policy_namespaces),
]


@app.command(
    "create",
    epilog=example(
        "weft service create web --network blue --port 80:8080 --select app=web --publish 8000",
        "weft service create db --network blue --port 5432 --member db-1 --member db-2",
        "weft service create api --network blue --port 80:http --select app=api --health http/up",
    ),
)
def create(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="1 to 63 of a-z, 0-9, '.', '_', '-'.")],
    network: Annotated[
        str,
        typer.Option("--network", "-n", metavar="NETWORK", help="Of its members.", autocompletion=complete.networks),
    ],
    port: Ports = None,
    select: Select = None,
    member: Members = None,
    publish: Publish = None,
    ip: Ip = None,
    affinity: Affinity = None,
    mode: Mode = None,
    traffic: Traffic = None,
    drain: DrainTime = None,
    health: HealthCheck = None,
    interval: Interval = None,
    timeout: Timeout = None,
    rise: Rise = None,
    fall: Fall = None,
    alias: Aliases = None,
    namespace: Namespace = None,
) -> None:
    """Make a service: containers of a network under one name, at one virtual address.

    Its members are whatever containers match, now and later, on whichever host.
    """
    request = s.CreateService(
        name=name,
        network=network,
        namespace=namespace or "",
        ports=tuple(map(parse_port, port or ())),
        select=selector.check(select or ""),
        members=tuple(member or ()),
        addresses=tuple(map(parse_address, ip or ())),
        publish=tuple(publish or ()),
        affinity=_one_of("--affinity", affinity or "none", AFFINITIES),
        mode=_one_of("--mode", mode or "vip", MODES),
        traffic=_one_of("--traffic", traffic or "local-first", TRAFFICS),
        drain=30.0 if drain is None else drain,
        health=_health(health, interval, timeout, rise, fall),
        aliases=tuple(alias or ()),
    )
    with Waiting(f"creating {name}"):
        made = client(ctx).create_service(request)
    shown.told("created", made)


@listing(app, shown.SERVICES, "weft service ls", "weft service ls --network blue -o json", "weft service ls -w")
def ls(ctx: typer.Context, network: OfNetwork = "") -> tuple[s.ServiceInfo, ...]:
    """List the services."""
    return client(ctx).services(network)


@app.command("show", epilog=example("weft service show web", "weft service show blue/web -o json"))
def one(ctx: typer.Context, service: Refs, output: Output = Format.TABLE) -> None:
    """Show services: their addresses and ports, their members, what is amiss on this node. With -o yaml their documents, for
    `weft apply`."""
    with Waiting("asking for the service"):
        found = [client(ctx).service(each) for each in service]
    if output is Format.YAML:
        show_documents(ctx, *(f"service/{each.service.network}/{each.service.name}" for each in found))
        return
    show_each(found, output, shown.details)


@app.command(
    "set",
    epilog=example(
        "weft service set web --port 80:8080 --port 443:8443",
        "weft service set web --publish 8000 --publish :443",
        "weft service set web --health http/up --drain 10",
    ),
)
def change(
    ctx: typer.Context,
    service: Ref,
    port: Ports = None,
    select: Select = None,
    member: Members = None,
    publish: Publish = None,
    no_publish: Annotated[bool, typer.Option("--no-publish", help="No port of the hosts any more.")] = False,
    ip: Ip = None,
    affinity: Affinity = None,
    mode: Mode = None,
    traffic: Traffic = None,
    drain: DrainTime = None,
    health: HealthCheck = None,
    interval: Interval = None,
    timeout: Timeout = None,
    rise: Rise = None,
    fall: Fall = None,
    no_health: Annotated[bool, typer.Option("--no-health", help="No health check any more.")] = False,
    alias: Aliases = None,
    no_alias: Annotated[bool, typer.Option("--no-alias", help="No further names any more.")] = False,
    namespace: Namespace = None,
) -> None:
    """Change a service. What is not given stays as it is, and so do connections that it does not concern.

    What may be repeated is given as a whole: published ports that are not named any more are closed.
    """
    request = s.SetService(
        namespace=namespace,
        ports=tuple(map(parse_port, port)) if port else None,
        select=selector.check(select) if select else None,
        members=tuple(member) if member else None,
        addresses=tuple(map(parse_address, ip or ())),
        publish=_whole("--publish", publish, none=no_publish),
        affinity=_one_of("--affinity", affinity, AFFINITIES) if affinity else None,
        mode=_one_of("--mode", mode, MODES) if mode else None,
        traffic=_one_of("--traffic", traffic, TRAFFICS) if traffic else None,
        drain=drain,
        health=_health(health, interval, timeout, rise, fall),
        no_health=no_health,
        aliases=_whole("--alias", alias, none=no_alias),
    )
    if request == s.SetService():
        raise typer.BadParameter("nothing to change: say what, as in --drain 10")
    with Waiting(f"changing {service}"):
        made = client(ctx).set_service(service, request)
    shown.told("changed", made)


@app.command("drain", epilog=example("weft service drain web web-3", "weft service drain web web-3 --back"))
def drain(
    ctx: typer.Context,
    service: Ref,
    member: Annotated[
        str,
        typer.Argument(
            metavar="MEMBER", help="The container's name, or its endpoint's id.", autocompletion=complete.endpoints
        ),
    ],
    back: Annotated[bool, typer.Option("--back", help="It takes new connections again.")] = False,
) -> None:
    """Let a member take no new connections. Those that it has are ended when the service's time for that is over."""
    with Waiting(f"draining {member}"):
        info = client(ctx).drain(service, s.Drain(member=member, back=back))
    found = next((m for m in info.members if member in (m.name, m.id)), None)
    if found is None or found.until is None:
        say(f"{member} takes new connections of service {info.service.name} again")
    else:
        say(
            f"{member} takes no new connections of service {info.service.name}; those that it has end {due(found.until)}"
        )


app.command("report", epilog=service_report.EXAMPLES)(service_report.report)


@app.command("rm", epilog=example("weft service rm web", "weft service rm blue/web"))
def rm(ctx: typer.Context, service: Ref) -> None:
    """Remove a service. Its containers stay as they are."""
    with Waiting(f"removing {service}"):
        done = client(ctx).remove_service(service)
    say(f"removed service {listed(done.what)}")


def _one_of(option: str, value: str, known: tuple[T, ...]) -> T:
    """Raises BadParameter (wrong usage)."""
    found = next((one for one in known if one == value), None)
    if found is None:
        raise typer.BadParameter(f"'{value}' is none of {listed(known)}", param_hint=f"'{option}'")
    return found


def _whole(option: str, values: list[str] | None, *, none: bool) -> tuple[str, ...] | None:
    """A list that is given as a whole; None where nothing is said of it. Raises BadParameter (wrong usage)."""
    if values and none:
        raise typer.BadParameter(f"it contradicts --no-{option[2:]}: say one of them", param_hint=f"'{option}'")
    return tuple(values) if values else () if none else None


def _health(
    text: str | None, interval: float | None, timeout: float | None, rise: int | None, fall: int | None
) -> Health | None:
    details = {name: value for name, value in locals().items() if name != "text" and value is not None}
    if not text:
        if details:
            raise typer.BadParameter(
                "it belongs to a check: give --health", param_hint=f"'--health-{next(iter(details))}'"
            )
        return None
    return checks.parse(text, **details)
