"""Counters of devices are the kernel's, of Weft's own devices and the uplink alone."""

from __future__ import annotations

from support.namespaces import Home
from weft.kernel.host.traffic import traffic


def sent(netns: Home) -> dict[str, int]:
    """As ip(8) tells it."""
    return next(link["stats64"]["tx"] for link in netns.json("ip", "-s", "-j", "link") if link["ifname"] == "up0")


def test_counters_are_those_of_ip(netns: Home) -> None:
    for command in (
        "ip link add up0 type veth peer name far0",
        "ip link add weft9 mtu 1400 type veth peer name inner",
        "ip link set weft9 alias weft:endpoint",
        "ip link set up0 up",
        "ip link set far0 up",
        "ip link set weft9 up",
        "ip address add 192.168.9.1/24 dev up0",
        "ping -c 2 -i 0.01 -W 0.1 -b 192.168.9.255",
    ):
        netns.run(*command.split(), check=not command.startswith("ping"))
    before = sent(netns)
    found = traffic("up0")
    after = sent(netns)
    assert set(found) == {"up0", "weft9"}
    one = found["up0"]
    assert one.uplink and one.up and one.carrier and one.kind == "veth" and one.mark == ""
    assert 2 <= before["packets"] <= one.sent <= after["packets"]
    assert before["bytes"] <= one.sent_octets <= after["bytes"]
    other = found["weft9"]
    assert (other.mark, other.mtu, other.up, other.carrier, other.uplink) == ("weft:endpoint", 1400, True, False, False)
    netns.run("ip", "link", "set", "weft9", "down")
    assert not traffic("up0")["weft9"].up
