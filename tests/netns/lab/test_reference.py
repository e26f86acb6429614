"""The reference lab's underlay, as a node sees it."""

from __future__ import annotations

import json
import os

import pytest

from weft.lab import Lab

NODE_1 = ("192.168.1.68", "fd00:192:168:1::68")
NODE_4 = ("192.168.0.33", "fd00:192:168::33")
OUTSIDE = ("203.0.113.10", "2001:db8:203::10")
PREFIXES = {4: "10.9.0.0/24", 6: "fd09::/64"}


def ping(lab: Lab, host: str, address: str, *options: str) -> str:
    result = lab.host(host).run(["ping", "-n", "-c", "1", "-W", "1", *options, address])
    return result.stdout if result.returncode == 0 else ""


@pytest.mark.parametrize("family", [0, 1])
def test_who_reaches_whom_at_once_and_over_how_many_routers(lab: Lab, family: int) -> None:
    """No waiting for duplicate address detection: the first packet arrives."""
    assert "ttl=63" in ping(lab, "node-1", NODE_4[family])
    assert "ttl=63" in ping(lab, "node-4", NODE_1[family])
    assert "ttl=64" in ping(lab, "node-2", NODE_1[family])
    assert "ttl=63" in ping(lab, "node-3", OUTSIDE[family])


def test_outside_has_routes_to_the_segments_only(lab: Lab) -> None:
    for option, segments in (
        ("-4", {"192.168.1.0/24", "192.168.0.0/24", "203.0.113.0/24"}),
        ("-6", {"fd00:192:168:1::/64", "fd00:192:168::/64", "2001:db8:203::/64", "fe80::/64"}),
    ):
        routes = json.loads(lab.host("outside").run(["ip", option, "-j", "route"], check=True).stdout)
        assert {route["dst"] for route in routes} == segments


def test_only_the_router_forwards(lab: Lab) -> None:
    files = [f"/proc/sys/net/{path}" for path in ("ipv4/ip_forward", "ipv6/conf/all/forwarding")]
    assert lab.host("node-1").run(["cat", *files]).stdout.split() == ["0", "0"]
    assert lab.host("router").run(["cat", *files]).stdout.split() == ["1", "1"]


def test_a_host_has_places_of_its_own(lab: Lab) -> None:
    script = "echo $HOSTNAME; ls /sys/class/net; touch /var/lib/weft/mine /run/weft/mine; echo $WEFT_LAB"
    out = lab.host("node-2").run(["bash", "-c", script], check=True).stdout.split()
    assert out == ["node-2", "eth0", "lo", str(lab.directory)]
    assert (lab.directory / "hosts/node-2/var/mine").exists()
    assert (lab.directory / "hosts/node-2/run-weft/mine").exists()
    assert lab.host("node-3").run(["ls", "/var/lib/weft", "/run/weft"]).stdout.count("mine") == 0


def test_containers_are_named_namespaces_of_one_host(lab: Lab) -> None:
    lab.host("node-1").run(["ip", "netns", "add", "c1"], check=True)
    assert lab.host("node-1").containers() == ["c1"]
    assert lab.host("node-2").containers() == []
    inside = lab.host("node-1").container("c1")
    assert inside.run(["ls", "/sys/class/net"]).stdout.split() == ["lo"]
    assert lab.inside("node-1/c1") == inside


def test_link_down_loses_the_routes_and_up_restores_them(lab: Lab) -> None:
    def routes() -> list[str]:
        node = lab.host("node-1")
        return [node.run(["ip", option, "route"], check=True).stdout for option in ("-4", "-6")]

    before = routes()
    lab.link("node-1", up=False)
    assert "default" not in "".join(routes())
    lab.link("node-1", up=True)
    assert all(ping(lab, "node-1", address) for address in NODE_4)
    assert [sorted(r.splitlines()) for r in routes()] == [sorted(r.splitlines()) for r in before]


def test_a_pulled_cable_keeps_the_configuration(lab: Lab) -> None:
    lab.link("node-1", up=False, cable=True)
    shown = lab.host("node-1").run(["ip", "-4", "addr", "show", "eth0"], check=True).stdout
    assert "NO-CARRIER" in shown and "192.168.1.68/24" in shown
    assert not ping(lab, "node-2", NODE_1[0])
    lab.link("node-1", up=True)
    assert ping(lab, "node-2", NODE_1[0], "-w", "3")


def test_a_process_inside_behaves_like_one_of_ours(lab: Lab) -> None:
    node = lab.host("node-1")
    assert node.run(["bash", "-c", "cat; echo err >&2; exit 7"], input="in").returncode == 7
    assert node.run(["cat"], input="in").stdout == "in"
    with node.popen(["sleep", "100"]) as process:
        process.terminate()
        assert process.wait(5) == -15
    assert node.run(["pgrep", "-x", "-f", "sleep 100"]).stdout == ""


def test_the_child_ends_when_nsenter_is_killed(lab: Lab) -> None:
    node = lab.host("node-1")
    with node.popen(["bash", "-c", "echo here; exec sleep 100"]) as process:
        assert process.stdout and process.stdout.readline() == "here\n"
        os.kill(process.pid, 9)
        process.wait(5)
    wait = "for i in {1..100}; do pgrep -x -f 'sleep 100' -r S || exit 0; sleep 0.05; done; exit 1"
    assert node.run(["bash", "-c", wait]).returncode == 0
