"""A cluster with policies, as one agent knows it, and the rules that come of it. Pure but for the clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from bench import model
from weft.cluster import footprint
from weft.cluster.changes import Changed
from weft.cluster.view import View
from weft.compile import policy as compiled
from weft.compile.compiler import Compiler
from weft.datapaths.driver import Host
from weft.hoststate import Key, NftChain, NftElement, NftSet, Object, Union
from weft.model import Endpoint, encode, keys, records
from weft.policy.model import Peer, Policy, PortRange, Rule, Traffic, Who
from weft.policy.record import policy_key
from weft.reconcile.plan import changes
from weft.reconcile.protocol import Change as Replace
from weft.reconcile.protocol import Create, Op, Remove
from weft.store.protocol import Change

HERE, ON_EACH = "node-1", 100
"""So many endpoints on each node."""
PORT = 5203
_KINDS = {compiled.POLICY, compiled.MEMBER, compiled.SET}


def endpoint(number: int, labels: dict[str, str]) -> Endpoint:
    """`number`: from 0, in the whole cluster."""
    found = model.endpoint(1 + number // ON_EACH, number % ON_EACH)
    return msgspec.structs.replace(found, labels=labels)


def allowing(number: int, subject: str, client: str, port: int) -> Policy:
    rule = Rule(
        action="allow",
        peers=(Peer(who=Who(selector=client)),),
        traffic=(Traffic(protocol="tcp", ports=(PortRange(port, port),)),),
    )
    name = f"p{number:04}"
    return Policy(id=f"policy//{name}", kind="Policy", name=name, subject=Who(selector=subject), ingress=(rule,))


class Cluster:
    """What policies want of node-1: `known` is what its kernel is thought to have."""

    def __init__(self) -> None:
        self._revision = 0
        self._changed = Changed()
        self.view = View(HERE)
        self.view.subscribe("the bench", lambda changed: self._changed.update(changed))
        self.view.open(records.LOCATIONS, model.NETWORK.name)
        self.compiler = Compiler(self.view)
        self.compiler.host = Host(node=model.node(1))
        self.union = Union()
        self.known: dict[Key, Object] = {}
        self.tell([(keys.network(model.NETWORK.name), encode(model.NETWORK)), *model.node_items(1)])

    def tell(self, items: Iterable[tuple[str, bytes]]) -> None:
        self._revision += 1
        self.view.apply([Change(key, value, self._revision) for key, value in items])

    def put(self, numbers: Iterable[int], labels: dict[int, dict[str, str]]) -> None:
        self.tell(item for n in numbers for item in _items(endpoint(n, labels[n])))

    def policies(self, some: Iterable[Policy]) -> None:
        self.tell((policy_key(policy), encode(policy)) for policy in some)

    def ops(self) -> tuple[Op, ...]:
        """What follows from all that was told since the last time."""
        changed, self._changed = self._changed, Changed()
        differing: set[Key] = set()
        for source in self.compiler.touched(changed):
            if source.contributor in _KINDS:
                differing |= self.union.set(source, self.compiler.contribution(source))
        wanted = {
            key: obj for key, obj in self.union.desired.items() if isinstance(obj, NftChain | NftSet | NftElement)
        }
        return changes(differing & (wanted.keys() | self.known.keys()), wanted, self.known).ops

    def carried_out(self, ops: Iterable[Op]) -> None:
        for op in ops:
            match op:
                case Create(obj) | Replace(_, obj):
                    self.known[obj.key] = obj
                case Remove(obj):
                    self.known.pop(obj.key, None)


def _items(found: Endpoint) -> Iterator[tuple[str, bytes]]:
    if found.node == HERE:
        yield footprint.key_of(found), encode(found)
    yield keys.location(found.network, found.id), encode(footprint.location(found))
