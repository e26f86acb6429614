"""Ports that hosts use, with the numbers as the code has them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from tools.reference.markdown import code, page, table
from weft.agent.config import METRICS_EXAMPLE
from weft.datapaths import _ovs, _routing_mesh, guard
from weft.datapaths.registry import DRIVERS
from weft.kernel.host import resolvers
from weft.mesh import ports as mesh
from weft.store.url import ETCD_PORT

Row = tuple[str, str, str, str]
"""Port, protocol, between whom, what for."""


def pages() -> dict[str, str]:
    return {
        "ports.md": page(
            "Ports",
            "What a firewall between the hosts has to let through, as far as a cluster uses it. Containers are kept from most"
            " of them ([security](../security.md#what-containers-cannot-reach)).",
            table(("port", "protocol", "between", "for"), [(code(port), *rest) for port, *rest in between_hosts()]),
            "## On one host only",
            "No other host needs these.",
            table(("port", "protocol", "where", "for"), [(code(port), *rest) for port, *rest in on_a_host()]),
            "## Protocols without ports",
            table(
                ("IP protocol", "for"),
                (
                    ("4 (IPIP), 41 (IPv6 in IPv4)", "driver [`routed`](../datapaths/routed.md) with `encap=ipip`"),
                    ("50 (ESP)", "[encryption](../encryption.md) where a kernel lacks WireGuard"),
                    ("ICMP, ICMPv6", "whether a host that is missed still answers; sizes of packets"),
                ),
            ),
        )
    }


def between_hosts() -> Iterator[Row]:
    for driver, port in sorted(_tunnels(), key=lambda found: found[1]):
        text = f"driver [`{driver}`](../datapaths/{driver}.md); the option `port` changes it"
        yield str(port), "UDP", "all hosts of the network", text
    yield from (
        (str(_routing_mesh.UDP_PORT), "UDP", "all hosts", "[ports of every host](../routing-mesh.md)"),
        (str(_ovs.PORT), "UDP", "all hosts of the network", "driver `mesh` with `fastpath=ovs`"),
        (str(mesh.SLEEVE), "UDP", "all hosts of a network of driver `mesh`", "[sleeves](../datapaths/sleeve.md)"),
        (str(mesh.WIREGUARD), "UDP", "all hosts", "[encryption](../encryption.md)"),
        (str(guard.BGP), "TCP", "hosts, reflectors, routers", "[BGP](../bgp.md) of driver `routed`"),
        (str(ETCD_PORT), "TCP", "hosts to etcd", "the store, where it is an [etcd](../security.md#the-store)"),
        (str(mesh.MEMBERS), "UDP and TCP", "all hosts", "[a store without a server](../mesh.md): who is there"),
        (str(mesh.VOTER), "TCP", "all hosts to voters", "likewise: the store"),
        (str(mesh.VOTERS), "TCP", "voters", "likewise: voters among themselves"),
        (str(mesh.RELAY), "TCP", "all hosts", "likewise: leads to a voter"),
    )


def on_a_host() -> Iterator[Row]:
    yield from (
        (METRICS_EXAMPLE.rpartition(":")[2], "TCP", "where `metrics` says", "[metrics](metrics.md), by custom"),
        (str(resolvers.PORT), "UDP and TCP", "127.0.0.11 in containers", "[names](../names.md)"),
        (str(mesh.SECURED), "UDP", "inside encryption", "networks of driver `mesh` that are encrypted"),
        ("chosen", "TCP", "127.0.0.1", "[the page](../page.md), while `weft ui` runs"),
    )


def _tunnels() -> Iterator[tuple[str, int]]:
    """Drivers with a tunnel whose port is an option, and what it is when left out."""
    for name, driver in DRIVERS.items():
        for field in msgspec.structs.fields(driver.options):
            if field.encode_name == "port" and isinstance(field.default, int):
                yield name, field.default
