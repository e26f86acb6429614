"""The rules of a host as `weft plan` prints them, given one after the other where there is nothing yet."""

from __future__ import annotations

import os
import subprocess
from ipaddress import ip_address, ip_interface

import pytest

from support import lab
from support.namespaces import Home
from support.policies import network_policy, objects
from weft.cluster.view import View
from weft.compile.compiler import Compiler
from weft.datapaths.driver import Host
from weft.hoststate import Key, Object, Union
from weft.model import Endpoint, Location, encode, keys
from weft.model.endpoint import Namespace
from weft.model.network import REACH, SELF
from weft.model.ports import PublishedPort
from weft.model.records import LOCATIONS
from weft.policy.objects import store_key
from weft.reconcile.plan import plan
from weft.reconcile.protocol import Reading
from weft.reconcile.render import script
from weft.services.model import Service, ServicePort
from weft.services.record import SERVICE
from weft.store.protocol import Change

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")

ID = "0123456789abcdef"
ADDRESSES = tuple(map(ip_interface, ("40.15.43.2/24", "fd40:15:0:43::2/64")))
FROM = ", ".join(
    f"{{from: [{{podSelector: {{matchLabels: {{role: {role}}}}}}}], ports: [{{port: 80}}]}}"
    for role in ("front", *"abcdefghij")
)
POLICY = network_policy(f"{{podSelector: {{}}, ingress: [{FROM}]}}", namespace="default")
"""So many lines that they are looked up."""


def everything() -> dict[Key, Object]:
    """Of a host with a network that is closed to others, whose one container has ports published, policy, and a service."""
    here = lab.node("node-1")
    network = lab.network("bridge", (4, 6), options={REACH: SELF})
    endpoint = Endpoint(
        id=ID,
        name="c1",
        network=network.name,
        node=here.name,
        container="c1",
        namespace=Namespace(path="/run/netns/c1", cookie=4711),
        interface="eth0",
        mac="02:42:28:0f:2b:02",
        addresses=ADDRESSES,
        labels={"role": "front"},
        ports=(PublishedPort(host_port=8080, container_port=80),),
    )
    at = Location(
        node=here.name,
        mac=endpoint.mac,
        addresses=tuple(a.ip for a in ADDRESSES),
        name="c1",
        labels=endpoint.labels,
    )
    service = Service(
        name="web",
        network=network.name,
        members=("c1",),
        ports=(ServicePort(port=80), ServicePort(port=53, protocol="udp")),
        addresses=(ip_address("40.15.250.1"), ip_address("fd40:15:0:250::1")),
    )
    records = {
        keys.node(here.name): here,
        keys.network(network.name): network,
        keys.lease(network.name, here.name): lab.lease(network, here),
        keys.endpoint(here.name, network.name, ID): endpoint,
        keys.location(network.name, ID): at,
        SERVICE.key(network.name, service.name): service,
        **{store_key(item): item for item in objects(POLICY)},
    }
    view, union = View(here.name), Union()
    view.open(LOCATIONS, network.name)
    view.apply(tuple(Change(key, encode(value), 1) for key, value in records.items()))
    compiler = Compiler(view)
    compiler.host = Host(node=here, policy="nftables")
    for source in compiler.everything():
        union.set(source, compiler.contribution(source))
    return dict(union.desired)


def run(wanted: dict[Key, Object], found: dict[Key, Object]) -> int:
    """How many commands there were, all of which were carried out, each by itself."""
    lines = [line for line in script(plan(wanted, Reading(found), {""}).ops) if line.startswith("nft ")]
    for line in lines:
        done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    return len(lines)


def test_rules_are_made_and_removed_in_an_order_that_works(netns: Home) -> None:
    rules = {key: obj for key, obj in everything().items() if key[0].startswith("nft-")}
    text = "\n".join(script(plan(rules, Reading({}), {""}).ops))
    for verdict in (": jump translated", ": jump pi-", ": goto pi-", ": goto spread-tcp-1"):
        assert verdict in text, verdict
    run(rules, {})
    assert "vmap" in netns.sh("nft list ruleset")
    run({}, rules)
    left = netns.sh("nft list ruleset")
    assert "elements" not in left and "chain" not in left and "set" not in left
