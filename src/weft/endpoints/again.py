"""What is attached is attached again, with other wishes (docs/adr/0066-wishes-and-names.md).

Labels, further names, names of ports, published ports and floating addresses that are given are added to those there are, and
a label, a namespace, a limit, a way to treat spoofing or the word about the short way takes the place of the one there is.
Nothing is taken away. What an interface is made with (name, addresses, MAC address) cannot change while it stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from weft.api import limits
from weft.api import types as t
from weft.base.errors import Conflict
from weft.base.names import check_texts
from weft.base.net import parse_mac
from weft.model import Bandwidth, Endpoint, PublishedPort
from weft.model.ports import ANY, PortIndex


def check_fixed(request: t.Attach, present: Endpoint) -> None:
    """Raises Conflict where it asks for another interface than there is."""
    for what, wish, fact in (
        ("name", request.name, present.name),
        ("MAC address", request.mac and parse_mac(request.mac), present.mac),
    ):
        if wish and wish != fact and not (request.owner and wish in present.aliases):
            raise _fixed(request, f"with {what} {fact}, not {wish}")
    held = {a.ip for a in present.addresses}
    if missing := [a for a in request.addresses if a not in held]:
        raise _fixed(request, f"with {_join(a.ip for a in present.addresses) or 'no address'}, not {missing[0]}")
    if request.resolv_conf and not present.resolv_conf:
        raise _fixed(request, "without --dns")


def _fixed(request: t.Attach, how: str) -> Conflict:
    whom = request.target or request.owner
    return Conflict(f"{whom} is attached to {request.network} {how}: detach it first to change that")


def merged(request: t.Attach, now: Endpoint) -> Endpoint:
    """The endpoint as it is to be; the same where the request asks for nothing new. Raises Invalid."""
    labels = {**now.labels, **request.labels}
    check_texts(f"endpoint {now.name}", labels)
    told = {(port.name, port.protocol) for port in request.named_ports}
    kept = (port for port in now.named_ports if (port.name, port.protocol) not in told)
    same_ports = set(request.named_ports) <= set(now.named_ports)
    named = now.named_ports if same_ports else (*kept, *request.named_ports)
    limits.at_most(f"endpoint {now.name}: named ports", named, limits.NAMED_PORTS)
    floating = tuple(dict.fromkeys((*now.floating, *request.floating)))
    limits.at_most(f"endpoint {now.name}: floating addresses", floating, limits.FLOATING)
    return msgspec.structs.replace(
        now,
        labels=labels,
        policy_namespace=request.policy_namespace or now.policy_namespace,
        named_ports=named,
        aliases=tuple(dict.fromkeys((*now.aliases, *request.aliases))),
        ports=(*now.ports, *missing_ports(request.ports, now.ports)),
        floating=floating,
        bandwidth=_limits(request.bandwidth, now.bandwidth),
        spoofing=request.spoofing or now.spoofing,
        offload=request.offload or now.offload,
    )


def _limits(wish: Bandwidth | None, now: Bandwidth | None) -> Bandwidth | None:
    """Each direction that the wish speaks of is as it says, with or without a burst."""
    if wish is None or now is None:
        return wish or now
    into = wish if wish.ingress is not None else now
    out = wish if wish.egress is not None else now
    return Bandwidth(
        ingress=into.ingress, ingress_burst=into.ingress_burst, egress=out.egress, egress_burst=out.egress_burst
    )


def missing_ports(wishes: Sequence[PublishedPort], ports: Sequence[PublishedPort]) -> list[PublishedPort]:
    """The wishes that none of the ports grants. Each port grants one; one that is asked for by its number comes first."""
    left, missing = Counter(ports), list[PublishedPort]()
    for wish in sorted(wishes, key=lambda wish: wish.open):
        found = next((port for port in left if left[port] and port.grants(wish)), None)
        if found is None:
            missing.append(wish)
        else:
            left[found] -= 1
    return missing


def check_ports(new: Iterable[PublishedPort], present: Endpoint) -> None:
    """Raises Conflict where a port of the host leads to another port of the container already."""
    held = PortIndex[PublishedPort]()
    for port in present.ports:
        held.add(port, present.families, port)
    for port in new:
        if port.host_port != ANY and (other := held.holder(port, present.families)) is not None:
            raise Conflict(
                f"port {port.outer} leads to {present.name} already ({other}): publish another, or detach it first"
            )


def _join(values: Iterable[object]) -> str:
    return ", ".join(map(str, values))
