"""Policies about hosts themselves: what this host says and hears on its uplink.

In the index (`weft.policy.index`) the host stands like an endpoint in no network, with the labels of its node."""

from __future__ import annotations

from collections.abc import Iterator

from weft.cluster.view import View
from weft.compile.known import Known
from weft.datapaths import guard
from weft.datapaths.driver import Host
from weft.hoststate import HOST, Contribution, Object
from weft.policy.index import Index, Key, Local
from weft.policy.model import DIRECTIONS, Direction, Identity
from weft.policy.program import Program
from weft.policy.render import renderer
from weft.policy.render.own import own
from weft.policy.world import NO_NETWORK

_NOT_HERE = (
    "policies about hosts are enforced by nftables only, and this node's policy is iptables: set policy = nftables"
)


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
    problems = () if known.host.policy == "nftables" else (_NOT_HERE,)
    return Contribution(objects=tuple(_objects(known.host, found)), problems=problems)


def _objects(host: Host, programs: dict[Direction, Program]) -> Iterator[Object]:
    """The sets are there in any case: who is in them is put in by other sources."""
    ask = renderer(host.policy, host.iptables, ipv6=host.ipv6)
    for program in programs.values():
        for chain in program.chains:
            yield from ask.chain(chain, HOST)
        for spec in program.sets:
            yield from ask.table_set(spec, HOST)
    if host.policy == "nftables":
        yield from guard.control(host)
        yield from own(host.node.uplink, {d: program.chains[0] for d, program in programs.items()})
