"""Policies about hosts themselves: what this host says and hears on its uplink.

In the index (`weft.policy.index`) the host stands like an endpoint in no network, with the labels of its node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from weft.base.errors import WeftError
from weft.base.net import FAMILIES
from weft.cluster.view import View
from weft.compile.known import Known
from weft.datapaths import _short, guard
from weft.datapaths.driver import Host
from weft.hoststate import HOST, Contribution, Object
from weft.policy.index import Index, Key, Local
from weft.policy.model import DIRECTIONS, Direction, Identity
from weft.policy.program import Program
from weft.policy.render import iptables, own, own_iptables, renderer
from weft.policy.render.failsafe import Cluster
from weft.policy.world import NO_NETWORK


def place(view: View) -> Key:
    """Of the host, among endpoints."""
    return NO_NETWORK, view.me


def itself(view: View) -> Local | None:
    node = view.nodes.get(view.me)
    if node is None:
        return None
    addresses = tuple(address.ip for address in node.addresses)
    identity = Identity(
        id=node.name, name=node.name, network=NO_NETWORK, node=node.name, addresses=addresses, namespace="",
        labels=node.labels,
    )  # fmt: skip
    return Local(identity, (HOST,))


def contribution(known: Known, index: Index) -> Contribution | None:
    """None where no policy is about this host."""
    found = {d: p for d in DIRECTIONS if (p := index.program(place(known.view), d)).chains}
    if not found or known.host is None:
        return None
    return Contribution(objects=tuple(_objects(known, known.host, found)))


def _objects(known: Known, host: Host, programs: dict[Direction, Program]) -> Iterator[Object]:
    ask = renderer(host.policy, host.iptables, ipv6=host.ipv6)
    for program in programs.values():
        for chain in program.chains:
            yield from ask.chain(chain, HOST)
        for spec in program.sets:
            yield from ask.table_set(spec, HOST)
    yield from _short.tracked(host)
    chains = {d: program.chains[0] for d, program in programs.items()}
    if host.policy == "nftables":
        yield from guard.control(host)
        yield from own.own(host.node.uplink, chains)
    else:
        where = iptables.backend(host.iptables), FAMILIES if host.ipv6 else FAMILIES[:1]
        yield from own_iptables.own(where, host.node.uplink, chains, _cluster(known, host))


def _cluster(known: Known, host: Host) -> Cluster:
    ports: set[int | None] = set(host.spoken)
    for network in known.view.networks.values():
        with suppress(WeftError):  # told where the network itself is asked for
            ports.add(known.options(network).udp_port)
    return Cluster(
        control=tuple(sorted({guard.BGP, *host.node.control})),
        store=tuple(sorted(host.store, key=str)),
        tunnels=tuple(sorted(port for port in ports if port is not None)),
    )
