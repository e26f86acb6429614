"""The way of frames to hosts that the kernel's tunnel does not reach: a TAP device in the network's bridge, whose frames a
program carries (`weft.tunnel`). It is there as long as some host with containers of the network is reached by it.

What is sent to all goes to each host by one way only: by the tunnel's all-zero entry, or by the program's. What containers ask
for by ARP or ND is not sent this way, since the tunnel's device answers it; what they ask a neighbour that they know, is.
"""

from __future__ import annotations

from collections.abc import Iterator

from weft.datapaths import _rules, _tunnel, guard
from weft.datapaths.driver import Site
from weft.hoststate import FdbEntry, Link, Object, Sleeve, SleeveStation, Tap
from weft.hoststate.firewall import BRIDGE, BRIDGE_FILTER
from weft.hoststate.paths import ALL
from weft.hoststate.rules import rule
from weft.hoststate.rules.actions import DROP
from weft.hoststate.rules.matches import OIFNAME, PKTTYPE, field
from weft.model import Node

_NAME = "sleeve-"
_ASKED = OIFNAME.is_(f"{_NAME}*"), PKTTYPE.is_("broadcast", "multicast")
_QUESTIONS = _rules.base_chain(
    "sleeve-questions",
    "filter",
    "forward",
    BRIDGE_FILTER,
    rule(*_ASKED, field("ether type").is_("arp"), DROP),
    rule(*_ASKED, field("icmpv6 type").is_("nd-neighbor-solicit"), DROP),
    table=BRIDGE,
)


def chosen(site: Site, node: Node) -> bool:
    """Whether packets to this other node go so: also where the kernels of the two cannot encrypt them, for the program can.
    Both have numbers, by which it knows them."""
    path = site.host.paths.get(node.name)
    if path is None or not (node.number and site.host.node.number):
        return False
    return path.way != "kernel" or (site.host.keyed and _tunnel.withheld(site, node) is not None)


def entries(site: Site, node: Node, mac: str, bridge: Link) -> Iterator[Object]:
    """For a container there, and for what is sent to all."""
    options = site.options
    local = site.host.node.address(_tunnel.underlay(site.host.node))  # the hosts' family, whatever the tunnel's
    name = f"{_NAME}{options.vni}"
    guards = () if guard.BRIDGE_RULES in site.host.lacking else (_QUESTIONS.key,)
    if guards:
        yield _QUESTIONS
    yield Link(
        name=name,
        type=Tap(),
        mtu=bridge.mtu,
        master=bridge.name,
        isolated=True,
        learning=False,
        guards=guards,
        alias=bridge.alias,
    )
    yield Sleeve(
        dev=name,
        network=options.vni,
        number=site.host.node.number,
        local=str(local),
        mtu=bridge.mtu or 0,
        encrypted=options.encrypt,
    )
    yield FdbEntry(lladdr=mac, dev=name, bridge=bridge.name)
    for station in (mac, ALL):
        yield SleeveStation(dev=name, mac=station, number=node.number)
