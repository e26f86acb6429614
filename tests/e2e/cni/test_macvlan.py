"""The plugin and containers in the hosts' own network: the result has no interface of the host's."""

from __future__ import annotations

from pathlib import Path

from support.cni import HOST, Engine, config
from support.reach import client, ping
from weft.model import Network

WIRE = config(network="wire", driver="macvlan", subnet="192.168.1.0/24", options={"reserve": "192.168.1.128/25"})


def test_result_and_container(engine: Engine, c1: Path) -> None:
    out = engine("ADD", WIRE).well().out
    (inner,) = out["interfaces"]
    (ip,) = out["ips"]
    assert (inner["name"], inner["sandbox"], inner["mtu"]) == ("eth0", str(c1), 1500)
    assert (ip["gateway"], ip["interface"], ip["address"].partition("/")[2]) == ("192.168.1.1", 0, "24")
    assert engine.addresses("c1") == {ip["address"]}
    inside = engine.lab.host(HOST).container("c1")
    assert f"link/ether {inner['mac']}" in inside.run(["ip", "link", "show", "eth0"]).stdout
    assert ping(inside, "192.168.1.1").ok
    engine("CHECK", {**WIRE, "prevResult": out}).well()
    inside.run(["ip", "link", "set", "eth0", "mtu", "1400"], check=True)  # as plugins that come later do
    engine("CHECK", {**WIRE, "prevResult": out}).well()
    engine("DEL", WIRE).well()
    assert "eth0" not in inside.run(["ip", "link"]).stdout
    client(engine.lab, HOST).remove_network("wire")


def test_networks_without_interfaces_are_no_engine_s(engine: Engine, c1: Path) -> None:
    agent = client(engine.lab, HOST)
    for driver in ("host", "none"):
        agent.create_network(Network(name=driver, driver=driver, subnets=()))
        told = str(engine("ADD", config(network=driver)).out)
        assert "makes no interface that an engine could take" in told or "is for containers in the host's" in told
        agent.remove_network(driver)
