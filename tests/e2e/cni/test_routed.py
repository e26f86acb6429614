"""The plugin and a routed network: the result says what the container has, and engines can go by it."""

from __future__ import annotations

from pathlib import Path

from support.cni import HOST, Engine, config
from support.reach import client, ping

PROD = config(network="prod", driver="routed", subnets=["10.60.0.0/16", "fd60::/64"])


def test_result_and_container(engine: Engine, c1: Path) -> None:
    out = engine("ADD", PROD).well().out
    assert [ip["address"].partition("/")[2] for ip in out["ips"]] == ["32", "128"]
    assert [ip["gateway"] for ip in out["ips"]] == ["169.254.1.1", "fe80::ecee:eeff:feee:eeee"]
    assert engine.addresses("c1") == {ip["address"] for ip in out["ips"]}
    routes = {(r["dst"], r.get("gw")) for r in out["routes"]}
    assert {("0.0.0.0/0", "169.254.1.1"), ("::/0", "fe80::ecee:eeff:feee:eeee")} <= routes
    outer, inner = out["interfaces"]
    assert inner["name"] == "eth0" and "ee:ee:ee:ee:ee:ee" in engine.sh(f"ip link show {outer['name']}")
    engine.container("c2")
    second = engine("ADD", PROD, name="c2").well().out
    inside = engine.lab.host(HOST).container("c1")
    for ip in second["ips"]:
        assert ping(inside, ip["address"].partition("/")[0]).ttl == 63
    assert ping(inside, "203.0.113.10").ok
    engine("CHECK", {**PROD, "prevResult": out}).well()
    assert engine("STATUS", PROD, name="").well().text == ""
    for name in ("c2", "c1"):
        engine("DEL", PROD, name=name).well()
    client(engine.lab, HOST).remove_network("prod")


def test_two_routed_networks_in_one_container(engine: Engine, c1: Path) -> None:
    """Both have the same next hop."""
    more = config(network="more", driver="routed", subnet="10.61.0.0/16")
    engine("ADD", PROD).well()
    engine("ADD", more, ifname="eth1").well()
    engine.container("c2")
    far = engine("ADD", more, name="c2").well().out["ips"][0]["address"].partition("/")[0]
    inside = engine.lab.host(HOST).container("c1")
    assert ping(inside, far).ok and ping(inside, "203.0.113.10").ok
    engine("DEL", more, ifname="eth1").well()
    assert ping(inside, "203.0.113.10").ok
    engine("DEL", PROD).well()
    engine("DEL", more, name="c2").well()
    for name in ("more", "prod"):
        client(engine.lab, HOST).remove_network(name)
