"""Services by hypothesis: small ones, whose members come and go with labels and conditions."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import strategies as st

from weft.model.ports import PublishedPort
from weft.services.model import Condition, Draining, Health, Service, ServicePort

NAMES = ("s", "t")
_PORTS = st.sampled_from(
    [(), (ServicePort(port=80),), (ServicePort(port=80, target=8080), ServicePort(port=53, protocol="udp"))]
)


@st.composite
def services(draw: st.DrawFn, network: str, number: int, prefix: int, ids: tuple[str, ...]) -> Service:
    """`number`: of the service, `prefix`: of the network's addresses, `ids`: of containers that may be members."""
    addresses = ip_address(f"10.{prefix}.200.{number + 1}"), ip_address(f"fd00:{prefix}::200:{number + 1}")
    drained = draw(st.lists(st.sampled_from(ids), max_size=1, unique=True))
    ports = draw(_PORTS)
    outer = 8000 + 10 * prefix + number
    published = tuple(PublishedPort(host_port=outer, container_port=p.port, protocol=p.protocol) for p in ports)
    return Service(
        name=NAMES[number],
        network=network,
        ports=ports,
        published=published if draw(st.booleans()) else (),
        traffic=draw(st.sampled_from(["local-first", "any"])),
        select=draw(st.sampled_from(["a=x", "a", "!b", "a=x,b!=y"])),
        addresses=addresses[: draw(st.sampled_from([0, 1, 2]))],
        affinity=draw(st.sampled_from(["none", "client-ip"])),
        draining=tuple(Draining(member=id, until=draw(st.sampled_from([1.0, 1e12]))) for id in drained),
        health=draw(st.sampled_from([None, None, Health(kind="api")])),
    )


CONDITION = st.builds(Condition, node=st.sampled_from(["node-1", "node-2"]), ready=st.booleans(), since=st.just(1.0))
