"""What Weft would make of a network on a host, made without any agent: `python -m bench.compiled NODE`, inside a lab's host.

What the model says is compiled by all contributors and put into the kernel by the reconciler, so the kernel has what an agent
would have made, to the last rule, and nothing runs beside what is measured. What BGP would bring is added as BIRD would.

Says "ready"; then each line of its input is a model (JSON) that it makes, or empty, for nothing; nothing is left of the one
before. Each is answered by a line: empty, or what went wrong, with which it ends.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_interface
from itertools import islice
from typing import Any

import msgspec

from weft.base.errors import Failed, WeftError
from weft.base.names import stable_mac
from weft.base.net import IPNetwork
from weft.cluster import footprint
from weft.cluster.view import View
from weft.compile.compiler import Compiler
from weft.datapaths.driver import Driver, Host, without_lease
from weft.datapaths.registry import driver, parse_options
from weft.datapaths.traits import KnownBy
from weft.documents.field import Field, Log
from weft.hoststate import Union
from weft.kernel.host import facts
from weft.kernel.linux import LinuxKernel
from weft.kernel.plumbing import netns
from weft.model import Endpoint, Gateway, Lease, Network, Node, decode, encode, keys, records
from weft.model.endpoint import Namespace, endpoint_id
from weft.policy.model import Policy
from weft.policy.read import read_object
from weft.policy.record import policy_key
from weft.reconcile.reconciler import Reconciler
from weft.store.protocol import Change

_BIRD = "12"
"""rtm_protocol of BIRD's routes."""


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """`places`: of its containers c0, c1 …, which node each is on, by its index. `policy`: a document, none if empty."""

    network: Network
    nodes: tuple[Node, ...]
    places: tuple[int, ...]
    policy: dict[str, Any] = {}

    @property
    def driver(self) -> Driver:
        return driver(self.network.driver)

    @property
    def leases(self) -> tuple[Lease, ...]:
        return tuple(self._lease(number, node) for number, node in enumerate(self.nodes))

    def _lease(self, number: int, holder: Node) -> Lease:
        if not self.driver.addresses.leased:
            return without_lease(self.network, holder.name)
        length = 26 if self.driver.addresses.blocks else 24
        subnets: list[IPNetwork] = []
        for whole in self.network.subnets:
            subnets += islice(whole.subnets(new_prefix=length), 1 + number, 2 + number)
        data = self.driver.lease_data(Host(node=holder), self.network, parse_options(self.network))
        return Lease(network=self.network.name, node=holder.name, subnets=tuple(subnets), data=data)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        leases = self.leases
        return tuple(self._endpoint(index, leases[place]) for index, place in enumerate(self.places))

    def _endpoint(self, index: int, lease: Lease) -> Endpoint:
        name, block = f"c{index}", lease.subnets[0]
        length = block.max_prefixlen if self.driver.addresses.blocks else block.prefixlen
        way_out = Gateway(interface="eth1", addresses=(ip_interface(f"172.30.0.{2 + index}/16"),))
        return Endpoint(
            id=endpoint_id(self.network.name, lease.node, 1 + index, "eth0"),
            name=name,
            network=self.network.name,
            node=lease.node,
            container=name,
            namespace=Namespace(path=f"/run/netns/{name}", cookie=0),
            interface="eth0",
            mac=stable_mac("bench", lease.node, name),
            addresses=(ip_interface(f"{block[2 + index]}/{length}"),),
            gateway=way_out if self.driver.way_out.second_interface else None,
        )

    def routes(self, me: str) -> Iterator[str]:
        """That BGP would bring to this node."""
        for node, lease in zip(self.nodes, self.leases, strict=True):
            if self.driver.addresses.blocks and node.name != me:
                yield f"{lease.subnets[0]} via {node.addresses[0].ip}"

    def items(self) -> dict[str, bytes]:
        """What the store would hold, but for endpoints: key → value."""
        found = {keys.network(self.network.name): encode(self.network)}
        for node, lease in zip(self.nodes, self.leases, strict=True):
            found |= {keys.node(node.name): encode(node), keys.presence(node.name): node.instance.encode()}
            if self.driver.addresses.leased:
                found[keys.lease(self.network.name, node.name)] = encode(lease)
                found[keys.subnet_claim(self.network.name, lease.subnets[0])] = node.name.encode()
        for endpoint in self.endpoints:
            found[keys.location(endpoint.network, endpoint.id)] = encode(footprint.location(endpoint))
        if self.policy:
            read = read_object(Field(self.policy, "", Log()))
            assert isinstance(read, Policy)
            found[policy_key(read)] = encode(read)
        return found


def compiler_of(
    model: Model, me: str, lacking: frozenset[str], cookie: Callable[[str], int] = lambda _path: 0
) -> Compiler:
    """Of what the node `me` wants, whose kernel lacks this. `cookie`: of a namespace, by its path."""
    view = View(me)
    compiler = Compiler(view)
    compiler.host = Host(node=next(node for node in model.nodes if node.name == me), lacking=lacking)
    if model.policy or model.driver.known_by is KnownBy.LOCATIONS:
        view.open(records.LOCATIONS, model.network.name)
    items = model.items()
    for endpoint in model.endpoints:
        if endpoint.node == me:
            path = endpoint.namespace.path
            there = msgspec.structs.replace(endpoint, namespace=Namespace(path=path, cookie=cookie(path)))
            items[footprint.key_of(there)] = encode(there)
    view.apply([Change(key, value, 1) for key, value in items.items()])
    return compiler


class Side:
    """This host, as the node `me`. What the kernel's adapter keeps is where the agent's would."""

    def __init__(self, me: str) -> None:
        self._me, self._union = me, Union()
        self._kernel = LinuxKernel(self._union.desired)
        self._lacking = frozenset(facts.NAMES - facts.features())
        self._reconciler = Reconciler(self._kernel, self._union.desired, time.monotonic)
        self._reconciler.complete = True

    def make(self, model: Model) -> None:
        """Raises Failed where something cannot be had."""
        for endpoint in model.endpoints:
            if endpoint.node == self._me:
                _ip("netns", "add", endpoint.container)
                _ip("-n", endpoint.container, "link", "set", "lo", "up")
        compiler = compiler_of(model, self._me, self._lacking, netns.cookie)
        for source in compiler.everything():
            self._union.set(source, compiler.contribution(source))
        self._converge()
        for route in model.routes(self._me):
            _ip("route", "add", *route.split(), "proto", _BIRD)

    def clear(self, model: Model) -> None:
        for source in list(self._union.sources):
            self._union.set(source, None)
        self._converge()
        for route in model.routes(self._me):
            _ip("route", "del", *route.split(), "proto", _BIRD)
        for endpoint in model.endpoints:
            if endpoint.node == self._me:
                _ip("netns", "del", endpoint.container)

    def _converge(self) -> None:
        """Raises Failed."""
        report = self._reconciler.resync()
        for contribution in self._union.sources.values():
            if contribution.problems:
                raise Failed(contribution.problems[0])
        if report.failures:
            raise Failed(report.failures[0].reason)


def _ip(*words: str) -> None:
    """Raises Failed."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"ip {' '.join(words)}: {done.stderr.strip()}")


def main(me: str) -> None:
    side, model = Side(me), None
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            if model is not None:
                side.clear(model)
            model = decode(Model, line.encode()) if line.strip() else None
            if model is not None:
                side.make(model)
            print(flush=True)
        except WeftError as error:
            print(error, flush=True)
            return


if __name__ == "__main__":
    main(sys.argv[1])
