"""What a file of another host's adds to what the cluster knows."""

from __future__ import annotations

from ipaddress import ip_interface
from types import SimpleNamespace

import msgspec

from weft.api import types as t
from weft.api.dump import HostDump
from weft.inspect.dumping import Hosts
from weft.inspect.export import Export

WEB = t.EndpointInfo(
    id="ad88",
    name="web",
    network="blue",
    node="node-2",
    container="web",
    namespace="/proc/411/ns/net",
    interface="eth0",
    host_interface="weftad88",
    mac="",
    addresses=(ip_interface("10.1.2.3/24"),),
)
SEEN = msgspec.structs.replace(WEB, id="net:[7]", network="ip-netns", namespace="/run/netns/web")
OTHER = msgspec.structs.replace(SEEN, id="net:[8]", name="plain", addresses=(ip_interface("172.17.0.2/16"),))


def test_a_container_that_the_cluster_knows_too_is_one_container() -> None:
    """A host's agent is dead, and its file is at hand: names and addresses mean what they meant before."""
    nodes = tuple(
        t.NodeInfo(name=name, addresses=(), uplink="eth0", mtu=1500, alive=True) for name in ("node-1", "node-2")
    )
    me = msgspec.structs.replace(nodes[0], this=True)
    agent = SimpleNamespace(nodes=lambda: (me, nodes[1]), endpoints=lambda: (WEB,))
    file = Export(host=HostDump(node="node-2", namespaces=()), endpoints=(SEEN, OTHER), info=nodes[1])
    hosts = Hosts(("web",), (file,), agent)  # type: ignore[arg-type]
    known = msgspec.structs.replace(WEB, namespace="/run/netns/web")
    assert hosts.endpoints() == (known, OTHER)
