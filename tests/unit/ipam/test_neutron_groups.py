from __future__ import annotations

from weft.ipam.neutron_groups import rules
from weft.model import ExposedPort


def test_neighbouring_ports_of_a_protocol_are_one_rule() -> None:
    exposed = [ExposedPort("tcp", p) for p in (443, 80, 81, 82, 80)] + [ExposedPort("udp", 83), ExposedPort("udp", 53)]
    found = rules(exposed, (4, 6))
    assert all(rule["direction"] == "ingress" for rule in found)
    assert [(r["ethertype"], r["protocol"], r["port_range_min"], r["port_range_max"]) for r in found] == [
        (ethertype, *run)
        for ethertype in ("IPv4", "IPv6")
        for run in (("tcp", 80, 82), ("tcp", 443, 443), ("udp", 53, 53), ("udp", 83, 83))
    ]
