"""`weft attach`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from weft.api import types as t
from weft.base.net import parse_address, parse_mac
from weft.cli import complete
from weft.cli.options import Labels, example, pairs, single
from weft.cli.output import Format, Output, listed, show
from weft.cli.session import Waiting, client
from weft.cli.table import Page
from weft.model import Bandwidth
from weft.model.bandwidth import parse_burst, parse_rate
from weft.model.identity import check_labels
from weft.model.identity import parse_port as parse_named_port
from weft.model.ports import parse as parse_port
from weft.services.labels import others

app = single()


@app.command(
    epilog=example(
        "weft attach web --network blue",
        "weft attach 4711 --network blue --ip 10.1.3.20 --label tier=front",
        "weft attach web --network blue --namespace shop --label tier=front --port-name http=8080",
        "weft attach web --network blue --publish 8080:80 --publish 192.168.1.5:53:53/udp",
        "weft attach web --network prod --floating 203.0.113.7",
        "weft attach web --network blue --alias www --dns",
        "weft attach web --network blue --ingress 100mbit --egress 50mbit",
        "weft attach /run/netns/test --network blue --interface eth1 -o json",
    )
)
def attach(
    ctx: typer.Context,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="A pid, a namespace's path or name, a container's id or name.")
    ],
    network: Annotated[
        str, typer.Option("--network", "-n", metavar="NETWORK", help="To which.", autocompletion=complete.networks)
    ],
    name: Annotated[str, typer.Option(metavar="NAME", help="The endpoint's name; else made from the target.")] = "",
    ip: Annotated[
        list[str] | None, typer.Option("--ip", metavar="ADDRESS", help="Wished for; one of each family at most.")
    ] = None,
    mac: Annotated[str, typer.Option(metavar="MAC", help="Wished for.")] = "",
    interface: Annotated[
        str, typer.Option(metavar="IF", help="Its name in the container; else the next free ethN.")
    ] = "",
    publish: Annotated[
        list[str] | None,
        typer.Option(
            "--publish",
            "-p",
            metavar="[IP:][PORT][:PORT][/PROTO]",
            help="A port of this host (PORT-END: several), at one of its addresses or all, and the container's that it "
            "leads to; tcp, udp or sctp. :PORT leaves the choice of the host's port to Weft. Repeatable.",
        ),
    ] = None,
    float_: Annotated[
        list[str] | None,
        typer.Option(
            "--floating",
            metavar="ADDRESS",
            help="An external address that leads to it, announced by BGP (driver routed). Repeatable.",
        ),
    ] = None,
    ingress: Annotated[
        str, typer.Option(metavar="RATE", help="The most that the container gets: 100mbit, 1.5gbit, or bit/s.")
    ] = "",
    egress: Annotated[str, typer.Option(metavar="RATE", help="The most that the container sends.")] = "",
    ingress_burst: Annotated[
        str, typer.Option(metavar="OCTETS", help="May come at once after a silence; else good for the rate.")
    ] = "",
    egress_burst: Annotated[str, typer.Option(metavar="OCTETS", help="May be sent at once after a silence.")] = "",
    spoofing: Annotated[
        str, typer.Option(metavar="allow|drop", help="What it sends in others' names; else as the network has it.")
    ] = "",
    offload: Annotated[
        str,
        typer.Option(metavar="on|off", help="off keeps its packets on the ordinary way; else as the network has it."),
    ] = "",
    label: Labels = None,
    namespace: Annotated[
        str,
        typer.Option(
            metavar="NS",
            help='For policy; else "default".',
            autocompletion=complete.policy_namespaces,
            show_default=False,
        ),
    ] = "",
    port_name: Annotated[
        list[str] | None,
        typer.Option("--port-name", metavar="NAME=PORT[/PROTO]", help="What policy may call a port of it. Repeatable."),
    ] = None,
    alias: Annotated[
        list[str] | None,
        typer.Option("--alias", metavar="NAME", help="A further name, for containers of its network. Repeatable."),
    ] = None,
    dns: Annotated[
        bool,
        typer.Option(
            "--dns", help="Write /etc/netns/NAME/resolv.conf, by which commands of `ip netns exec NAME` ask for names."
        ),
    ] = False,
    output: Output = Format.TABLE,
) -> None:
    """Connect a container on this node to a network.

    Attaching again adds what else is asked for to what is attached (labels, aliases, published ports ...), and changes nothing
    where that is there already.
    """
    labels = pairs("--label", label)
    check_labels("--label", others(labels))
    request = t.Attach(
        target=from_here(target),
        network=network,
        name=name,
        interface=interface,
        addresses=tuple(parse_address(text) for text in ip or ()),
        mac=parse_mac(mac) if mac else "",
        labels=labels,
        policy_namespace=namespace,
        named_ports=tuple(parse_named_port(text) for text in port_name or ()),
        aliases=tuple(alias or ()),
        resolv_conf=dns,
        ports=tuple(parse_port(text) for text in publish or ()),
        floating=tuple(parse_address(text) for text in float_ or ()),
        bandwidth=bandwidth(ingress, ingress_burst, egress, egress_burst),
        spoofing=spoofing,
        offload=offload,
    )
    with Waiting(f"attaching {target}"):
        endpoint = client(ctx).attach(request)
    show(endpoint, output, _line)


def bandwidth(ingress: str, ingress_burst: str, egress: str, egress_burst: str) -> Bandwidth | None:
    """None where all are "". Raises Invalid."""
    found = Bandwidth(
        ingress=parse_rate(ingress) if ingress else None,
        ingress_burst=parse_burst(ingress_burst) if ingress_burst else None,
        egress=parse_rate(egress) if egress else None,
        egress_burst=parse_burst(egress_burst) if egress_burst else None,
    )
    return None if found == Bandwidth() else found


def from_here(target: str) -> str:
    """A path as the agent understands it too: absolute, and with this process' pid for /proc/self."""
    if "/" not in target:
        return target
    path = Path(target)
    return str(path.parent.resolve() / path.name)


def _line(_page: Page, e: t.EndpointInfo) -> Iterator[str]:
    yield (
        f"attached {e.name} to {e.network}: {listed(e.addresses) or 'no addresses'} on {e.interface}"
        + (f", published {listed(e.ports)}" if e.ports else "")
        + (f", floating {listed(e.floating)}" if e.floating else "")
        + (f", {e.bandwidth}" if e.bandwidth else "")
    )
