"""Docker's own overlay network over two hosts without an agent: what the other host knows comes in a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.elsewhere import Plain, ending
from support.waiting import until


@pytest.fixture(scope="module")
def far(hosts: dict[str, Plain]) -> Iterator[str]:
    """The address of container `far` on node-2, in an overlay network with `near` on node-1."""
    one, two = hosts["node-1"], hosts["node-2"]
    one.engine.docker("swarm", "init", "--advertise-addr", "192.168.1.11", "--listen-addr", "192.168.1.11")
    token = one.engine.docker("swarm", "join-token", "-q", "worker")
    two.engine.docker("swarm", "join", "--token", token, "--advertise-addr", "192.168.1.12", "192.168.1.11:2377")
    one.engine.docker("network", "create", "-d", "overlay", "--attachable", "wide")
    one.run("near", "--network", "wide")
    two.run("far", "--network", "wide")
    address = two.address("far", "wide")
    until(lambda: one.pings("near", address), 60, "near reaches far")
    yield address
    for host in (two, one):
        host.engine.docker("swarm", "leave", "--force")


def _file(hosts: dict[str, Plain], tmp_path: Path) -> str:
    path = str(tmp_path / "node-2.json.gz")
    status, _, err = hosts["node-2"].weft("trace", "export", "-o", path)
    assert status == 0, err
    return path


def test_it_is_followed_into_the_other_host(hosts: dict[str, Plain], far: str, tmp_path: Path) -> None:
    found = hosts["node-1"].trace("near", "far", "--port", "80", "--with", _file(hosts, tmp_path))
    assert (found["origin"], found["target"]) == ("node-1/near", "node-2/far")
    assert ending(found)["ending"] == "delivered", found
    steps = [hop["step"] for hop in found["there"]["hops"]]
    assert [step for step in steps if step in ("encapsulate", "wire", "decapsulate")] == [
        "encapsulate",
        "wire",
        "decapsulate",
    ]
    assert found["there"]["mtu"] == 1450


def test_without_its_file_the_other_host_is_named(hosts: dict[str, Plain], far: str) -> None:
    found = hosts["node-1"].trace("near", far)
    assert "192.168.1.12" in str(found["there"]), found
    assert not found["there"]["outcome"].get("fault") or found["there"]["outcome"]["ending"] != "delivered"


def test_a_host_that_filters_the_tunnel_is_named_and_mended(hosts: dict[str, Plain], far: str, tmp_path: Path) -> None:
    one, two = hosts["node-1"], hosts["node-2"]
    two.sh("iptables-nft -I INPUT -p udp --dport 4789 -j DROP")
    try:
        assert not one.pings("near", far)
        told = ending(one.trace("near", "far", "--with", _file(hosts, tmp_path)))
        assert told["fault"] in ("underlay-filtered", "rule-drops"), told
        assert told["host"] == "node-2"
        assert "-A INPUT -p udp -m udp --dport 4789 -j DROP" in told["text"]
        two.sh(told["fix"])
        assert one.pings("near", far)
    finally:
        two.sh("iptables-nft -F INPUT")


def test_a_port_of_the_hidden_bridge_that_is_down_is_named_and_mended(
    hosts: dict[str, Plain], far: str, tmp_path: Path
) -> None:
    one = hosts["node-1"]
    network = one.engine.docker("network", "inspect", "-f", "{{.Id}}", "wide")[:10]
    hidden = f"nsenter --net=/run/docker/netns/1-{network}"
    one.sh(f"{hidden} ip link set vxlan0 down")
    try:
        told = ending(one.trace("near", "far", "--with", _file(hosts, tmp_path)))
        assert told["fault"] == "link-down", told
        one.sh(told["fix"])
        until(lambda: one.pings("near", far), 20, "near reaches far again")
    finally:
        one.sh(f"{hidden} ip link set vxlan0 up")
