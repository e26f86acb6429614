"""Data path `macvlan`: containers on the wire of one of the host's devices, with MAC addresses of their own.

Packet's way: eth0, a macvlan device on the parent (the uplink, or a VLAN of it) → the wire, as if the container were a machine
of its own there → a switch → another host's parent, whose macvlan devices tell frames by their MAC address → eth0. Between
two containers of one host, in mode `bridge`, it does not leave the parent at all.
"""

from __future__ import annotations

from typing import Annotated, Literal

from weft.datapaths import _physical
from weft.datapaths.change import fixed, option
from weft.datapaths.driver import Answer, Driver, Host, Site
from weft.datapaths.options import PhysicalOptions
from weft.datapaths.traits import PHYSICAL, KnownBy, Switched
from weft.hoststate import Macvlan
from weft.model import Endpoint, Network

MacvlanMode = Annotated[
    Literal["bridge", "private", "vepa", "passthru"],
    option(
        "how one host's containers reach each other: directly (bridge), not at all (private), by a switch that "
        "sends frames back (vepa); macvlan's passthru gives the whole parent to one container.",
        fixed("containers' interfaces stand on it, and would have to be made anew"),
    ),
]


class MacvlanOptions(PhysicalOptions, frozen=True, kw_only=True):
    mode: MacvlanMode = "bridge"

    @property
    def features(self) -> tuple[str, ...]:
        return ("macvlan", *super().features)


def refusal(host: Host, network: Network, options: MacvlanOptions) -> str:
    if options.mode == "passthru" and _physical.parent(host, options) == host.node.uplink:
        return (
            f"mode=passthru gives the whole parent to one container, and {host.node.uplink} is the uplink of "
            f"{host.node.name}: name another -O parent, or a -O vlan"
        )
    return _physical.refusal(host, network, options)


def endpoint(site: Site, ep: Endpoint) -> Answer:
    kind = Macvlan(dev=_physical.parent(site.host, site.options), mode=site.options.mode)
    yield from _physical.interface(site, ep, kind, ep.mac)
    yield from _physical.routes(site, ep)


DRIVER = Driver(
    name="macvlan",
    summary="containers in the hosts' own network, each with a MAC address of its own",
    options=MacvlanOptions,
    addresses=PHYSICAL,
    known_by=KnownBy.LOCATIONS,
    switched=Switched.EVERYWHERE,
    passed=False,
    features=("nftables",),
    network=_physical.network,
    segment=_physical.segment,
    location=_physical.location,
    endpoint=endpoint,
    host_end=lambda _: "",
    parents=_physical.parents,
    gateways=_physical.gateways,
    refusal=refusal,
)
